"""The gRPC API: TensorFlow Serving's PredictionService and ModelService, health checking and reflection.

Specification: `prediction_service.proto`, `model_service.proto` and, for what a request must be, `predict_util.cc`,
`classifier.cc`, `regressor.cc`, `multi_inference.cc` and `get_model_metadata_impl.cc`.
"""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException

from serving import access, codec
from serving.app import Bodies
from serving.guard import BUCKETS
from serving.messages import for_clients
from serving.protos import MESSAGES, POOL, SERVICES
from serving.registry import Registry
from serving.servable import Servable
from serving.settings import Limits
from serving.sources import ModelConfigs
from serving.stopping import Requests
from serving.tensors import to_array, to_tensor
from stages.core.errors import InputError
from stages.rest.requests import Arrays
from stages.rest.tensors import shown
from stages.savedmodel.graph import SIGNATURE, Signature

log = logging.getLogger("serving")

_LARGE = 1 << 16  # bytes of a message that is read in a thread, so that other requests need not wait
_METHODS = {"tensorflow/serving/classify": "Classify", "tensorflow/serving/regress": "Regress"}
_SIGNATURES = "signature_def"  # the one kind of metadata
_HEALTH_SECONDS = 1.0  # interval at which a watched state is looked at
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_CALLS = Counter("serving_rpcs", "gRPC calls answered", ["method", "model", "version", "code"])
_SECONDS = Histogram("serving_rpc_seconds", "Time to answer a call", ["method", "model", "version"], buckets=BUCKETS)

Context = Any  # grpc.aio.ServicerContext; gRPC ships no type information


def message(name: str) -> Any:
    """An empty message of TensorFlow Serving's."""
    return MESSAGES[f"tensorflow.serving.{name}"]()


