import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from stages.export import write_savedmodel
from stages.predict import by_cli, by_tf1_loader
from stages.savedmodel.independence import independent_of_batch
from stages.savedmodel.predictor import Predictor
from tests.conftest import ROOT
from tests.savedmodel.rows import different, inputs


def attention() -> keras.Model:
    """Products and exponentials of three dimensions, and a normalisation."""
    words = keras.Input([5], dtype="int32")
    values = layers.Embedding(40, 12)(words)
    values = layers.LayerNormalization()(values + layers.MultiHeadAttention(3, 4)(values, values))
    values = layers.EinsumDense("abc,cd->abd", output_shape=(None, 7), activation="gelu")(values)
    return keras.Model(words, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(values)))


def images() -> keras.Model:
    """Numbers of channels that fill no instruction."""
    pixels = keras.Input([9, 9, 3])
    values = layers.BatchNormalization()(layers.Conv2D(5, 3, activation="swish")(pixels))
    values = layers.DepthwiseConv2D(3, padding="same", activation="relu")(values)
    values = layers.SeparableConv2D(7, 3, activation="tanh")(values)
    return keras.Model(pixels, layers.Dense(9)(layers.Flatten()(values)))


def numbers() -> keras.Model:
    """Two inputs, and activations of few units."""
    first, second = keras.Input([4]), keras.Input([])
    values = layers.Concatenate()([layers.Dense(3, "elu")(first), ops.log(1 + ops.expand_dims(second, 1))])
    values = layers.Normalization(mean=0.3, variance=2.0)(values)
    return keras.Model([first, second], ops.squeeze(layers.Dense(1, "softplus")(layers.Dense(5, "selu")(values)), 1))


NETWORKS: dict[str, Callable[[], keras.Model]] = {"attention": attention, "images": images, "numbers": numbers}


