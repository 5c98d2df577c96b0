"""The application: what each path answers.

Specification: TensorFlow Serving, RESTful API; where its implementation differs, `http_rest_api_handler.cc`,
`http_rest_api_util.cc` and `http_server.cc`.
"""

import asyncio
import functools
import logging
import re
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from serving import codec
from serving.guard import LABELS, REQUEST_ID, Guard, json_response, refusal
from serving.registry import Registry
from serving.servable import Servable
from serving.settings import Limits
from serving.stopping import Requests
from stages.core.errors import InputError
from stages.rest.requests import Arrays, decode_inputs, decode_instances
from stages.rest.tensors import UnsupportedTypeError
from stages.savedmodel.graph import SIGNATURE, Signature

log = logging.getLogger("serving")

STATIC = Path(__file__).parent / "static"
_INLINE = 1 << 16  # bytes; a larger body is read and written in a thread, so that other requests need not wait
_LARGE = 2  # such bodies at once: each may take a hundred times its bytes of memory
_ABANDONED_SECONDS = 0.5  # after so long a call's client is watched
_INFLATED = 1 << 20  # bytes; the loop inflates so many at once
_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]
_TARGET = r"(?i:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PATHS = {
    "POST": re.compile(rf"(?i:/v1/models)/(?P<model>[^/:]+){_TARGET}:(?P<action>classify|regress|predict)", re.A),
    "GET": re.compile(rf"(?i:/v1/models)(?:/(?P<model>[^/:]+))?{_TARGET}(?:/(?P<action>(?i:metadata)))?", re.A),
}
_ORIGIN = re.compile("https?://")
T = TypeVar("T")
Encoder = Callable[[Arrays], bytes]


@dataclass(frozen=True)
class Target:
    """What a path names: a model, a version or label of it, and what is asked of it."""

    model: str
    version: int | None
    label: str | None
    action: str


def parse_path(method: str, path: str) -> Target:
    """Read a path whose characters are still percent-encoded.

    Raises:
        HTTPException: 400 if no API has this path and method, or the version is beyond 63 bits.
    """
    match = _PATHS[method].fullmatch(path) if method in _PATHS else None
    if match is None:
        raise HTTPException(400, f"Malformed request: {method} {path[:200]}")
    if match["model"] is None:
        raise HTTPException(400, "Missing model name in request.")
    version = None if match["version"] is None else int(match["version"].lstrip("0")[:20] or "0")
    if version is not None and version >= 2**63:
        raise HTTPException(400, f"Failed to convert version: {match['version'][:64]} to numeric.")
    label = None if match["label"] is None else unquote(match["label"])
    action = "status" if method == "GET" and match["action"] != "metadata" else match["action"]
    return Target(unquote(match["model"]), version, label, action)


