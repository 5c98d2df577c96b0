"""Small SavedModels for the server's tests: the three workloads' signatures, and one for each rule of the contract."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.published import ROWS
from stages.core.files import digest, write_json

CATEGORIES = {
    "is_male": ["True", "False"],
    "mother_race": ["White", "Asian Indian"],
    "mother_married": ["True", "False"],
    "cigarette_use": ["True", "False"],
    "alcohol_use": ["True", "False"],
}
NUMBERS = ("mother_age", "plurality", "gestation_weeks")


class Weights(tf.Module):  # type: ignore[misc]
    """Variables and nothing else, as the pipeline exports them."""

    def __init__(self, *shapes: tuple[int, ...], seed: int = 0) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        self.weights = [tf.Variable(rng.normal(0, 0.1, shape), dtype=tf.float32) for shape in shapes]


def _save(folder: Path, module: tf.Module, signatures: dict[str, Any], row_independent: bool = True) -> Path:
    tf.saved_model.save(module, str(folder), signatures=signatures)
    (folder / "assets.extra").mkdir()
    write_json(folder / ROWS, {"independent": row_independent, "same_bytes": row_independent})
    return folder


def babyweight(folder: Path, seed: int = 0) -> Path:
    """Five strings and three numbers to pounds."""
    module = Weights((len(CATEGORIES) * 2 + len(NUMBERS), 1), seed=seed)

    @tf.function  # type: ignore[untyped-decorator]
    def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        columns = [tf.cast(inputs[k][:, None] == tf.constant(v)[None], tf.float32) for k, v in CATEGORIES.items()]
        columns += [inputs[key][:, None] / 40 for key in NUMBERS]
        return {"outputs": tf.squeeze(tf.concat(columns, 1) @ module.weights[0], 1) + 7.0}

    specs = {key: tf.TensorSpec([None], tf.string, key) for key in CATEGORIES}
    specs |= {key: tf.TensorSpec([None], tf.float32, key) for key in NUMBERS}
    return _save(folder, module, {"serving_default": serve.get_concrete_function(**specs)})


def mnist(folder: Path) -> Path:
    """784 pixels to a class and probabilities."""
    module = Weights((784, 10))

    @tf.function  # type: ignore[untyped-decorator]
    def serve(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = inputs @ module.weights[0]
        return {"classes": tf.argmax(scores, 1), "probabilities": tf.nn.softmax(scores)}

    spec = tf.TensorSpec([None, 784], tf.float32, "inputs")
    return _save(folder, module, {"serving_default": serve.get_concrete_function(inputs=spec)})


def cartpole(folder: Path) -> Path:
    """Observations to an action and its values."""
    module = Weights((4, 2))

    @tf.function  # type: ignore[untyped-decorator]
    def serve(observations: tf.Tensor) -> dict[str, tf.Tensor]:
        values = observations @ module.weights[0]
        return {"actions": tf.argmax(values, 1), "q_values": values}

    spec = tf.TensorSpec([None, 4], tf.float32, "observations")
    return _save(folder, module, {"serving_default": serve.get_concrete_function(observations=spec)})


def _echo(**specs: tf.TensorSpec) -> Any:
    """A signature whose outputs are its inputs, each named after it with `out_` before."""

    @tf.function  # type: ignore[untyped-decorator]
    def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {f"out_{key}": tf.identity(value) for key, value in inputs.items()}

    return serve.get_concrete_function(**specs)


DTYPES = (
    tf.bool, tf.string, tf.float32, tf.float64, tf.int8, tf.uint8, tf.int16, tf.int32, tf.uint32, tf.int64, tf.uint64,
    tf.float16, tf.bfloat16, tf.complex64,
)  # fmt: skip


def contract(folder: Path) -> Path:
    """A signature for each rule of the contract; `serving_default` halves and adds three."""

    @tf.function  # type: ignore[untyped-decorator]
    def half_plus_three(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / 2 + 3}

    @tf.function  # type: ignore[untyped-decorator]
    def lengths(a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"of_a": tf.size(a), "of_b": tf.size(b)}

    @tf.function  # type: ignore[untyped-decorator]
    def positive(x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_positive(x, "x must be positive")]):
            return {"y": tf.identity(x)}

    @tf.function  # type: ignore[untyped-decorator]
    def uneven(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x, "z": x[1:]}

    @tf.function  # type: ignore[untyped-decorator]
    def multiplied(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.reshape(x, [-1, 2]) @ tf.ones([2, 1])}

    @tf.function  # type: ignore[untyped-decorator]
    def nothing() -> dict[str, tf.Tensor]:
        return {"y": tf.constant([1.0])}

    def cast_to(dtype: tf.DType) -> Any:
        return tf.function(lambda x: {"y": tf.cast(x, dtype)}).get_concrete_function(x=free)

    free = tf.TensorSpec([None], tf.float32, "x")
    signatures = {
        "serving_default": half_plus_three.get_concrete_function(x=free),
        "named": _echo(
            tag=tf.TensorSpec([None], tf.string, "tag"),
            signal=tf.TensorSpec([None, 5], tf.int32, "signal"),
            sensor=tf.TensorSpec([None, 2, 2], tf.float32, "sensor"),
        ),
        "lengths": lengths.get_concrete_function(
            a=tf.TensorSpec([None], tf.float32, "a"), b=tf.TensorSpec([None], tf.float32, "b")
        ),
        "binary": _echo(image_bytes=tf.TensorSpec([None], tf.string, "image_bytes")),
        "any_shape": _echo(x=tf.TensorSpec(None, tf.float32, "x")),
        "scalar": _echo(x=tf.TensorSpec([], tf.float32, "x")),
        "scalar_text": _echo(x=tf.TensorSpec([], tf.string, "x")),
        "matrix": _echo(x=tf.TensorSpec([None, 1, 2], tf.float32, "x")),
        "positive": positive.get_concrete_function(x=free),
        "uneven": uneven.get_concrete_function(x=free),
        "multiplied": multiplied.get_concrete_function(x=tf.TensorSpec([None, 2], tf.float32, "x")),
        "nothing": nothing.get_concrete_function(),
        **{f"to_{dtype.name}": cast_to(dtype) for dtype in (tf.float16, tf.bfloat16, tf.complex64)},
        **{dtype.name: _echo(x=tf.TensorSpec([None], dtype, "x")) for dtype in DTYPES},
    }
    return _save(folder, Weights((1,)), signatures)


def batch_dependent(folder: Path) -> Path:
    """Each signature's answers for an instance depend on the other instances of the call."""

    def signature(compute: Callable[[tf.Tensor], tf.Tensor]) -> Any:
        spec = tf.TensorSpec([None], tf.float32, "x")
        return tf.function(lambda x: {"y": compute(x)}).get_concrete_function(x=spec)

    signatures = {
        "serving_default": signature(tf.cumsum),
        "softmax": signature(lambda x: tf.nn.softmax(x, axis=0)),
        "share": signature(lambda x: x / tf.reduce_sum(x)),
        "normalised": signature(lambda x: (x - tf.reduce_mean(x)) / tf.math.reduce_std(x)),
    }
    return _save(folder, Weights((1,)), signatures, row_independent=False)


