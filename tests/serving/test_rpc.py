"""The gRPC API, asked by TensorFlow Serving's own client."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow.core.framework.tensor_pb2 import TensorProto

from tests.conftest import ROOT
from tests.serving import models
from tests.serving.conftest import Process, processor_seconds, write_settings

CLIENTS = ROOT / ".benchmarks/clients"
if not CLIENTS.exists():
    assert not os.environ.get("CI"), "CI must have TensorFlow Serving's client: make test installs it"
    pytest.skip("no client of TensorFlow Serving here: make test installs it", allow_module_level=True)
sys.path.append(str(CLIENTS))

from grpclib import GRPCError  # noqa: E402
from grpclib.client import Channel, UnaryUnaryMethod  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

SECONDS = 30


class Client:
    """Stubs of both services."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(self, name: str, signature: str = "", **inputs: Any) -> dict[str, Any]:
        answer = self.predictions.Predict(predict_request(name, signature, **inputs), timeout=SECONDS)
        return {key: tf.make_ndarray(value).tolist() for key, value in answer.outputs.items()}


def predict_request(name: str, signature: str = "", **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        if isinstance(value, list):
            value = np.array(value, np.float32)
        request.inputs[key].CopyFrom(value if isinstance(value, TensorProto) else tf.make_tensor_proto(value))
    return request


def refusal(call: Any, *arguments: Any, **options: Any) -> tuple[grpc.StatusCode, str]:
    """Code and message of a call that fails."""
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **{"timeout": SECONDS} | options)
    return error.value.code(), error.value.details()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("rpc")
    models.half_plus_two(found / "half/1")
    models.contract(found / "contract/1")
    models.odd(found / "odd/1")
    models.slow(found / "slow/1")
    (found / "half/labels.json").write_text('{"stable": 1}')
    (found / "broken/7").mkdir(parents=True)
    return found


