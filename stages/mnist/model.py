"""The digits' networks and their serving function."""

from typing import Any

import keras
import tensorflow as tf

from stages.mnist.params import SignatureNames

PIXELS = 28 * 28


def build(config: dict[str, Any]) -> keras.Model:
    """Build the network: pixels float32 [n, 784] of 0 to 1 to logits float32 [n, classes].

    Args:
        config: `kind`, `strided` or `original`, `classes` and `dropout`.
    """
    layers = {"strided": _strided, "original": _original}[config["kind"]]()
    outputs = [keras.layers.Dropout(config["dropout"]), keras.layers.Dense(config["classes"])]
    return keras.Sequential([keras.Input([PIXELS]), keras.layers.Reshape([28, 28, 1]), *layers, *outputs])


def _strided() -> list[keras.Layer]:
    """Three small convolutions, 55,000 parameters in all; the first one's stride and early pooling make it fast."""

    def normalized(*layers: keras.Layer) -> list[keras.Layer]:
        return [*layers, keras.layers.BatchNormalization(momentum=0.9), keras.layers.ReLU()]

    return [
        *normalized(keras.layers.Conv2D(24, 5, strides=2, use_bias=False)),
        *normalized(keras.layers.Conv2D(48, 3, use_bias=False), keras.layers.MaxPooling2D(2)),
        *normalized(keras.layers.Conv2D(64, 3, padding="same", use_bias=False)),
        keras.layers.Flatten(),
    ]


def _original() -> list[keras.Layer]:
    """The network of TensorFlow's "Deep MNIST for Experts" tutorial (2016), 3.3 million parameters in all."""
    return [
        keras.layers.Conv2D(32, 5, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Conv2D(64, 5, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(1024, activation="relu"),
    ]


def serving_function(model: keras.Model, config: dict[str, Any], names: SignatureNames) -> Any:
    """Build the serving function: pixels to `classes` int64 [n] and `probabilities` float32 [n, classes]."""

    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(model(pixels, training=False))
        return {"classes": tf.argmax(probabilities, axis=1), "probabilities": probabilities}

    spec = tf.TensorSpec([None, PIXELS], tf.float32, names.input_name)
    return tf.function(predict).get_concrete_function(spec)
