"""The network of wines, and its serving function."""

from typing import Any

import keras
import tensorflow as tf

from stages.wines.params import SignatureNames


def build(config: dict[str, Any]) -> keras.Model:
    """Build the network: features float32 [n, features] to logits float32 [n, classes].

    Args:
        config: `features` (their names, in order), `mean` and `variance` of each, `classes`, `hidden_units`.
    """
    inputs = keras.Input([len(config["features"])])
    outputs = keras.layers.Normalization(mean=config["mean"], variance=config["variance"])(inputs)
    for units in config["hidden_units"]:
        outputs = keras.layers.Dense(units, "relu")(outputs)
    return keras.Model(inputs, keras.layers.Dense(config["classes"])(outputs))


def serving_function(model: keras.Model, config: dict[str, Any], names: SignatureNames) -> Any:
    """Build the serving function: each feature float32 [n] to `classes` int64 [n] and probabilities [n, classes]."""

    def predict(*features: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(model(tf.stack(features, axis=1), training=False))
        return {"classes": tf.argmax(probabilities, axis=1), names.output_name: probabilities}

    specs = [tf.TensorSpec([None], tf.float32, name) for name in config["features"]]
    return tf.function(predict).get_concrete_function(*specs)