class Bodies:
    """The bodies of the requests in progress.

    Args:
        limits: how large one may be, and all together.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = 0
        self._pool = ThreadPoolExecutor(_LARGE, thread_name_prefix="json")

    @contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Room for one body: what it gives out is told of each part's size before the part is kept.

        Raises:
            HTTPException: 413 if the body grows too large, 503 if all do together.
        """
        size = 0

        def grow(more: int) -> None:
            nonlocal size
            size += more
            self._bytes += more
            if size > self._limits.body_bytes:
                raise HTTPException(413, f"expected a body of at most {self._limits.body_bytes} bytes")
            if self._bytes > self._limits.bodies_bytes:
                raise HTTPException(503, "the requests in progress are too large together; try again")

        try:
            yield grow
        finally:
            self._bytes -= size

    async def call(self, large: bool, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function that reads or writes a body; a large one in a thread, once one is free.

        What is cancelled before that, by the limit on time, is not called.
        """
        if not large:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


@asynccontextmanager
async def _while_connected(request: Request) -> AsyncIterator[None]:
    """Give a block up if the client, whose whole request has come, goes away. Short blocks are over before one looks.

    Raises:
        HTTPException: 499 if it does.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    watchers: list[asyncio.Task[None]] = []
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    timer = loop.call_later(_ABANDONED_SECONDS, lambda: watchers.append(loop.create_task(watch())))
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise HTTPException(499, "the client went away") from None
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()


@dataclass(frozen=True)
class Server:
    """Answers requests from a registry."""

    registry: Registry
    limits: Limits
    keep_name: bool  # name a prediction's output even if it is the only one
    bodies: Bodies
    requests: Requests

    async def api(self, request: Request) -> Response:
        """Everything below `/v1/`."""
        path, query = request.scope["raw_path"].decode("latin-1"), request.scope["query_string"].decode("latin-1")
        path += f"?{query}" if query else ""  # part of a name, as in `evhttp_request.cc`
        if not path.lower().startswith("/v1/"):
            raise HTTPException(404)
        if request.method == "OPTIONS":  # never with CORS headers
            if not _ORIGIN.search(request.headers.get("origin", "")):
                raise HTTPException(400, "Origin header is missing in CORS preflight")
            return Response(media_type="application/json")
        target = parse_path(request.method, path)
        known = target.model if target.model in self.registry.names else ""
        request.scope[LABELS] = (target.action, known, "")
        if target.action == "status":
            versions = self.registry.statuses(target.model, target.version)
            return json_response({"model_version_status": [version.status() for version in versions]})
        if target.action == "metadata":
            return json_response(self.registry.servable(target.model, target.version, target.label).metadata)
        async with self.requests.limited(self.limits.seconds) as deadline:
            return await self._infer(request, target, deadline)

    async def _infer(self, request: Request, target: Target, deadline: float) -> Response:
        """Predict, classify or regress."""
        with self.bodies.room() as grow:
            body = await self._body(request, grow)
            large = len(body) > _INLINE
            model, signature, inputs, encode = await self.bodies.call(large, self._read, target, body)
        instances = max((len(array) for array in inputs.values() if array.shape), default=0)
        if instances > self.limits.instances:
            raise HTTPException(413, f"expected at most {self.limits.instances} instances, found {instances}")
        request.scope[LABELS] = (target.action, model.name, str(model.version))
        async with _while_connected(request):
            outputs = await model.run(signature, inputs, deadline)
        return Response(await self.bodies.call(large, encode, outputs), media_type="application/json")

    def _read(self, target: Target, body: bytearray) -> tuple[Servable, Signature, Arrays, Encoder]:
        """The model, the signature, the arrays of a body, and what writes the answer."""
        encode = functools.partial(codec.encode_outputs, keep_name=self.keep_name)
        with suppress(HTTPException):  # what is wrong is said below, a wrong body before an unknown model
            model = self.registry.servable(target.model, target.version, target.label)
            if target.action == "predict" and (rows := model.read_rows(body)) is not None:
                return model, model.signature(SIGNATURE), rows, functools.partial(encode, by_row=True)
        document = codec.parse(body, self.limits)
        name = codec.signature_name(document)
        examples = None if target.action == "predict" else codec.decode_examples(document)
        model = self.registry.servable(target.model, target.version, target.label)
        signature = model.signature(name)
        if examples is not None:
            if list(signature.inputs) != ["inputs"]:
                raise HTTPException(400, f"signature {name}: Expected one input Tensor named inputs")
            write = codec.encode_classes if target.action == "classify" else codec.encode_regressions
            return model, signature, {"inputs": examples}, functools.partial(write, examples=len(examples))
        by_row = "instances" in document
        if by_row == ("inputs" in document):
            both = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
            raise HTTPException(400, both if by_row else "Missing 'inputs' or 'instances' key")
        if by_row:
            inputs = decode_instances(document["instances"], signature.inputs)
        else:
            inputs = decode_inputs(document["inputs"], signature.inputs)
        return model, signature, inputs, functools.partial(encode, by_row=by_row)

    async def _body(self, request: Request, grow: Callable[[int], None]) -> bytearray:
        """The body, decompressed."""
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self.limits.body_bytes:
            raise HTTPException(413, f"expected a body of at most {self.limits.body_bytes} bytes")
        gzipped = "gzip" in request.headers.get("content-encoding", "") and declared != "0"
        inflate = zlib.decompressobj(16 + zlib.MAX_WBITS) if gzipped else None
        body = bytearray()
        try:
            async for part in request.stream():
                while part:
                    piece = inflate.decompress(part, _INFLATED) if inflate else part
                    grow(len(piece))
                    body += piece
                    part = inflate.unconsumed_tail if inflate else b""
                    if part:
                        await asyncio.sleep(0)  # others' turn
                if inflate and inflate.unused_data:
                    raise zlib.error
            if inflate and not inflate.eof:
                raise zlib.error
        except ClientDisconnect:
            raise HTTPException(499, "the client went away") from None
        except zlib.error:
            raise HTTPException(400, "the body is not gzip data, as its Content-Encoding says") from None
        return body

    async def healthz(self, request: Request) -> Response:
        """Whether the process answers at all."""
        return json_response({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Whether models can be asked: one at least, and every one that could be asked before."""
        if self.requests.stopping:
            raise HTTPException(503, "the server is stopping")
        if not self.registry.ready:
            raise HTTPException(503, "models are being loaded, none can be asked, or one no longer can")
        return json_response({"status": "ready"})

    async def models(self, request: Request) -> Response:
        """The names of the models on offer, for the page."""
        return json_response({"models": self.registry.names})

    async def metrics(self, request: Request) -> Response:
        """Counters in Prometheus' text format."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def create(
    registry: Registry,
    limits: Limits,
    keep_name: bool = False,
    token: str | None = None,
    loopback_only: bool = True,
    origins: Collection[str] = (),
    requests: Requests | None = None,
    bodies: Bodies | None = None,
) -> Starlette:
    """The application. Its arguments are those of `Server` and `Guard`."""
    server = Server(registry, limits, keep_name, bodies or Bodies(limits), requests or Requests())
    routes = [
        Route("/v1/{path:path}", server.api, methods=_METHODS),  # first, since routes are tried in turn
        Route("/", lambda _: FileResponse(STATIC / "index.html")),
        Route("/openapi.json", lambda _: FileResponse(STATIC / "openapi.json")),
        Route("/healthz", server.healthz),
        Route("/readyz", server.readyz),
        Route("/models.json", server.models),
        Route("/metrics", server.metrics),
        Route("/monitoring/prometheus/metrics", server.metrics),
        Mount("/static", StaticFiles(directory=STATIC)),
        Route("/{path:path}", server.api, methods=_METHODS),
    ]
    guard = Middleware(Guard, concurrency=limits.concurrency, token=token, loopback_only=loopback_only, origins=origins)
    errors: dict[Any, Any] = {error: _refused for error in (InputError, HTTPException, Exception)}
    return Starlette(routes=routes, middleware=[guard], exception_handlers=errors)


async def _refused(request: Request, error: Exception) -> Response:
    """Any refusal, as the API's error object."""
    if isinstance(error, codec.TooLargeError):
        return refusal(413, str(error))
    if isinstance(error, InputError):
        return refusal(501 if isinstance(error, UnsupportedTypeError) else 400, str(error))
    if isinstance(error, HTTPException):
        response = refusal(error.status_code, error.detail)
        response.headers.update(error.headers or {})
        return response
    log.error("%s %s failed", request.scope.get(REQUEST_ID, "-"), request.url.path, exc_info=error)
    return refusal(500, "internal error")