class Api:
    """Answers calls from a registry.

    Args:
        registry: the models.
        limits: what is refused.
        requests: the time that calls have.
        bodies: the memory that they have.
        configs: takes the configurations that clients send.
    """

    def __init__(
        self, registry: Registry, limits: Limits, requests: Requests, bodies: Bodies, configs: ModelConfigs
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._requests = requests
        self._bodies = bodies
        self._configs = configs
        self._in_progress = 0

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """A handler for each service."""
        functions: dict[str, Callable[[Any, int, float], Awaitable[Any]]] = {
            "Predict": self._predict,
            "Classify": self._classify,
            "Regress": self._regress,
            "MultiInference": self._multi_inference,
            "GetModelMetadata": self._metadata,
            "GetModelStatus": self._status,
            "HandleReloadConfigRequest": self._reload,
        }
        return [
            grpc.method_handlers_generic_handler(
                f"tensorflow.serving.{service}",
                {method: self._handler(method, functions[method], request) for method, (request, _) in methods.items()},
            )
            for service, methods in SERVICES.items()
        ]

    def _handler(
        self, method: str, function: Callable[[Any, int, float], Awaitable[Any]], request: str
    ) -> grpc.RpcMethodHandler:
        cls = MESSAGES[f"tensorflow.serving.{request}"]

        async def handle(sent: tuple[Any, int], context: Context) -> Any:
            began, (content, size), code = perf_counter(), sent, grpc.StatusCode.INTERNAL
            number = access.request_id(dict(context.invocation_metadata() or ()).get(access.ID_HEADER))
            context.set_trailing_metadata(((access.ID_HEADER, number),))
            version = ""
            self._in_progress += 1
            try:
                answer = await self._answer(function, content, size, context.time_remaining())
                code = grpc.StatusCode.OK
                if hasattr(answer, "model_spec"):
                    version = str(answer.model_spec.version.value)
                return answer
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except HTTPException as error:
                code = _CODES.get(error.status_code, grpc.StatusCode.INTERNAL)
                await context.abort(code, for_clients(error.detail))
            except InputError as error:
                code = grpc.StatusCode.INVALID_ARGUMENT
                await context.abort(code, for_clients(str(error)))
            except Exception as error:
                log.error("%s %s failed", number, method, exc_info=error)
                await context.abort(code, "internal error")
            finally:
                self._in_progress -= 1
                name = content.model_spec.name if hasattr(content, "model_spec") else ""
                name = name if name in self._registry.names else ""  # a request must not add series
                seconds = perf_counter() - began
                _CALLS.labels(method, name, version, code.name).inc()
                _SECONDS.labels(method, name, version).observe(seconds)
                access.write(number, context.peer(), method, code.name, seconds)

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=lambda data: (cls.FromString(data), len(data)),
            response_serializer=lambda answer: answer.SerializeToString(),
        )

    async def _answer(
        self,
        function: Callable[[Any, int, float], Awaitable[Any]],
        content: Any,
        size: int,
        remaining: float | None,
    ) -> Any:
        if self._in_progress > self._limits.concurrency:
            raise HTTPException(503, f"more than {self._limits.concurrency} calls are in progress; try again")
        seconds = self._limits.seconds if remaining is None else min(self._limits.seconds, remaining)
        with self._bodies.room() as grow:
            grow(size)
            async with self._requests.limited(seconds) as deadline:
                return await function(content, size, deadline)

    def _model(self, spec: Any) -> Servable:
        """The version that a `ModelSpec` names.

        Raises:
            HTTPException: 400 if it has no name, else as `Registry.servable`.
        """
        if not spec.name:
            raise HTTPException(400, "ModelSpec has no name specified.")
        chosen = spec.WhichOneof("choice")
        number = spec.version.value if chosen == "version" else None
        return self._registry.servable(spec.name, number, spec.version_label if chosen == "version_label" else None)

    async def _predict(self, request: Any, size: int, deadline: float) -> Any:
        model = self._model(request.model_spec)
        name = request.model_spec.signature_name or SIGNATURE
        if name not in model.signatures:
            raise HTTPException(412, f"Serving signature key {shown(name)} not found.")
        signature = model.signatures[name]
        if signature.problem:
            raise HTTPException(501, f"signature {name}: {signature.problem}")
        wanted = list(request.output_filter) or list(signature.outputs)
        if not set(wanted) <= signature.outputs.keys():
            known = ", ".join(signature.outputs)
            raise HTTPException(400, f"output_filter: expected some of the outputs {known}, found {', '.join(wanted)}")
        inputs = await self._bodies.call(size > _LARGE, self._inputs, request.inputs, signature)
        outputs = await self._run(model, signature, inputs, deadline)
        return await self._bodies.call(size > _LARGE, self._prediction, model, signature, outputs, wanted)

    def _inputs(self, tensors: Any, signature: Signature) -> Arrays:
        if tensors.keys() != signature.inputs.keys():
            found = ", ".join(sorted(tensors)) or "none"
            raise HTTPException(400, f"expected the inputs {', '.join(signature.inputs)}, found {found}")
        for name, tensor in signature.inputs.items():
            if tensors[name].dtype != tensor.dtype.as_datatype_enum:
                raise HTTPException(
                    400, f"input {name}: expected {tensor.dtype.name}, found type number {tensors[name].dtype}"
                )
        return {name: to_array(tensors[name], self._limits.values, name) for name in signature.inputs}

    def _prediction(self, model: Servable, signature: Signature, outputs: Arrays, wanted: list[str]) -> Any:
        answer = message("PredictResponse")
        self._fill(answer.model_spec, model, signature.name)
        for name in wanted:
            to_tensor(outputs[name], answer.outputs[name])
        return answer

    async def _run(self, model: Servable, signature: Signature, inputs: Arrays, deadline: float) -> Arrays:
        instances = max((len(array) for array in inputs.values() if array.shape), default=0)
        if instances > self._limits.instances:
            raise HTTPException(413, f"expected at most {self._limits.instances} instances, found {instances}")
        return await model.run(signature, inputs, deadline)

    @staticmethod
    def _fill(spec: Any, model: Servable, signature: str) -> None:
        spec.name = model.name
        spec.version.value = model.version
        spec.signature_name = signature

    async def _classify(self, request: Any, size: int, deadline: float) -> Any:
        return await self._infer("Classify", message("ClassificationResponse"), request.model_spec, request, deadline)

    async def _regress(self, request: Any, size: int, deadline: float) -> Any:
        return await self._infer("Regress", message("RegressionResponse"), request.model_spec, request, deadline)

    async def _infer(self, method: str, answer: Any, spec: Any, request: Any, deadline: float) -> Any:
        """Fill the model and the result of an answer."""
        model = self._model(spec)
        signature = model.signature(spec.signature_name or SIGNATURE)
        if list(signature.inputs) != ["inputs"]:
            raise HTTPException(400, f"signature {signature.name}: Expected one input Tensor named inputs")
        examples = codec.serialised(request.input)
        if not len(examples):
            raise HTTPException(400, "Input is empty.")
        outputs = await self._run(model, signature, {"inputs": examples}, deadline)
        self._fill(answer.model_spec, model, signature.name)
        if method == "Regress":
            for value in codec.regressions(outputs, len(examples)).tolist():
                answer.result.regressions.add(value=value)
            return answer
        labels, scores = codec.classes(outputs, len(examples))
        for row, numbers in zip(labels, scores.tolist(), strict=True):
            found = answer.result.classifications.add()
            for label, score in zip(row, numbers, strict=True):
                found.classes.add(label=label.decode(errors="replace"), score=score)
        return answer

    async def _multi_inference(self, request: Any, size: int, deadline: float) -> Any:
        """Classify and regress the same examples by several signatures of one model."""
        if not request.tasks:
            raise HTTPException(400, "Inference request must contain at least one task.")
        if len({task.model_spec.name for task in request.tasks}) > 1:
            raise HTTPException(400, "All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        names = [task.model_spec.signature_name or SIGNATURE for task in request.tasks]
        if twice := {name for name in names if names.count(name) > 1}:
            raise HTTPException(400, f"Duplicate evaluation of signature: {shown(min(twice))}")
        answer = message("MultiInferenceResponse")
        for task in request.tasks:
            method = _METHODS.get(task.method_name)
            if method is None:
                raise HTTPException(501, f"Unsupported signature method_name: {shown(task.method_name)}")
            part = message("RegressionResponse" if method == "Regress" else "ClassificationResponse")
            await self._infer(method, part, task.model_spec, request, deadline)
            result = answer.results.add(model_spec=part.model_spec)
            field = result.regression_result if method == "Regress" else result.classification_result
            field.CopyFrom(part.result)
        return answer

    async def _metadata(self, request: Any, size: int, deadline: float) -> Any:
        if not request.metadata_field:
            raise HTTPException(400, "GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURES:
                raise HTTPException(400, f"Metadata field {shown(field)} is not supported")
        model = self._model(request.model_spec)
        answer = message("GetModelMetadataResponse")
        answer.model_spec.name = model.name
        answer.model_spec.version.value = model.version
        found = answer.metadata[_SIGNATURES]
        found.type_url, found.value = "type.googleapis.com/tensorflow.serving.SignatureDefMap", model.signature_defs
        return answer

    async def _status(self, request: Any, size: int, deadline: float) -> Any:
        spec = request.model_spec
        if not spec.name:
            raise HTTPException(400, "ModelSpec has no name specified.")
        number = spec.version.value if spec.WhichOneof("choice") == "version" else None
        answer = message("GetModelStatusResponse")
        for version in self._registry.statuses(spec.name, number):
            status = version.status()["status"]
            answer.model_version_status.add(version=version.number, state=version.state, status=status)
        return answer

    async def _reload(self, request: Any, size: int, deadline: float) -> Any:
        """Serve what a configuration says, from now on and in place of what the command line says."""
        if not request.config.HasField("model_config_list"):
            raise HTTPException(400, "ReloadConfigRequest: expected a config with a model_config_list")
        await asyncio.to_thread(self._configs.take, request.config, "ReloadConfigRequest")
        await asyncio.to_thread(self._registry.follow, self._configs)
        return message("ReloadConfigResponse")


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Whether models can be asked, as `/readyz` says."""

    def __init__(self, registry: Registry, requests: Requests) -> None:
        self._registry = registry
        self._requests = requests
        self._services = {"", *(f"tensorflow.serving.{name}" for name in SERVICES)}

    def _state(self, service: str) -> Any:
        if service not in self._services:
            return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        if self._registry.ready and not self._requests.stopping:
            return health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse.NOT_SERVING

    async def Check(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        """The state now."""
        state = self._state(request.service)
        if state == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=state)

    async def Watch(self, request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: N802
        """The state now and whenever it changes."""
        known = None
        while not self._requests.stopping or known != health_pb2.HealthCheckResponse.NOT_SERVING:
            state = self._state(request.service)
            if state != known:
                known = state
                yield health_pb2.HealthCheckResponse(status=state)
            await asyncio.sleep(_HEALTH_SECONDS)


class _Token(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls without the token before their message is read. Health and reflection are open."""

    def __init__(self, token: str) -> None:
        self._token = b"Bearer " + token.encode()
        self._refusal = grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, _: Any, context: Context) -> None:
        await context.abort(
            grpc.StatusCode.UNAUTHENTICATED, "expected the server's token as 'authorization: Bearer ...'"
        )

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call."""
        sent = dict(details.invocation_metadata or ()).get("authorization", "")
        given = sent if isinstance(sent, bytes) else sent.encode()
        if details.method.startswith("/tensorflow.serving.") and not hmac.compare_digest(given, self._token):
            return self._refusal
        return await continuation(details)


async def start(
    api: Api,
    registry: Registry,
    requests: Requests,
    limits: Limits,
    address: str,
    token: str | None,
    certificate: tuple[Path, Path] | None,
) -> grpc.aio.Server:
    """Start the server in the running loop.

    Args:
        api: what answers.
        registry: says whether the server is healthy.
        requests: says whether it stops.
        limits: of messages and calls.
        address: host and port.
        token: that clients must send, if any.
        certificate: files of the chain and its key, for TLS.

    Raises:
        InputError: if the address cannot be had.
    """
    server = grpc.aio.server(
        interceptors=[_Token(token)] if token else [],
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", limits.body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", limits.head_bytes),
            ("grpc.max_connection_idle_ms", int(limits.idle_seconds * 1000)),
        ],
        maximum_concurrent_rpcs=limits.concurrency + 1,
    )
    server.add_generic_rpc_handlers(api.handlers())
    health_pb2_grpc.add_HealthServicer_to_server(_Health(registry, requests), server)
    names = [f"tensorflow.serving.{name}" for name in SERVICES]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server, POOL)
    try:
        if certificate:
            chain, key = (path.read_bytes() for path in certificate)
            server.add_secure_port(address, grpc.ssl_server_credentials([(key, chain)]))
        else:
            server.add_insecure_port(address)
    except RuntimeError:
        raise InputError(f"{address}: cannot be listened on") from None
    await server.start()
    return server
