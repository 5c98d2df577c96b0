"""What the server answers.

Specification: TensorFlow Serving, RESTful API (`tensorflow_serving/g3doc/api_rest.md`).
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse

from serving import codec
from serving.errors import RequestError, invalid
from serving.guard import extra_headers
from serving.metrics import Metrics
from serving.registry import Registry
from serving.settings import Limits
from stages.savedmodel.graph import SIGNATURE

STATIC = Path(__file__).parent / "static"
_INLINE = 1 << 16  # bytes; a larger body is read and written in a thread, so that others need not wait for it
_JSON = "application/json"


class Server:
    """Answers requests from a registry.

    Args:
        registry: the models.
        metrics: what `/metrics` shows.
        limits: what is refused.
        keep_name: name a prediction's output even where it is the only one.
    """

    def __init__(self, registry: Registry, metrics: Metrics, limits: Limits, keep_name: bool) -> None:
        self._registry = registry
        self._metrics = metrics
        self._limits = limits
        self._keep_name = keep_name
        self.stopping = False

    async def predict(self, request: Request) -> Response:
        """Predict API: the answer to `instances` or `inputs`."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._predict(request)
        except TimeoutError:
            raise RequestError(504, f"no answer within {self._limits.seconds:g} seconds") from None

    async def _predict(self, request: Request) -> Response:
        servable = self._registry.servable(*_spec(request))
        body = await self._body(request)
        in_place = len(body) <= _INLINE

        def read() -> tuple[str, bool, codec.Arrays]:
            if (rows := servable.read_rows(body, self._limits.instances)) is not None:
                return SIGNATURE, True, rows
            asked = codec.parse(body)
            inputs = codec.decode(asked, servable.signature(asked.signature).inputs, self._limits)
            return asked.signature, asked.by_row, inputs

        signature, by_row, inputs = read() if in_place else await asyncio.to_thread(read)
        outputs = await servable.run(signature, inputs)
        arguments = (outputs, by_row, self._keep_name)
        answer = codec.encode(*arguments) if in_place else await asyncio.to_thread(codec.encode, *arguments)
        return Response(answer, media_type=_JSON)

    async def _body(self, request: Request) -> bytearray:
        limit = self._limits.body_bytes
        body = bytearray()
        declared = request.headers.get("content-length", "0")
        if not declared.isdigit() or int(declared) <= limit:
            try:
                async for part in request.stream():
                    body += part
                    if len(body) > limit:
                        break
                else:
                    return body
            except ClientDisconnect:
                raise RequestError(499, "the client went away") from None
        raise RequestError(413, f"expected a body of at most {limit} bytes")

    async def unsupported(self, request: Request) -> Response:
        """Classify and Regress API: no model here has such a signature."""
        raise RequestError(501, "classify and regress are not implemented; use predict")

    async def status(self, request: Request) -> Response:
        """Model status API: the state of one version or of all, newest first."""
        name, number, label = _spec(request)
        if number is None and label is None:
            versions = list(self._registry.model(name).versions.values())
        else:
            versions = [self._registry.version(name, number, label)]
        newest_first = sorted(versions, key=lambda version: -version.number)
        return answer({"model_version_status": [version.status() for version in newest_first]})

    async def metadata(self, request: Request) -> Response:
        """Model Metadata API: a version's signatures."""
        return answer(self._registry.servable(*_spec(request)).metadata)

    async def healthz(self, request: Request) -> Response:
        """Whether the process answers at all."""
        return answer({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Whether every published model can be asked; 503 while loading and while stopping."""
        if self.stopping or not self._registry.ready:
            raise RequestError(
                503, "stopping" if self.stopping else "models are being loaded, or one has no working version"
            )
        return answer({"status": "ready", "models": self._registry.names})

    async def metrics(self, request: Request) -> Response:
        """Counters in Prometheus' text format."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def page(self, request: Request) -> Response:
        """A page to try the models on."""
        return FileResponse(STATIC / "index.html")


def _spec(request: Request) -> tuple[str, int | None, str | None]:
    """Model, version and label of a path."""
    found: dict[str, str] = request.path_params
    number = found.get("version")
    if number is not None and not (number.isascii() and number.isdigit() and int(number[:20]) < 2**63):
        raise invalid("expected a version's number of at most 63 bits")
    return found["model"], None if number is None else int(number), found.get("label")


def answer(value: Any, status: int = 200) -> Response:
    """A JSON body, with the headers that its status calls for."""
    body = json.dumps(value, ensure_ascii=False)
    return Response(body.encode(errors="replace"), status, extra_headers(status), _JSON)