@pytest.fixture(scope="module")
def process(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    settings = write_settings(tmp_path_factory.mktemp("settings") / "settings.yaml", delay_seconds=0, instances=100)
    found = Process(folder, "--settings", str(settings))
    found.wait_ready()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def client(process: Process) -> Iterator[Client]:
    with grpc.insecure_channel(process.rpc) as channel:
        yield Client(channel)


def test_predict(client: Client) -> None:
    answer = client.predictions.Predict(predict_request("half", x=[1.0, 2.0, 5.0]), timeout=SECONDS)
    assert list(answer.outputs["y"].float_val) == [2.5, 3.0, 4.5]  # which many clients read
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("half", 1)
    assert answer.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize("dtype", [d for d in models.DTYPES if d != tf.string], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("content", [False, True], ids=["values", "content"])
def test_types(client: Client, dtype: tf.DType, content: bool) -> None:
    """Each type there and back, in its own field or as bytes."""
    array = np.array([0, 1, 1], dtype.as_numpy_dtype)
    tensor = tf.make_tensor_proto(array)
    if not content:
        tensor = tf.make_tensor_proto(array.tolist(), dtype) if dtype != tf.bfloat16 else tensor
        values = tf.io.parse_tensor(tensor.SerializeToString(), dtype)
        assert values.numpy().tobytes() == array.tobytes()
    answer = client.predictions.Predict(predict_request("contract", dtype.name, x=tensor), timeout=SECONDS)
    found = answer.outputs["out_x"]
    assert not found.tensor_content
    assert tf.io.parse_tensor(found.SerializeToString(), dtype).numpy().tobytes() == array.tobytes()


def test_strings_shapes_and_repeated_values(client: Client) -> None:
    text = tf.make_tensor_proto([b"\xff", "Grüße".encode(), b""])
    assert client.predict("contract", "string", x=text) == {"out_x": [b"\xff", "Grüße".encode(), b""]}
    assert client.predict("contract", "scalar", x=np.float32(3)) == {"out_x": 3.0}
    assert client.predict("contract", "any_shape", x=np.zeros((2, 0, 3), np.float32)) == {"out_x": [[], []]}
    repeated = tf.make_tensor_proto(4.0, tf.float32, [3])
    assert len(repeated.float_val) == 1
    assert client.predict("contract", "any_shape", x=repeated) == {"out_x": [4.0, 4.0, 4.0]}


def test_a_call_has_an_id(client: Client) -> None:
    for sent in ((("x-request-id", "abc"),), ()):
        _, call = client.predictions.Predict.with_call(predict_request("half", x=[1.0]), metadata=sent)
        found = dict(call.trailing_metadata())["x-request-id"]
        assert found == "abc" if sent else len(found) == 32


def test_output_filter_version_and_label(client: Client) -> None:
    request = predict_request("contract", "lengths", a=[1.0, 2.0], b=[1.0])
    request.output_filter.append("of_a")
    answer = client.predictions.Predict(request, timeout=SECONDS)
    assert {key: tf.make_ndarray(value).tolist() for key, value in answer.outputs.items()} == {"of_a": 2}
    request.output_filter[0] = "of_c"
    code, message = refusal(client.predictions.Predict, request)
    assert (code, "of_a, of_b" in message) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    request = predict_request("half", x=[1.0])
    request.model_spec.version.value = 1
    assert client.predictions.Predict(request, timeout=SECONDS).outputs["y"].float_val == [2.5]
    request.model_spec.version_label = "stable"
    assert client.predictions.Predict(request, timeout=SECONDS).outputs["y"].float_val == [2.5]


def wrong(**changes: Any) -> Any:
    request = predict_request("half", x=[1.0])
    for key, value in changes.items():
        if key == "version":
            request.model_spec.version.value = value
        else:
            setattr(request.model_spec, key, value)
    return request


def tensor(**fields: Any) -> Any:
    found = predict_pb2.PredictRequest().inputs["x"]
    for size in fields.pop("shape", [1]):
        found.tensor_shape.dim.add(size=size)
    found.MergeFrom(type(found)(**{"dtype": 1} | fields))
    return found


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (wrong(name=""), "INVALID_ARGUMENT", "no name specified"),
        (wrong(name="none"), "NOT_FOUND", "Servable not found for request: Latest(none)"),
        (wrong(version=3), "NOT_FOUND", "Specific(half, 3)"),
        (wrong(version_label="no"), "INVALID_ARGUMENT", "Unrecognized servable version label"),
        (wrong(signature_name="no"), "FAILED_PRECONDITION", 'Serving signature key "no" not found.'),
        (predict_request("broken", x=[1.0]), "NOT_FOUND", "Latest(broken)"),
        (predict_request("odd", "words", text=[1.0]), "UNIMPLEMENTED", "output words is a RaggedTensor"),
        (predict_request("half", y=[1.0]), "INVALID_ARGUMENT", "expected the inputs x, found y"),
        (predict_request("half"), "INVALID_ARGUMENT", "expected the inputs x, found none"),
        (predict_request("half", x=np.array([1])), "INVALID_ARGUMENT", "input x: expected float32"),
        (predict_request("half", x=np.zeros(101, np.float32)), "RESOURCE_EXHAUSTED", "at most 100 instances"),
        (predict_request("half", x=tensor(dtype=99)), "INVALID_ARGUMENT", "input x: expected float32"),
        (predict_request("half", x=tensor(shape=[-1])), "INVALID_ARGUMENT", "dimensions of unknown size"),
        (predict_request("half", x=tensor(shape=[3], tensor_content=b"12")), "INVALID_ARGUMENT", "expected 12 bytes"),
        (predict_request("half", x=tensor(float_val=[1, 2])), "INVALID_ARGUMENT", "expected 1 values"),
        (predict_request("half", x=tensor(shape=[2**31, 2**31], float_val=[1])), "INVALID_ARGUMENT", "values for"),
        (predict_request("contract", "positive", x=[-1.0]), "INVALID_ARGUMENT", "x must be positive"),
    ],
)  # fmt: skip
def test_refusals(client: Client, request_: Any, code: str, words: str) -> None:
    found, message = refusal(client.predictions.Predict, request_)
    assert (found.name, words in message) == (code, True), message
    assert "\n" not in message and "Traceback" not in message


def example(value: float) -> Any:
    found = tf.train.Example()
    found.features.feature["x"].float_list.value.append(value)
    return found.SerializeToString()