def functions(model: keras.Model) -> tuple[Any, Any]:
    """The serving function of a network, as it is and independent of the batch."""
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, f"input_{i}") for i, tensor in enumerate(model.inputs)]

    def answer(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"output": model(list(values) if len(values) > 1 else values[0], training=False)}

    plain = tf.function(answer, autograph=False).get_concrete_function(*specs)
    return plain, independent_of_batch(plain)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of plain Keras models as they are (`plain`), and as they are exported (`model`)."""
    keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp("models")
    for name, build in NETWORKS.items():
        model = build()
        for form, function in zip(("plain", "model"), functions(model), strict=True):
            write_savedmodel(folder / form / name, model, {"serving_default": function}, {})
    return folder


@pytest.fixture(params=NETWORKS)
def exported(request: pytest.FixtureRequest, models: Path) -> tuple[Path, Path]:
    return models / "plain" / request.param, models / "model" / request.param


def assert_same_rows(threads: int, rows: int, *models: Path) -> None:
    command = [sys.executable, "-m", "tests.savedmodel.rows", threads, rows, *models]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_row_is_answered_with_the_same_bytes_in_every_call(models: Path, threads: int) -> None:
    assert_same_rows(threads, 1000, *(models / "model" / name for name in NETWORKS))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_so_do_the_pipelines_models_to_ten_thousand_rows(threads: int) -> None:
    exported = sorted((ROOT / "models").iterdir())
    assert exported
    assert_same_rows(threads, 10_000, *exported)


def test_as_it_is_a_network_would_not_do_so(exported: tuple[Path, Path]) -> None:
    plain = Predictor(exported[0])
    assert different(lambda arrays: plain(**arrays), inputs(plain.signature, 100), range(1, 20))


def test_the_answers_are_the_networks(exported: tuple[Path, Path]) -> None:
    plain, model = map(Predictor, exported)
    for size in (1, 2, 5, 48, 100):
        rows = inputs(plain.signature, size)
        np.testing.assert_allclose(model(**rows)["output"], plain(**rows)["output"], rtol=1e-5, atol=1e-6)


def test_no_rows_have_no_answers(models: Path) -> None:
    model = Predictor(models / "model/numbers")
    assert model(**inputs(model.signature, 0))["output"].shape == (0,)


def test_three_loaders_give_a_lone_row_the_same_bytes(exported: tuple[Path, Path]) -> None:
    rows = inputs(Predictor(exported[1]).signature, 100)
    first = {key: values[:1] for key, values in rows.items()}
    expected = Predictor(exported[1])(**rows)["output"][:1].tobytes()
    for answer in by_tf1_loader, by_cli:
        assert answer(exported[1], first)["output"].tobytes() == expected


@pytest.mark.parametrize("size", [1, 5])
def test_a_function_that_mixes_rows_still_does(size: int) -> None:
    dense = layers.Dense(7, "tanh")
    dense.build([None, 3])

    def centred(x: tf.Tensor) -> dict[str, tf.Tensor]:
        values = dense(x)
        return {"centred": values - tf.reduce_mean(values, axis=0), "order": tf.nn.softmax(values[:, 0])}

    plain = tf.function(centred).get_concrete_function(tf.TensorSpec([None, 3], tf.float32, "x"))
    rows = tf.random.stateless_normal([size, 3], [1, 2])
    for key, values in independent_of_batch(plain)(rows).items():
        np.testing.assert_allclose(values, plain(rows)[key], rtol=1e-5, atol=1e-6)


def test_calls_are_inlined_and_loops_are_kept() -> None:
    dense, recurrent = layers.Dense(7, "tanh"), layers.LSTM(3)
    dense.build([None, 4])
    recurrent.build([None, 6, 2])
    inner = tf.function(dense)

    def outer(x: tf.Tensor, series: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"first": inner(x), "second": inner(2 * x), "loop": recurrent(series)}

    specs = [tf.TensorSpec([None, 4], tf.float32, "x"), tf.TensorSpec([None, 6, 2], tf.float32, "series")]
    plain = tf.function(outer).get_concrete_function(*specs)
    x, series = tf.random.stateless_normal([60, 4], [1, 2]), tf.random.stateless_normal([60, 6, 2], [1, 3])
    model = independent_of_batch(plain)
    for key, values in model(x, series).items():
        np.testing.assert_allclose(values, plain(x, series)[key], rtol=1e-5, atol=1e-6)
    calls = {op.type for op in model.graph.get_operations()}
    assert "While" in calls and "StatefulPartitionedCall" not in calls
    whole = model(x, series)
    for size in range(1, 13):
        part = model(x[:size], series[:size])
        assert all(part[key].numpy().tobytes() == whole[key][:size].numpy().tobytes() for key in ("first", "second"))


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_it_can_be_frozen_compiled_and_converted(exported: tuple[Path, Path]) -> None:
    """By what takes SavedModels to other places: constants in place of variables, XLA and TensorFlow Lite."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    loaded = tf.saved_model.load(str(exported[1]))
    function = loaded.signatures["serving_default"]
    for size in (1, 50):
        rows = {key: tf.constant(values) for key, values in inputs(Predictor(exported[1]).signature, size).items()}
        expected = function(**rows)["output"]
        frozen = convert_variables_to_constants_v2(function)(**rows)
        compiled = tf.function(function, jit_compile=True)(**rows)["output"]
        for found in (tf.nest.flatten(frozen)[0], compiled):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    interpreter = tf.lite.Interpreter(
        model_content=tf.lite.TFLiteConverter.from_saved_model(str(exported[1])).convert()
    )
    for detail in interpreter.get_input_details():
        key = detail["name"].removeprefix("serving_default_").partition(":")[0]
        interpreter.resize_tensor_input(detail["index"], rows[key].shape)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        key = detail["name"].removeprefix("serving_default_").partition(":")[0]
        interpreter.set_tensor(detail["index"], rows[key].numpy())
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
