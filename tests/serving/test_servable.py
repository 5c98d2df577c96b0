"""Models of others: TensorFlow 1 and 2, with what they ship and what they leave out."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from starlette.exceptions import HTTPException

from serving.codec import encode_outputs
from serving.protos import PredictionLog
from serving.published import ROWS
from serving.servable import Servable, _Functions, _Session
from serving.settings import Settings
from stages.core.errors import InputError
from stages.core.files import write_json
from stages.export import write_savedmodel
from stages.savedmodel.independence import independent_of_batch
from tests.serving import models

Load = Callable[..., Servable]


@pytest.fixture
def load(settings: Settings) -> Load:
    def loaded(path: Path, name: str = "demo", **batching: Any) -> Servable:
        return Servable(path, name, 1, settings.batching.model_copy(update=batching))

    return loaded


def call(model: Servable, signature: str = "serving_default", **inputs: Any) -> dict[str, Any]:
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    return {name: value.tolist() for name, value in model.call(model.signature(signature), arrays).items()}


def test_a_reference_variable(load: Load, tmp_path: Path) -> None:
    """TensorFlow 2's loader would refuse it; loading does not touch the state."""
    model = load(models.counter(tmp_path / "counter"))
    assert call(model, delta=np.float32(2)) == {"total": 2.0}
    assert call(model, delta=np.float32(3)) == {"total": 5.0}


def test_one_odd_signature_does_not_keep_the_others_from_being_served(load: Load, tmp_path: Path) -> None:
    model = load(models.counter(tmp_path / "counter"))
    assert call(model, "echo", delta=np.float32(2)) == {"same": 2.0, "sum": 2.0}
    assert call(model, "identity", delta=np.float32(4)) == {"same": 4.0}
    assert call(model, "none", delta=np.float32(1)) == {}
    with pytest.raises(InputError, match="Cannot convert empty tensor map to JSON"):
        encode_outputs({}, by_row=True)
    with pytest.raises(HTTPException, match="two inputs are the same tensor") as refusal:
        call(model, "twice", a=np.float32(1), b=np.float32(1))
    assert refusal.value.status_code == 400


def test_an_input_may_be_called_self(load: Load, tmp_path: Path) -> None:
    model = load(models.half_plus_two(tmp_path / "half", key="self"))
    answer = model.call(model.signature("serving_default"), {"self": np.array([1, 2], np.float32)})
    assert answer["y"].tolist() == [2.5, 3.0]


@pytest.mark.parametrize("loader", ["_Functions", "_Session"])
def test_tensorflow_1_in_both_loaders(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: str) -> None:
    """Feeds in the midst of the graph, serialised examples, shapes that the signature does not have."""
    if loader == "_Functions":
        monkeypatch.setattr("serving.servable._Session", None)
    model = load(models.half_plus_two(tmp_path / "half"))
    assert type(model._run).__name__ == loader
    assert call(model, x=np.array([[1], [2]], np.float32)) == {"y": [[2.5], [3.0]]}
    assert call(model, x=np.array([1, 2, 5], np.float32)) == {"y": [2.5, 3.0, 4.5]}
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(80)
    serialised = np.array([example.SerializeToString()], object)
    assert call(model, "regress_x_to_y", inputs=serialised) == {"outputs": [[42.0]]}
    assert call(model, "classify_labels", inputs=serialised) == {"classes": [[b"half"]], "scores": [[42.0]]}
    with pytest.raises(HTTPException, match="the model refused the inputs") as refusal:
        call(model, "regress_x_to_y", inputs=np.array([b"\xff"], object))
    assert refusal.value.status_code == 400


