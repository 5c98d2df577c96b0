"""The wide-and-deep network of birth weight, and its serving function.

Source: Cheng et al., "Wide & Deep Learning for Recommender Systems" (2016). Here one optimizer trains both parts.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from stages.babyweight.params import SignatureNames

_CROSSED = ("mother_age", "gestation_weeks")
_LARGE = 1e9  # replaces infinity at serving, whose product with zero would be NaN


def build(config: dict[str, Any]) -> keras.Model:
    """Build the network: features float32 [n, 8], with categories as codes, to weights float32 [n] in pounds.

    Wide: a linear layer over the one-hot codes of categories, of buckets of age and weeks, and of these two crossed.
    Deep: numbers and embeddings through hidden layers. The weight is the sum of both.

    Args:
        config: `features` (the columns in order), `numbers` (for each: `low` and `high` to clip to, `mean` and
            `deviation` to standardise by), `spellings` (for each category: code by word), `buckets`
            (boundaries), `hidden_units`, `embedding_dim`, `mean_weight` (the initial output).
    """
    features = keras.Input([len(config["features"])])
    numbers = _standardized(features, config)
    codes, sizes = _one_hot(features, config)
    age, weeks = codes[:, -sum(sizes[-2:]) : -sizes[-1]], codes[:, -sizes[-1] :]

    start = keras.initializers.Constant(config["mean_weight"])
    wide = keras.layers.Dense(1, kernel_initializer="zeros", bias_initializer=start, name="wide")(codes)
    # A linear layer over the one-hot code of the pair of age and weeks, without making that code.
    crossed = keras.layers.Dense(sizes[-1], use_bias=False, kernel_initializer="zeros", name="crossed")(age)
    wide += ops.sum(crossed * weeks, axis=1, keepdims=True)

    first, *others = config["hidden_units"]
    hidden = keras.layers.Dense(first)(numbers) + EmbeddedDense(first, config["embedding_dim"], sizes)(codes)
    hidden = ops.elu(hidden)
    for units in others:
        hidden = keras.layers.Dense(units, "elu")(hidden)
    deep = keras.layers.Dense(1, use_bias=False, name="deep")(hidden)
    return keras.Model(features, ops.squeeze(wide + deep, axis=1))


def serving_function(model: keras.Model, config: dict[str, Any], names: SignatureNames) -> Any:
    """Build the serving function: each feature [n], categories as words, to pounds float32 [n]."""
    columns, spellings = config["features"], config["spellings"]

    def predict(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        features = [
            _code(value, spellings[name]) if name in spellings else tf.clip_by_value(value, -_LARGE, _LARGE)
            for name, value in zip(columns, values, strict=True)
        ]
        return {names.output_name: model(tf.stack(features, axis=1), training=False)}

    specs = [tf.TensorSpec([None], tf.string if name in spellings else tf.float32, name) for name in columns]
    return tf.function(predict).get_concrete_function(*specs)


# What follows takes few and small operations, for speed: products with constant matrices in place of look-ups and
# comparisons, and matrices that do not depend on the births multiplied first.


def _columns(config: dict[str, Any]) -> Any:
    """The identity over the features, float32 [8, 8]: multiplying by its columns is faster than a gather."""
    return np.eye(len(config["features"]), dtype=np.float32)


def _standardized(features: Any, config: dict[str, Any]) -> Any:
    """The numbers by name, clipped and standardised, float32 [n, numbers]."""
    names: list[str] = config["features"]
    numbers = sorted(config["numbers"])
    low, high, mean, deviation = (
        np.array([config["numbers"][name][key] for name in numbers], np.float32)
        for key in ("low", "high", "mean", "deviation")
    )
    scaled = ops.matmul(features, _columns(config)[:, [names.index(name) for name in numbers]] / (high - low))
    scaled = ops.clip(ops.add(scaled, -low / (high - low)), 0, 1)
    return ops.add(ops.matmul(scaled, np.diag((high - low) / deviation)), (low - mean) / deviation)


def _one_hot(features: Any, config: dict[str, Any]) -> tuple[Any, list[int]]:
    """One-hot codes of categories by name, then of buckets, concatenated: float32 [n, sum(sizes)]; and their sizes."""
    names: list[str] = config["features"]
    column, ranges = _columns(config), _ranges(config)
    sizes = [len(edges) - 1 for _, edges in ranges]
    begins, ends = (np.concatenate([edges[s] for _, edges in ranges]) for s in (slice(-1), slice(1, None)))
    places = np.repeat([names.index(name) for name, _ in ranges], sizes)
    # The distance of a whole number from either end of a range: at least 1 inside, at most 0 outside. Such a product
    # takes a tenth of the time of comparisons.
    whole = ops.pad(ops.floor(features), [[0, 0], [0, 1]], constant_values=1)
    since = ops.matmul(whole, np.vstack([column[:, places], 1 - begins]).astype(np.float32))
    left = ops.matmul(whole, np.vstack([-column[:, places], ends]).astype(np.float32))
    return ops.clip(ops.minimum(since, left), 0, 1), sizes


def _ranges(config: dict[str, Any]) -> list[tuple[str, list[float]]]:
    """Each code's feature and the boundaries of its values: categories by name, then buckets."""
    categories = sorted(config["spellings"].items())
    return [
        *((name, list(range(max(words.values()) + 2))) for name, words in categories),
        *((name, [-np.inf, *config["buckets"][name], np.inf]) for name in _CROSSED),
    ]


class EmbeddedDense(keras.layers.Layer):  # type: ignore[misc]
    """A dense layer over the embeddings of several concatenated one-hot codes, float32 [n, sum(sizes)] to [n, units].

    Args:
        units: units of the dense layer.
        dim: dimension of each embedding.
        sizes: size of each code.
    """

    def __init__(self, units: int, dim: int, sizes: list[int]) -> None:
        super().__init__()
        self.units, self.dim, self.sizes = units, dim, sizes
        # Each code selects from its own embedding only, so all embeddings together are a block matrix.
        self._blocks = np.repeat(np.eye(len(sizes), dtype=np.float32), sizes, axis=0)[:, :, None]

    def build(self, codes_shape: tuple[int, ...]) -> None:
        """Create the embeddings [sum(sizes), dim] and the dense layer's weights [len(sizes) * dim, units]."""
        self.embeddings = self.add_weight(shape=(codes_shape[-1], self.dim), initializer="uniform", name="embeddings")
        self.kernel = self.add_weight(shape=(len(self.sizes) * self.dim, self.units), name="kernel")

    def call(self, codes: Any) -> Any:
        """Compute the dense layer's outputs, without a bias."""
        embeddings = ops.reshape(ops.expand_dims(self.embeddings, 1) * self._blocks, [sum(self.sizes), -1])
        return ops.matmul(codes, ops.matmul(embeddings, self.kernel))


def _code(words: tf.Tensor, spellings: dict[str, int]) -> tf.Tensor:
    """Codes float32 [n] of words string [n]; 0 for an unknown word."""
    known = tf.equal(tf.expand_dims(words, 1), tf.constant([list(spellings)]))
    return tf.linalg.matvec(tf.cast(known, tf.float32), tf.constant(list(spellings.values()), tf.float32))
