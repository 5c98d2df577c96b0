"""What stands before every request: who may ask, how many at once, and what every answer carries.

Written to the ASGI interface (https://asgi.readthedocs.io/en/latest/specs/www.html), since a middleware of the
framework's own kind costs more than a prediction.
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
from serving.registry import Registry

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
]
_EXTRA = {401: {"WWW-Authenticate": "Bearer"}, 413: {"Connection": "close"}, 503: {"Retry-After": "1"}}
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE)
_ROUTE = re.compile(r"/v1/models/([^/:]+)(?:/(?:versions|labels)/[^/:]+)?(?:(:predict)|(/metadata))?")
_OPEN = ("/v1/", "/metrics")


class Guard:
    """ASGI middleware.

    Args:
        app: what it protects.
        registry: whose models' names are known.
        metrics: where requests are counted.
        concurrency: most predictions under way at once.
        token: asked for as `Authorization: Bearer` where a model or the metrics are asked; none if `None`.
        loopback_only: refuse a request whose Host is no loopback name, as a page of another site that had its
            own name resolve to this machine would send.
    """

    def __init__(
        self,
        app: ASGIApp,
        registry: Registry,
        metrics: Metrics,
        concurrency: int,
        token: str | None,
        loopback_only: bool,
    ) -> None:
        self._app = app
        self._registry = registry
        self._metrics = metrics
        self._concurrency = concurrency
        self._token = token and b"Bearer " + token.encode()
        self._loopback_only = loopback_only
        self._under_way = 0

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

        self._under_way += 1
        self._metrics.under_way.set(self._under_way)
        try:
            refusal = self._refusal(scope)
            if refusal:
                await refuse(refusal, dressed)
            else:
                await self._app(scope, receive, dressed)
        finally:
            self._under_way -= 1
            self._metrics.under_way.set(self._under_way)
            self._count(scope["path"], status, perf_counter() - start)

    def _refusal(self, scope: Scope) -> RequestError | None:
        headers = dict(scope["headers"])
        if self._loopback_only and not _LOOPBACK.fullmatch(headers.get(b"host", b"").decode("latin-1")):
            return RequestError(421, "expected a loopback name as Host; with a token, any will do")
        protected = scope["path"].startswith(_OPEN)
        if self._token and protected and not hmac.compare_digest(headers.get(b"authorization", b""), self._token):
            return RequestError(401, "expected the server's token as 'Authorization: Bearer ...'")
        if protected and self._under_way > self._concurrency:
            return RequestError(503, f"more than {self._concurrency} requests are under way; try again")
        return None

    def _count(self, path: str, status: int, seconds: float) -> None:
        match = _ROUTE.fullmatch(path)
        route = "other" if not match else "predict" if match[2] else "metadata" if match[3] else "status"
        model = match[1] if match and match[1] in self._registry.names else ""
        self._metrics.requests.labels(route, model, status).inc()
        self._metrics.seconds.labels(route, model).observe(seconds)


async def refuse(refusal: RequestError, send: Send) -> None:
    """Send a refusal as the contract's error object."""
    body = json.dumps({"error": refusal.message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in extra_headers(refusal.status).items()]
    start: MutableMapping[str, Any] = {"type": "http.response.start", "status": refusal.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def extra_headers(status: int) -> dict[str, str]:
    """Headers that a refusal of this status carries."""
    return _EXTRA.get(status, {})