def test_ragged_and_sparse_outputs_leave_the_other_signatures(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models.odd(tmp_path / "odd")
    for _ in range(2):
        model = load(path)
        assert call(model, x=np.array([1, 2], np.float32)) == {"y": [2.0, 4.0]}
        for signature, kind in (
            ("words", "output words is a RaggedTensor"),
            ("nonzero", "output nonzero is a SparseTensor"),
        ):
            with pytest.raises(HTTPException, match=f"signature {signature}: .*{kind}") as refusal:
                model.signature(signature)
            assert refusal.value.status_code == 501
        monkeypatch.setattr("serving.servable._Session", None)  # then by the other loader


@pytest.mark.parametrize("loader", ["_Functions", "_Session"])
def test_a_call_for_which_nobody_waits_stops_computing(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: str
) -> None:
    path = models.slow(tmp_path / "slow")
    if loader == "_Functions":
        monkeypatch.setattr("serving.servable._Session", None)
    model = load(path)
    for _ in range(3):  # fast ones, after which this one could take a path on which nothing ends it
        assert call(model, steps=np.array([2], np.float32)) == {"y": [2.0]}
    with pytest.raises(HTTPException):
        model.call(model.signature("serving_default"), {"steps": np.array([1e9], np.float32)}, seconds=0.2)
    time.sleep(0.2)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.25
    assert call(model, steps=np.array([3], np.float32)) == {"y": [3.0]}


@pytest.mark.parametrize("make", [models.babyweight, models.mnist, models.cartpole])
def test_a_session_answers_with_the_same_bytes_as_the_function(
    load: Load, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """In the thread that calls and in the session's own, for one row and for many."""
    path = make(tmp_path / "model")
    model = load(path)
    assert isinstance(model._run, _Session)
    signature = model.signature("serving_default")
    function = _Functions(path, model.signatures)
    rng = np.random.default_rng(0)
    for rows in (1, 2, 7, 300):
        inputs = {
            key: rng.choice(["True", "White", "no such value"], rows).astype(object)
            if tensor.dtype == tf.string
            else rng.normal(size=(rows, *(size or 1 for size in tensor.shape[1:]))).astype(np.float32)
            for key, tensor in signature.inputs.items()
        }
        expected = function(signature, inputs, 60)
        for seconds in (0.0, np.inf):
            model._run._seconds[signature.name] = seconds
            found = model.call(signature, inputs)
            assert {key: value.tobytes() for key, value in found.items()} == {
                key: value.tobytes() for key, value in expected.items()
            }


def test_keras_saved_as_a_module(load: Load, tmp_path: Path) -> None:
    """Its variables have no names in the checkpoint that a session knows: TensorFlow 2's loader has to do."""
    import keras

    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    module = tf.Module()
    module.network = network
    spec = tf.TensorSpec([None, 3], tf.float32, "x")
    signature = tf.function(lambda x: {"y": network(x)}).get_concrete_function(x=spec)
    tf.saved_model.save(module, str(tmp_path / "keras"), signatures=signature)
    model = load(tmp_path / "keras")
    (output,) = call(model, x=np.ones((2, 3), np.float32)).values()
    np.testing.assert_allclose(output, network(np.ones((2, 3))), rtol=1e-6)


def test_a_keras_model(load: Load, tmp_path: Path) -> None:
    """As `model.export` writes it."""
    import keras

    network = keras.Sequential([keras.Input((3,), name="features"), keras.layers.Dense(2)])
    network.export(str(tmp_path / "keras"), verbose=False)
    model = load(tmp_path / "keras")
    (name,) = model.signature("serving_default").inputs
    (output,) = call(model, "serving_default", **{name: np.ones((2, 3), np.float32)}).values()
    np.testing.assert_allclose(output, network(np.ones((2, 3))), rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "named", "joins"),
    [
        ('{"independent": true}', [], True),
        ('{"independent": false}', [], False),
        ('{"independent": 1}', [], False),
        ("{}", [], False),
        ("[]", [], False),
        ("{", [], False),
        (None, [], False),
        (None, ["demo"], True),
        (None, ["other"], False),
    ],
)
def test_requests_are_joined_only_for_rows_known_to_be_independent(
    load: Load, tmp_path: Path, rows: str | None, named: list[str], joins: bool
) -> None:
    path = models.cartpole(tmp_path / "model")
    file = path / ROWS
    file.unlink() if rows is None else file.write_text(rows)
    model = load(path, row_independent_models=named)
    assert model._batchers["serving_default"]._joinable is joins


def test_a_joined_request_has_the_bytes_of_a_lone_one(load: Load, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(3)
    network = keras.Sequential([keras.Input([4]), keras.layers.Dense(7, "tanh"), keras.layers.Dense(3, "softmax")])
    spec = tf.TensorSpec([None, 4], tf.float32, "x")
    plain = tf.function(lambda x: {"y": network(x)}, autograph=False).get_concrete_function(spec)
    write_savedmodel(tmp_path / "model", network, {"serving_default": independent_of_batch(plain)}, {})
    write_json(tmp_path / "model" / ROWS, {"independent": True, "same_bytes": True})
    model, rows = load(tmp_path / "model"), np.random.default_rng(0).random((120, 4), np.float32)
    signature, joined = model.signature("serving_default"), set()
    whole = model.call(signature, {"x": rows})["y"]
    call, batcher = model.call, model._batchers["serving_default"]

    def counting(inputs: dict[str, Any], *rest: Any) -> dict[str, Any]:
        joined.add(len(inputs["x"]))
        return call(signature, inputs, *rest)

    batcher._function = counting

    async def ask() -> list[dict[str, Any]]:
        return await asyncio.gather(*(model.run(signature, {"x": rows[first : first + 3]}) for first in range(118)))

    for first, answer in enumerate(asyncio.run(ask())):
        assert answer["y"].tobytes() == whole[first : first + 3].tobytes()
    assert max(joined) > 3


def test_signatures_without_rows_are_never_joined(load: Load, tmp_path: Path) -> None:
    model = load(models.contract(tmp_path / "model"))
    joinable = {name for name, batcher in model._batchers.items() if batcher._joinable}
    assert {"serving_default", "named", "string"} < joinable
    assert not joinable & {"scalar", "any_shape", "lengths", "nothing"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (tf.errors.InvalidArgumentError, 400),
        (tf.errors.FailedPreconditionError, 400),
        (tf.errors.OutOfRangeError, 400),
        (tf.errors.NotFoundError, 404),
        (tf.errors.ResourceExhaustedError, 429),
        (tf.errors.UnimplementedError, 501),
        (tf.errors.UnavailableError, 503),
        (tf.errors.DeadlineExceededError, 504),
        (tf.errors.InternalError, 500),
        (tf.errors.UnknownError, 500),
    ],
)
def test_status_of_an_error(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any, status: int
) -> None:
    """Source: http_server.cc, ToHTTPStatusCode."""
    model = load(models.cartpole(tmp_path / "model"))

    def fail(*_: object) -> None:
        raise error(None, None, "reason")

    monkeypatch.setattr(model, "_run", fail)
    with pytest.raises(HTTPException, match="the model refused the inputs: reason") as refusal:
        call(model, observations=[[0.0] * 4])
    assert refusal.value.status_code == status


class TestWarmUp:
    """Requests in assets.extra/tf_serving_warmup_requests."""

    def write(self, model: Path, *logs: Any) -> None:
        (model / "assets.extra").mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(model / "assets.extra/tf_serving_warmup_requests")) as writer:
            for log in logs:
                writer.write(log if isinstance(log, bytes) else log.SerializeToString())

    def predict_log(self, value: float, name: str = "delta") -> Any:
        log = PredictionLog()
        log.predict_log.request.model_spec.name = "counter"
        tensor = tf.make_tensor_proto(value, tf.float32)
        log.predict_log.request.inputs[name].ParseFromString(tensor.SerializeToString())
        return log

    def test_predict(self, load: Load, tmp_path: Path) -> None:
        """The counter shows that the requests were made, each once."""
        path = models.counter(tmp_path / "counter")
        self.write(path, self.predict_log(3), self.predict_log(4))
        assert call(load(path), delta=np.float32(0)) == {"total": 7.0}

    def test_records_of_other_apis_are_ignored(self, load: Load, tmp_path: Path) -> None:
        """MultiInferenceLog has field 4, SessionRunLog 5, the log's metadata 1."""
        path = models.counter(tmp_path / "counter")
        self.write(path, *(bytes([number << 3 | 2, 0]) for number in (4, 5, 1)), self.predict_log(3))
        assert call(load(path), delta=np.float32(0)) == {"total": 3.0}

    @pytest.mark.parametrize("kind", ["classify_log", "regress_log"])
    def test_examples(self, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        path = models.half_plus_two(tmp_path / "half")
        log = PredictionLog()
        request = getattr(log, kind).request
        request.model_spec.signature_name = "classify_x_to_y" if kind == "classify_log" else "regress_x_to_y"
        context = request.input.example_list_with_context
        context.context.features.feature["x"].float_list.value.append(6)
        context.examples.add()
        self.write(path, log)
        calls = []
        original = Servable.call

        def recorded(self: Servable, signature: Any, inputs: Any) -> Any:
            calls.append((signature.name, original(self, signature, inputs)))
            return calls[-1][1]

        monkeypatch.setattr(Servable, "call", recorded)
        load(path)
        ((name, outputs),) = calls
        assert name == request.model_spec.signature_name
        assert [value.tolist() for value in outputs.values()] == [[[5.0]]]

    def test_the_bytes_are_tensorflow_servings(self, load: Load, tmp_path: Path) -> None:
        """A record as its own classes write it: PredictionLog{6: {1: {1: spec, 2: {key, TensorProto}, 3: filter}}}."""
        tensor = tf.make_tensor_proto(5, tf.float32).SerializeToString()

        def field(number: int, content: bytes) -> bytes:
            return bytes([number << 3 | 2, len(content)]) + content

        entry = field(1, b"delta") + field(2, tensor)
        spec = field(1, b"counter") + field(3, b"serving_default") + field(2, b"\x08\x01")
        record = field(6, field(1, field(1, spec) + field(2, entry) + field(3, b"total")))
        path = models.counter(tmp_path / "counter")
        self.write(path, record)
        assert call(load(path), delta=np.float32(0)) == {"total": 5.0}

    def test_refusals(self, load: Load, tmp_path: Path) -> None:
        path = models.counter(tmp_path / "counter")
        file = path / "assets.extra/tf_serving_warmup_requests"
        self.write(path, b"no record")
        with pytest.raises(InputError, match="tf_serving_warmup_requests: damaged"):
            load(path)
        file.write_bytes(b"no file of records")
        with pytest.raises(InputError, match="tf_serving_warmup_requests: damaged"):
            load(path)
        self.write(path, self.predict_log(1, "other"))
        with pytest.raises(InputError, match="tf_serving_warmup_requests: expected the inputs delta, found other"):
            load(path)
        self.write(path, *[self.predict_log(0)] * 1001)
        with pytest.raises(InputError, match="expected at most 1000 records"):
            load(path)


def test_metadata_is_json(load: Load, tmp_path: Path) -> None:
    metadata = load(models.half_plus_two(tmp_path / "half")).metadata
    signatures = json.loads(json.dumps(metadata))["metadata"]["signature_def"]["signature_def"]
    assert signatures["regress_x_to_y"]["method_name"] == "tensorflow/serving/regress"
    assert signatures["serving_default"]["defaults"] == {}
    assert signatures["regress_x_to_y"]["inputs"]["inputs"]["tensor_shape"] == {"dim": [], "unknown_rank": True}
