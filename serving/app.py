"""The application: routes, refusals, and what stands before them.

Specification: TensorFlow Serving, RESTful API (`tensorflow_serving/g3doc/api_rest.md`).
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from serving import openapi
from serving.errors import RequestError
from serving.guard import Guard
from serving.handlers import STATIC, Server, answer
from serving.metrics import Metrics
from serving.registry import Registry
from serving.settings import Limits

log = logging.getLogger("serving")


async def _refused(request: Request, error: Exception) -> Response:
    """Any refusal, as the specification's error object."""
    if isinstance(error, RequestError):
        return answer({"error": error.message}, error.status)
    if isinstance(error, HTTPException):
        response = answer({"error": str(error.detail)}, error.status_code)
        response.headers.update(error.headers or {})
        return response
    log.error("%s failed", request.url.path, exc_info=error)
    return answer({"error": "internal error"}, 500)


class _Direct(APIRoute):
    """A route whose function takes the request and makes the response: there is nothing for the framework to solve."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


def create(
    registry: Registry,
    metrics: Metrics,
    limits: Limits,
    *,
    keep_name: bool = False,
    token: str | None = None,
    loopback_only: bool = True,
) -> FastAPI:
    """The application.

    Args:
        registry: the models.
        metrics: what `/metrics` shows.
        limits: what is refused.
        keep_name: name a prediction's output even where it is the only one.
        token: see `Guard`.
        loopback_only: see `Guard`.
    """
    server = Server(registry, metrics, limits, keep_name)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        server.stopping = True

    app = FastAPI(title="Prediction server", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.router.route_class = _Direct
    handlers: dict[str, Callable[[Request], Awaitable[Response]]] = {
        ":predict": server.predict,
        ":classify": server.unsupported,
        ":regress": server.unsupported,
        "/metadata": server.metadata,
        "": server.status,
    }
    for suffix, handler in handlers.items():
        for target in ("", "/versions/{version}", "/labels/{label}"):
            method = "POST" if suffix.startswith(":") else "GET"
            path = f"/v1/models/{{model}}{target}{suffix}"
            app.add_api_route(path, handler, methods=[method], **openapi.describe(path))
    for path, handler in {"/healthz": server.healthz, "/readyz": server.readyz, "/metrics": server.metrics}.items():
        app.add_api_route(path, handler, methods=["GET"], **openapi.describe(path))
    app.add_api_route("/", server.page, methods=["GET"], include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC))
    for error in (RequestError, HTTPException, Exception):
        app.add_exception_handler(error, _refused)
    app.add_middleware(
        Guard,
        registry=registry,
        metrics=metrics,
        concurrency=limits.concurrency,
        token=token,
        loopback_only=loopback_only,
    )
    return app
