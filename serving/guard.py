"""Checks before every request, and headers on every answer.

Written to the ASGI interface (https://asgi.readthedocs.io/en/latest/specs/www.html), since Starlette's
`BaseHTTPMiddleware` costs more than a prediction.
"""

import hmac
import json
import re
from collections.abc import MutableMapping
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import RequestError
from serving.metrics import Metrics

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
]
_EXTRA = {401: {"WWW-Authenticate": "Bearer"}, 413: {"Connection": "close"}, 503: {"Retry-After": "1"}}
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE)
_PROTECTED = ("/v1/", "/metrics", "/monitoring/")

LABELS = "serving.labels"
"""Key of an ASGI scope: the route and model under which a request is counted, if a handler knows them."""


class Guard:
    """ASGI middleware.

    Args:
        app: the application behind it.
        metrics: where requests are counted.
        concurrency: most requests in progress at once.
        token: demanded as `Authorization: Bearer` from requests to models and metrics; None demands nothing.
        loopback_only: refuse a request whose Host is not a loopback name. A page of another site, whose name resolves
            to this machine, would send one.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        concurrency: int,
        token: str | None,
        loopback_only: bool,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._concurrency = concurrency
        self._token = token and b"Bearer " + token.encode()
        self._loopback_only = loopback_only
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on one request, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = perf_counter(), 500

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        self._in_progress += 1
        self._metrics.in_progress.set(self._in_progress)
        try:
            refusal = self._refusal(scope)
            if refusal:
                await refuse(refusal, dressed)
            else:
                await self._app(scope, receive, dressed)
        finally:
            self._in_progress -= 1
            self._metrics.in_progress.set(self._in_progress)
            self._count(scope, status, perf_counter() - start)

    def _refusal(self, scope: Scope) -> RequestError | None:
        headers = dict(scope["headers"])
        if self._loopback_only and not _LOOPBACK.fullmatch(headers.get(b"host", b"").decode("latin-1")):
            return RequestError(421, "expected a loopback name as Host; a server with a token takes any")
        protected = scope["path"].lower().startswith(_PROTECTED)
        if self._token and protected and not hmac.compare_digest(headers.get(b"authorization", b""), self._token):
            return RequestError(401, "expected the server's token as 'Authorization: Bearer ...'")
        if protected and self._in_progress > self._concurrency:
            return RequestError(503, f"more than {self._concurrency} requests are in progress; try again")
        return None

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route, model = scope.get(LABELS, ("other", ""))
        self._metrics.requests.labels(route, model, status).inc()
        self._metrics.seconds.labels(route, model).observe(seconds)


async def refuse(refusal: RequestError, send: Send) -> None:
    """Send a refusal as the API's error object."""
    body = json.dumps({"error": refusal.message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in extra_headers(refusal.status).items()]
    start: MutableMapping[str, Any] = {"type": "http.response.start", "status": refusal.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def extra_headers(status: int) -> dict[str, str]:
    """Headers that a refusal of this status carries."""
    return _EXTRA.get(status, {})
