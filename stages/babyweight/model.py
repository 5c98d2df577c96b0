"""The wide-and-deep network of birth weight, and its serving function.

Source: Cheng et al., "Wide & Deep Learning for Recommender Systems" (2016). Here both parts are trained together
by one optimiser. A batch costs few and small operations, because the matrices that do not depend on the births are
multiplied first.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from stages.babyweight.params import SignatureNames

_CROSSED = ("mother_age", "gestation_weeks")
_LARGE = 1e9  # stands for infinity at serving: its product with zero would be NaN


class Crossed(keras.layers.Layer):  # type: ignore[misc]
    """A weight for each pair of two one-hot codes float32 [n, a] and [n, b], to [n, 1].

    The same as a linear layer over the code of the pair, float32 [n, a * b].
    """

    def build(self, first_shape: tuple[int, ...], second_shape: tuple[int, ...]) -> None:
        """Make the weights [a, b]."""
        self.kernel = self.add_weight(shape=(first_shape[-1], second_shape[-1]), initializer="zeros", name="kernel")

    def call(self, first: Any, second: Any) -> Any:
        """The weights of the pairs."""
        return ops.sum(ops.matmul(first, self.kernel) * second, axis=1, keepdims=True)


class EmbeddedDense(keras.layers.Layer):  # type: ignore[misc]
    """A dense layer over embeddings of several one-hot codes side by side, float32 [n, sum(sizes)] to [n, units].

    Args:
        units: of the dense layer.
        dim: of each embedding.
        sizes: of the codes.
    """

    def __init__(self, units: int, dim: int, sizes: list[int]) -> None:
        super().__init__()
        self.units, self.dim, self.sizes = units, dim, sizes
        # Each code meets its own embedding's columns alone: side by side, the embeddings are a matrix of blocks.
        self._own = np.repeat(np.eye(len(sizes), dtype=np.float32), sizes, axis=0)[:, :, None]

    def build(self, codes_shape: tuple[int, ...]) -> None:
        """Make the embeddings [sum(sizes), dim] and the dense layer's weights [len(sizes) * dim, units]."""
        self.embeddings = self.add_weight(shape=(codes_shape[-1], self.dim), initializer="uniform", name="embeddings")
        self.kernel = self.add_weight(shape=(len(self.sizes) * self.dim, self.units), name="kernel")

    def call(self, codes: Any) -> Any:
        """The dense layer's outputs, without a bias."""
        embeddings = ops.reshape(ops.expand_dims(self.embeddings, 1) * self._own, [sum(self.sizes), -1])
        return ops.matmul(codes, ops.matmul(embeddings, self.kernel))


def _ranges(config: dict[str, Any]) -> list[tuple[str, list[float]]]:
    """Each code's feature, and where its values begin and the last one ends: categories by name, then buckets."""
    categories = sorted(config["spellings"].items())
    return [
        *((name, list(range(max(words.values()) + 2))) for name, words in categories),
        *((name, [-np.inf, *config["buckets"][name], np.inf]) for name in _CROSSED),
    ]


def build(config: dict[str, Any]) -> keras.Model:
    """The network: features float32 [n, 8], categories as codes, to weights float32 [n] in pounds.

    Wide: categories, buckets of age and of weeks, and these two crossed, as one-hot codes into a linear
    layer. Deep: numbers and embeddings through hidden layers. The weight is the sum of both.

    Args:
        config: `features` (the columns in order), `numbers` (for each: `low` and `high` to clip to, `mean` and
            `deviation` to standardise by), `spellings` (for each category: code by word), `buckets`
            (boundaries), `hidden_units`, `embedding_dim`, `mean_weight` (where the output starts).
    """
    names: list[str] = config["features"]
    column = np.eye(len(names), dtype=np.float32)  # a product with it picks columns, faster than a gather
    features = keras.Input([len(names)])

    numbers = sorted(config["numbers"])
    low, high, mean, deviation = (
        np.array([config["numbers"][name][key] for name in numbers], np.float32)
        for key in ("low", "high", "mean", "deviation")
    )
    shares = ops.matmul(features, column[:, [names.index(name) for name in numbers]] / (high - low))
    shares = ops.clip(ops.add(shares, -low / (high - low)), 0, 1)
    scaled = ops.add(ops.matmul(shares, np.diag((high - low) / deviation)), (low - mean) / deviation)

    ranges = _ranges(config)
    sizes = [len(edges) - 1 for _, edges in ranges]
    begins, ends = (np.concatenate([edges[part] for _, edges in ranges]) for part in (slice(-1), slice(1, None)))
    places = np.repeat([names.index(name) for name, _ in ranges], sizes)
    # How far a whole number is within a range, from either end: at least 1 inside, at most 0 outside. A product with an
    # edge's row in the matrix takes a tenth of a comparison with that row.
    whole = ops.pad(ops.floor(features), [[0, 0], [0, 1]], constant_values=1)
    since = ops.matmul(whole, np.vstack([column[:, places], 1 - begins]).astype(np.float32))
    left = ops.matmul(whole, np.vstack([-column[:, places], ends]).astype(np.float32))
    codes = ops.clip(ops.minimum(since, left), 0, 1)
    age, weeks = codes[:, -sum(sizes[-2:]) : -sizes[-1]], codes[:, -sizes[-1] :]

    start = keras.initializers.Constant(config["mean_weight"])
    wide = keras.layers.Dense(1, kernel_initializer="zeros", bias_initializer=start, name="wide")(codes)
    wide += Crossed(name="crossed")(age, weeks)

    first, *others = config["hidden_units"]
    hidden = keras.layers.Dense(first)(scaled) + EmbeddedDense(first, config["embedding_dim"], sizes)(codes)
    hidden = ops.elu(hidden)
    for units in others:
        hidden = keras.layers.Dense(units, "elu")(hidden)
    deep = keras.layers.Dense(1, use_bias=False, name="deep")(hidden)
    return keras.Model(features, ops.squeeze(wide + deep, axis=1))


def _codes(words: tf.Tensor, spellings: dict[str, int]) -> tf.Tensor:
    """Codes float32 [n] of words string [n]; 0 for a word that is not known."""
    known = tf.equal(tf.expand_dims(words, 1), tf.constant([list(spellings)]))
    return tf.linalg.matvec(tf.cast(known, tf.float32), tf.constant(list(spellings.values()), tf.float32))


def serve(model: keras.Model, config: dict[str, Any], names: SignatureNames) -> Any:
    """The serving function: each feature [n], categories as words, to pounds float32 [n]."""
    columns: list[str] = config["features"]

    def predict(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        features = [
            _codes(value, config["spellings"][name])
            if name in config["spellings"]
            else tf.clip_by_value(value, -_LARGE, _LARGE)
            for name, value in zip(columns, values, strict=True)
        ]
        return {names.output_name: model(tf.stack(features, axis=1), training=False)}

    dtypes = [tf.string if name in config["spellings"] else tf.float32 for name in columns]
    specs = [tf.TensorSpec([None], dtype, name) for name, dtype in zip(columns, dtypes, strict=True)]
    return tf.function(predict).get_concrete_function(*specs)