def test_classify_and_regress(client: Client) -> None:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "half", "classify_labels"
    for value in (2, 80):
        request.input.example_list.examples.add().ParseFromString(example(value))
    answer = client.predictions.Classify(request, timeout=SECONDS)
    found = [[(c.label, c.score) for c in row.classes] for row in answer.result.classifications]
    assert found == [[("half", 3.0)], [("half", 42.0)]]
    assert answer.model_spec.version.value == 1

    numbers = regression_pb2.RegressionRequest()
    numbers.model_spec.name, numbers.model_spec.signature_name = "half", "regress_x_to_y"
    with_context = numbers.input.example_list_with_context
    with_context.context.ParseFromString(example(6))
    with_context.examples.add()
    assert client.predictions.Regress(numbers, timeout=SECONDS).result.regressions[0].value == 5.0
    numbers.model_spec.signature_name = "serving_default"
    code, message = refusal(client.predictions.Regress, numbers)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message == "signature serving_default: Expected one input Tensor named inputs"
    code, message = refusal(client.predictions.Classify, classification_pb2.ClassificationRequest())
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_multi_inference(client: Client) -> None:
    request = inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.add().ParseFromString(example(80))
    for method, signature in (("regress", "regress_x_to_y"), ("classify", "classify_x_to_y")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "half", signature
    regressed, classified = client.predictions.MultiInference(request, timeout=SECONDS).results
    assert regressed.regression_result.regressions[0].value == 42.0
    assert classified.classification_result.classifications[0].classes[0].score == 42.0
    assert classified.model_spec.signature_name == "classify_x_to_y"
    request.tasks[1].model_spec.signature_name = "regress_x_to_y"
    assert "Duplicate evaluation of signature" in refusal(client.predictions.MultiInference, request)[1]
    request.tasks[1].model_spec.name = "contract"
    assert "must access the same model name" in refusal(client.predictions.MultiInference, request)[1]
    request.tasks[1].model_spec.name, request.tasks[1].method_name = "half", "tensorflow/serving/predict"
    request.tasks[1].model_spec.signature_name = ""
    assert refusal(client.predictions.MultiInference, request)[0] == grpc.StatusCode.UNIMPLEMENTED
    assert "at least one task" in refusal(client.predictions.MultiInference, inference_pb2.MultiInferenceRequest())[1]


def test_metadata(client: Client) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half"
    answer = client.predictions.GetModelMetadata(request, timeout=SECONDS)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    assert found.signature_def["regress_x_to_y"].method_name == "tensorflow/serving/regress"
    assert answer.model_spec.version.value == 1
    for fields in ([], ["asset"]):
        del request.metadata_field[:]
        request.metadata_field.extend(fields)
        assert refusal(client.predictions.GetModelMetadata, request)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_status(client: Client) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "broken"
    (version,) = client.models.GetModelStatus(request, timeout=SECONDS).model_version_status
    assert (version.version, version.state) == (7, get_model_status_pb2.ModelVersionStatus.END)
    assert version.status.error_code == 3 and "saved_model.pb" in version.status.error_message
    request.model_spec.name = "none"
    code, message = refusal(client.models.GetModelStatus, request)
    assert (code, message) == (grpc.StatusCode.NOT_FOUND, 'Could not find any versions of model "none"')


def test_a_deadline_frees_the_server(client: Client, process: Process) -> None:
    began = time.monotonic()
    code, _ = refusal(client.predictions.Predict, predict_request("slow", steps=[1e9]), timeout=1)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 10
    time.sleep(0.5)
    before = processor_seconds(process)
    time.sleep(1)
    assert processor_seconds(process) - before < 0.5


def test_concurrent_calls_share_calls_of_the_model_with_rest(client: Client, process: Process) -> None:
    def by_rpc(value: float) -> None:
        assert client.predict("contract", x=[value]) == {"y": [value / 2 + 3]}

    def by_rest(value: float) -> None:
        answer = httpx.post(f"{process.url}/v1/models/contract:predict", json={"instances": [value]}, timeout=SECONDS)
        assert answer.json() == {"predictions": [value / 2 + 3]}

    with ThreadPoolExecutor(8) as clients:
        for call in [clients.submit((by_rpc, by_rest)[i % 2], float(i)) for i in range(100)]:
            call.result()


def test_health_and_reflection(client: Client) -> None:
    health = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", "tensorflow.serving.PredictionService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert refusal(health.Check, health_pb2.HealthCheckRequest(service="x"))[0] == grpc.StatusCode.NOT_FOUND
    watched = health.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    watched.cancel()
    stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    name = "tensorflow.serving.PredictionService"
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=name),
    ]
    listed, described = stub.ServerReflectionInfo(iter(asked), timeout=SECONDS)
    assert name in [service.name for service in listed.list_services_response.service]
    assert described.file_descriptor_response.file_descriptor_proto


def test_a_message_that_is_too_large(client: Client) -> None:
    code, _ = refusal(client.predictions.Predict, predict_request("half", x=np.zeros(5_000_000, np.float32)))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_metrics(client: Client, process: Process) -> None:
    client.predict("half", x=[1.0])
    refusal(client.predictions.Predict, predict_request("no-such-model", x=[1.0]))
    text = httpx.get(f"{process.url}/metrics").text
    assert 'serving_rpcs_total{code="OK",method="Predict",model="half",version="1"}' in text
    assert 'serving_rpcs_total{code="NOT_FOUND",method="Predict",model="",version=""}' in text
    assert "no-such-model" not in text


