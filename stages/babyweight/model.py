"""The wide-and-deep regressor of birth weight, and its serving function.

Source: Cheng et al., "Wide & Deep Learning for Recommender Systems" (2016). The wide part is linear in one-hot
categories, buckets and the buckets' cross; the deep part is a network on numbers and embedded categories.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from stages.shared.params import BabyweightExport

MOST = 255
"""The largest code of a number."""


def _buckets(codes: Any, boundaries: list[int]) -> Any:
    """Index [n] of each number's bucket: how many boundaries it has reached."""
    return ops.sum(ops.cast(codes[:, None] >= np.array(boundaries, np.int32), "int32"), axis=1)


def build(config: dict[str, Any]) -> keras.Model:
    """The network: codes int32 [n, features] to pounds float32 [n].

    Args:
        config: `features`, `numbers` and `vocabularies` as in the data's schema; `buckets`, boundaries by number;
            `hidden_units` and `embedding_dim`; `center` and `scale`, the mean and deviation of the weights and
            of each number.
    """
    codes = keras.Input([len(config["features"])], dtype="int32", name="codes")
    columns = {name: codes[:, i] for i, name in enumerate(config["features"])}
    words = {name: len(config["vocabularies"][name]) for name in config["features"] if name in config["vocabularies"]}

    buckets = {name: _buckets(columns[name], bounds) for name, bounds in config["buckets"].items()}
    sizes = {name: len(bounds) + 1 for name, bounds in config["buckets"].items()}
    cross, cross_size = ops.zeros_like(codes[:, 0]), 1
    for name, bucket in buckets.items():
        cross, cross_size = cross * sizes[name] + bucket, cross_size * sizes[name]
    # A weight for each value of each one-hot feature: together one table, in which every feature has its rows.
    places = [*(columns[name] for name in words), *buckets.values(), cross]
    counts = [*words.values(), *sizes.values(), cross_size]
    first = np.cumsum([0, *counts[:-1]]).astype(np.int32)
    wide = layers.Embedding(sum(counts), 1, embeddings_initializer="zeros", name="wide")(ops.stack(places, 1) + first)

    numbers = [
        ops.expand_dims((ops.cast(columns[name], "float32") - config["center"][name]) / config["scale"][name], 1)
        for name in config["numbers"]
    ]
    size = config["embedding_dim"]
    deep = ops.concatenate([*numbers, *(layers.Embedding(n, size, name=k)(columns[k]) for k, n in words.items())], 1)
    for units in config["hidden_units"]:
        deep = layers.Dense(units, activation="relu")(deep)
    deep = layers.Dense(1, name="deep")(deep)[:, 0]
    pounds = config["center"]["weight_pounds"] + config["scale"]["weight_pounds"] * (ops.sum(wide, (1, 2)) + deep)
    return keras.Model(codes, pounds)


def _word_codes(words: tf.Tensor, spellings: dict[str, int]) -> tf.Tensor:
    """Codes int32 [n] of words [n, 1]: that of the spelling which it equals, 0 if none."""
    hits = tf.cast(tf.equal(words, tf.constant(list(spellings))), tf.int32)
    return tf.reduce_sum(hits * tf.constant(list(spellings.values())), axis=1)


def _number_codes(numbers: tf.Tensor) -> tf.Tensor:
    """Codes int32 [n] of numbers [n, 1]: completed units, 0 to 255."""
    return tf.cast(tf.clip_by_value(tf.floor(numbers[:, 0]), 0, MOST), tf.int32)


def serve(model: keras.Model, config: dict[str, Any], names: BabyweightExport) -> Any:
    """The serving function: a vector for each feature, words or numbers, to pounds."""

    def predict(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        columns = {name: tf.expand_dims(values, 1) for name, values in inputs.items()}
        codes = [
            _word_codes(columns[name], config["spellings"][name])
            if name in config["spellings"]
            else _number_codes(columns[name])
            for name in config["features"]
        ]
        return {names.output_name: model(tf.stack(codes, axis=1), training=False)}

    dtypes = {name: tf.string if name in config["spellings"] else tf.float32 for name in config["features"]}
    specs = {name: tf.TensorSpec([None], dtype, name) for name, dtype in dtypes.items()}
    return tf.function(predict).get_concrete_function(**specs)
