"""The wide-and-deep network of birth weight, and its serving function.

Source: Cheng et al., "Wide & Deep Learning for Recommender Systems" (2016). Here both parts are trained together
by one optimiser, and an embedding is a dense layer over a one-hot code.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from stages.shared.params import BabyweightExport

_CROSSED = ("mother_age", "gestation_weeks")


def _bucket(values: Any, boundaries: list[int]) -> Any:
    """The number of boundaries int32 [n] that a value [n] has reached."""
    reached = ops.expand_dims(values, 1) >= ops.convert_to_tensor([boundaries], "float32")
    return ops.sum(ops.cast(reached, "int32"), axis=1)


def build(config: dict[str, Any]) -> keras.Model:
    """The network: features float32 [n, 8], categories as codes, to weights float32 [n] in pounds.

    Wide: categories, buckets of age and of weeks, and these two crossed, as one-hot codes into a linear
    layer. Deep: numbers and embeddings through hidden layers. The weight is the sum of both.

    Args:
        config: `features` (the columns in order), `numbers` (for each: `low` and `high` to clip to, `mean` and
            `deviation` to standardise by), `spellings` (for each category: code by word), `buckets`
            (boundaries), `hidden_units`, `embedding_dim`, `mean_weight` (where the output starts).
    """
    features = keras.Input([len(config["features"])])
    column = {name: features[:, i] for i, name in enumerate(config["features"])}
    scaled = [
        (ops.clip(column[name], of["low"], of["high"]) - of["mean"]) / of["deviation"]
        for name, of in sorted(config["numbers"].items())
    ]
    codes = [
        ops.one_hot(ops.cast(column[name], "int32"), 1 + max(words.values()))
        for name, words in sorted(config["spellings"].items())
    ]
    buckets = [_bucket(column[name], config["buckets"][name]) for name in _CROSSED]
    sizes = [len(config["buckets"][name]) + 1 for name in _CROSSED]
    age, weeks = map(ops.one_hot, buckets, sizes)
    crossed = ops.one_hot(buckets[0] * sizes[1] + buckets[1], sizes[0] * sizes[1])
    start = keras.initializers.Constant(config["mean_weight"])
    one_hot = keras.layers.Concatenate()([*codes, age, weeks, crossed])
    wide = keras.layers.Dense(1, kernel_initializer="zeros", bias_initializer=start, name="wide")(one_hot)

    embeddings = [keras.layers.Dense(config["embedding_dim"], use_bias=False)(x) for x in (*codes, age, weeks)]
    hidden = keras.layers.Concatenate()([ops.stack(scaled, axis=1), *embeddings])
    for units in config["hidden_units"]:
        hidden = keras.layers.Dense(units, "relu")(hidden)
    deep = keras.layers.Dense(1, use_bias=False, name="deep")(hidden)
    return keras.Model(features, ops.squeeze(wide + deep, axis=1))


def _codes(words: tf.Tensor, spellings: dict[str, int]) -> tf.Tensor:
    """Codes float32 [n] of words string [n]; 0 for a word that is not known."""
    known = tf.equal(tf.expand_dims(words, 1), tf.constant([list(spellings)]))
    return tf.linalg.matvec(tf.cast(known, tf.float32), tf.constant(list(spellings.values()), tf.float32))


def serve(model: keras.Model, config: dict[str, Any], names: BabyweightExport) -> Any:
    """The serving function: each feature [n], categories as words, to pounds float32 [n]."""
    columns: list[str] = config["features"]

    def predict(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        features = [
            _codes(value, config["spellings"][name]) if name in config["spellings"] else value
            for name, value in zip(columns, values, strict=True)
        ]
        return {names.output_name: model(tf.stack(features, axis=1), training=False)}

    dtypes = [tf.string if name in config["spellings"] else tf.float32 for name in columns]
    specs = [tf.TensorSpec([None], dtype, name) for name, dtype in zip(columns, dtypes, strict=True)]
    return tf.function(predict).get_concrete_function(*specs)