def test_a_new_configuration(tmp_path: Path) -> None:
    """HandleReloadConfigRequest answers when the models are there, and leaves out those that are not named."""
    models.half_plus_two(tmp_path / "published/half/1")
    models.half_plus_two(tmp_path / "elsewhere/123")
    process = Process(tmp_path / "published")
    try:
        process.wait_ready()
        with grpc.insecure_channel(process.rpc) as channel:
            client = Client(channel)
            request = model_management_pb2.ReloadConfigRequest()
            config = request.config.model_config_list.config.add(name="other", base_path=str(tmp_path / "elsewhere"))
            config.model_platform = "tensorflow"
            answer = client.models.HandleReloadConfigRequest(request, timeout=SECONDS)
            assert answer.status.error_code == 0
            assert client.predict("other", x=[1.0]) == {"y": [2.5]}
            assert refusal(client.predictions.Predict, predict_request("half", x=[1.0]))[0] == grpc.StatusCode.NOT_FOUND
            config.name = ""
            code, message = refusal(client.models.HandleReloadConfigRequest, request)
            assert (code, "expected a name and a base_path" in message) == (grpc.StatusCode.INVALID_ARGUMENT, True)
            config.name, config.base_path = "third", str(tmp_path / "nowhere")
            code, message = refusal(client.models.HandleReloadConfigRequest, request)
            assert (code, message) == (grpc.StatusCode.INVALID_ARGUMENT, "no version can be loaded of third")
            empty = model_management_pb2.ReloadConfigRequest()
            assert refusal(client.models.HandleReloadConfigRequest, empty)[0] == grpc.StatusCode.INVALID_ARGUMENT
    finally:
        process.stop()


def test_a_token_and_tls(folder: Path, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    token.chmod(0o600)
    options = ["--ssl-certfile", str(certificate[0]), "--ssl-keyfile", str(certificate[1])]
    process = Process(folder, "--token-file", str(token), *options)
    try:
        credentials = grpc.ssl_channel_credentials(certificate[0].read_bytes())
        with grpc.secure_channel(process.rpc, credentials) as channel:
            client = Client(channel)
            health = health_pb2_grpc.HealthStub(channel)
            for _ in range(600):
                if health.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS, wait_for_ready=True).status == 1:
                    break
                time.sleep(0.1)
            request = predict_request("half", x=[1.0])
            for sent in ((), (("authorization", "Bearer wrong"),), (("authorization", "secret"),)):
                code, message = refusal(client.predictions.Predict, request, metadata=sent)
                assert (code, "expected the server's token" in message) == (grpc.StatusCode.UNAUTHENTICATED, True)
            metadata = (("authorization", "Bearer secret"),)
            answer = client.predictions.Predict(request, timeout=SECONDS, metadata=metadata)
            assert answer.outputs["y"].float_val == [2.5]
        with grpc.insecure_channel(process.rpc) as channel:
            assert refusal(Client(channel).predictions.Predict, request)[0] == grpc.StatusCode.UNAVAILABLE
    finally:
        process.stop()


def test_a_stop_gives_up_calls(tmp_path: Path) -> None:
    models.slow(tmp_path / "published/slow/1")
    settings = write_settings(tmp_path / "settings.yaml", delay_seconds=0, grace_seconds=1)
    process = Process(tmp_path / "published", "--settings", str(settings))
    try:
        process.wait_ready()
        with grpc.insecure_channel(process.rpc) as channel, ThreadPoolExecutor(1) as clients:
            asked = clients.submit(refusal, Client(channel).predictions.Predict, predict_request("slow", steps=[1e9]))
            time.sleep(1)
            process.running.terminate()
            assert asked.result() == (grpc.StatusCode.UNAVAILABLE, "the server is stopping")
        assert "Traceback" not in process.running.communicate(timeout=20)[1]
        assert process.running.returncode == 0
    finally:
        process.stop()


async def by_grpclib(address: str, request: Any) -> Any:
    host, port = address.split(":")
    channel = Channel(host, int(port))
    try:
        path = "/tensorflow.serving.PredictionService/Predict"
        method = UnaryUnaryMethod(channel, path, predict_pb2.PredictRequest, predict_pb2.PredictResponse)
        return await method(request, timeout=SECONDS)
    finally:
        channel.close()


def test_another_library_of_grpc(process: Process) -> None:
    """grpclib, which speaks HTTP/2 in Python."""
    answer = asyncio.run(by_grpclib(process.rpc, predict_request("half", x=[1.0])))
    assert answer.outputs["y"].float_val == [2.5]
    with pytest.raises(GRPCError) as error:
        asyncio.run(by_grpclib(process.rpc, predict_request("none", x=[1.0])))
    assert error.value.message == "Servable not found for request: Latest(none)"
