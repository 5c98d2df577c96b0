"""Checks before every request, headers on every answer, and the metrics of both.

Written to the ASGI interface (https://asgi.readthedocs.io/en/latest/specs/www.html), since Starlette's
`BaseHTTPMiddleware` costs more than a prediction.
"""

import hmac
import json
import re
from collections.abc import Collection, Mapping
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import access
from serving.messages import for_clients

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
]
_EXTRA = {401: {"WWW-Authenticate": "Bearer"}, 413: {"Connection": "close"}, 503: {"Retry-After": "1"}}
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE)
_ID = access.ID_HEADER.encode()
_PROTECTED = ("/v1/", "/models.json", "/metrics", "/monitoring/")

LABELS = "serving.labels"
"""Key of an ASGI scope: the route, model and version under which a request is counted, if a handler knows them."""

REQUEST_ID = "serving.request_id"
"""Key of an ASGI scope: the request's id."""

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_REQUESTS = Counter("serving_requests", "Requests answered", ["route", "model", "version", "status"])
_SECONDS = Histogram(
    "serving_request_seconds",
    "Time from head to answer",
    ["route", "model", "version"],
    buckets=BUCKETS,
)
_IN_PROGRESS = Gauge("serving_requests_in_progress", "Requests in progress")


class Guard:
    """ASGI middleware.

    Args:
        app: the application behind it.
        concurrency: most requests in progress at once.
        token: demanded as `Authorization: Bearer` from requests to models and metrics; None demands nothing.
        loopback_only: refuse a request whose Host is not a loopback name. A page of another site, whose name resolves
            to this machine, would send one.
        origins: other sites whose pages may send requests.
    """

    def __init__(
        self, app: ASGIApp, concurrency: int, token: str | None, loopback_only: bool, origins: Collection[str]
    ) -> None:
        self._app = app
        self._origins = {origin.lower().encode() for origin in origins}
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
        sent = next((value for name, value in scope["headers"] if name == _ID), None)
        number = scope[REQUEST_ID] = access.request_id(sent)

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS, (_ID, number.encode())]
            await send(message)

        self._in_progress += 1
        _IN_PROGRESS.inc()
        try:
            await (self._refusal(scope) or self._app)(scope, receive, dressed)
        finally:
            self._in_progress -= 1
            _IN_PROGRESS.dec()
            labels = scope.get(LABELS, ("other", "", ""))
            seconds = perf_counter() - start
            _REQUESTS.labels(*labels, status).inc()
            _SECONDS.labels(*labels).observe(seconds)
            client = (scope.get("client") or ["-"])[0]
            access.write(number, client, f"{scope['method']} {scope['path']}", status, seconds)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        if self._loopback_only and not _LOOPBACK.fullmatch(headers.get(b"host", b"").decode("latin-1")):
            return refusal(421, "expected a loopback name as Host; a server with a token takes any")
        if self._is_foreign(scope, headers):
            return refusal(403, "pages of other sites may not send requests; access.origins in the settings names some")
        protected = scope["path"].lower().startswith(_PROTECTED)
        if self._token and protected and not hmac.compare_digest(headers.get(b"authorization", b""), self._token):
            return refusal(401, "expected the server's token as 'Authorization: Bearer ...'")
        if protected and self._in_progress > self._concurrency:
            return refusal(503, f"more than {self._concurrency} requests are in progress; try again")
        return None

    def _is_foreign(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a page of another site sends a request. A browser says so; a page cannot keep it from that.

        A link to the server's own page may stand anywhere.
        """
        origin = headers.get(b"origin")
        if origin is not None:
            # Not the scheme, which a proxy may have changed.
            own = origin.lower().partition(b"://")[2] == headers.get(b"host", b"").lower()
            return not own and origin.lower() not in self._origins
        if headers.get(b"sec-fetch-site") != b"cross-site":
            return False
        return not (scope["path"] == "/" and headers.get(b"sec-fetch-mode") == b"navigate" and scope["method"] == "GET")


def json_response(value: object, status: int = 200) -> Response:
    """A JSON body, with the headers that its status calls for."""
    body = json.dumps(value, ensure_ascii=False)
    return Response(body.encode(errors="replace"), status, _EXTRA.get(status), "application/json")


def refusal(status: int, message: str) -> Response:
    """The API's error object, without folders of this machine."""
    return json_response({"error": for_clients(message)}, status)