def random(folder: Path) -> Path:
    """Adds a number from the global random generator, which training's determinism would refuse."""

    @tf.function  # type: ignore[untyped-decorator]
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + tf.random.uniform(tf.shape(x))}

    signature = serve.get_concrete_function(x=tf.TensorSpec([None], tf.float32, "x"))
    return _save(folder, Weights((1,)), {"serving_default": signature})


def odd(folder: Path) -> Path:
    """Beside the default signature, which doubles, one with a ragged output and one with a sparse one."""

    @tf.function  # type: ignore[untyped-decorator]
    def double(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2 * x}

    @tf.function  # type: ignore[untyped-decorator]
    def words(text: tf.Tensor) -> dict[str, Any]:
        return {"words": tf.strings.split(text)}

    @tf.function  # type: ignore[untyped-decorator]
    def nonzero(x: tf.Tensor) -> dict[str, Any]:
        return {"nonzero": tf.sparse.from_dense(x)}

    signatures = {
        "serving_default": double.get_concrete_function(x=tf.TensorSpec([None], tf.float32, "x")),
        "words": words.get_concrete_function(text=tf.TensorSpec([None], tf.string, "text")),
        "nonzero": nonzero.get_concrete_function(x=tf.TensorSpec([None, 3], tf.float32, "x")),
    }
    return _save(folder, Weights((1,)), signatures)


def slow(folder: Path) -> Path:
    """Multiplies matrices as many times as its input says, and gives that back; 1,000 take seconds."""

    @tf.function  # type: ignore[untyped-decorator]
    def serve(steps: tf.Tensor) -> dict[str, tf.Tensor]:
        def step(i: tf.Tensor, matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return i + 1, tf.linalg.normalize(matrix @ matrix)[0]

        start = (0.0, tf.random.stateless_normal([500, 500], [1, 2]))
        _, matrix = tf.while_loop(lambda i, _: i < tf.reduce_max(steps), step, start)
        return {"y": steps + 0 * matrix[0, 0]}

    signature = serve.get_concrete_function(steps=tf.TensorSpec([None], tf.float32, "steps"))
    return _save(folder, Weights((1,)), {"serving_default": signature}, row_independent=False)


def half_plus_two(folder: Path, key: str = "x") -> Path:
    """A TensorFlow 1 model as TensorFlow Serving's example: signatures on serialised examples, and on the parsed x.

    Args:
        folder: where to write it.
        key: name of the default signature's input.
    """
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        serialised = v1.placeholder(tf.string, name="tf_example")
        features = {"x": tf.io.FixedLenFeature([1], tf.float32, [0.0])}
        x = tf.identity(tf.io.parse_example(serialised, features)["x"], name="x")
        a, b = v1.get_variable("a", initializer=0.5), v1.get_variable("b", initializer=2.0)
        y = tf.add(a * x, b, name="y")
        labels = tf.fill(tf.shape(y), "half")
        session.run(v1.global_variables_initializer())

        def signature(method: str, inputs: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor]) -> Any:
            info = v1.saved_model.build_tensor_info
            return v1.saved_model.build_signature_def(
                {key: info(value) for key, value in inputs.items()},
                {key: info(value) for key, value in outputs.items()},
                f"tensorflow/serving/{method}",
            )

        signatures = {
            "serving_default": signature("predict", {key: x}, {"y": y}),
            "regress_x_to_y": signature("regress", {"inputs": serialised}, {"outputs": y}),
            "regress_x2_to_y3": signature("regress", {"inputs": x}, {"outputs": y}),
            "classify_x_to_y": signature("classify", {"inputs": serialised}, {"scores": y}),
            "classify_labels": signature("classify", {"inputs": serialised}, {"classes": labels, "scores": y}),
            "classify_only_labels": signature("classify", {"inputs": serialised}, {"classes": labels}),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()
    return folder


def counter(folder: Path) -> Path:
    """A TensorFlow 1 model with a reference variable, which TensorFlow 2's loader cannot load.

    Of its other signatures one gives back its input, one has no output, and one has two inputs that are the same.
    """
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        count = v1.get_variable("count", initializer=0.0, use_resource=False)
        delta = v1.placeholder(tf.float32, (), name="delta")
        total = tf.identity(v1.assign_add(count, delta), name="total")
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def
        signatures = {
            "serving_default": signature({"delta": delta}, {"total": total}),
            "echo": signature({"delta": delta}, {"same": delta, "sum": total}),
            "identity": signature({"delta": delta}, {"same": delta}),
            "twice": signature({"a": delta, "b": delta}, {"total": total}),
            "none": v1.saved_model.build_signature_def({"delta": v1.saved_model.build_tensor_info(delta)}, {}, "none"),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()
    return folder


def checked(model: Path, predictions: Path) -> Path:
    """Write the record of a prediction check that passed for a model."""
    rows = {"independent": True, "same_bytes": True}
    write_json(predictions, {"predictions": [], "checks_passed": True, "model_digest": digest(model), "rows": rows})
    return predictions
