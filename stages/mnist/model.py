"""The digits' networks, and their serving function."""

from typing import Any

import keras
import tensorflow as tf

from stages.shared.params import MnistExport

PIXELS = 28 * 28


def _strided(dropout: float) -> list[keras.Layer]:
    """Three small convolutions, 55,000 parameters; the first one's stride makes it fast."""

    def convolution(filters: int, size: int, stride: int) -> list[keras.Layer]:
        return [
            keras.layers.Conv2D(filters, size, stride, "same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
        ]

    return [
        *convolution(16, 5, 2),
        *convolution(32, 3, 1),
        keras.layers.MaxPooling2D(2),
        *convolution(64, 3, 1),
        keras.layers.Flatten(),
        keras.layers.Dropout(dropout),
        keras.layers.Dense(10),
    ]


def _original(dropout: float) -> list[keras.Layer]:
    """The network of TensorFlow's "Deep MNIST for Experts" tutorial (2016), 3.3 million parameters."""
    return [
        keras.layers.Conv2D(32, 5, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Conv2D(64, 5, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(1024, activation="relu"),
        keras.layers.Dropout(dropout),
        keras.layers.Dense(10),
    ]


def build(config: dict[str, Any]) -> keras.Model:
    """The network: pixels float32 [n, 784] of 0 to 1 to logits float32 [n, 10].

    Args:
        config: `network`, `strided` or `original`, and `dropout`.
    """
    networks = {"strided": _strided, "original": _original}
    layers = networks[config["network"]](config["dropout"])
    return keras.Sequential([keras.Input([PIXELS]), keras.layers.Reshape([28, 28, 1]), *layers])


def serve(model: keras.Model, config: dict[str, Any], names: MnistExport) -> Any:
    """The serving function: pixels to `classes` int64 [n] and `probabilities` float32 [n, 10]."""

    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(model(pixels, training=False))
        return {"classes": tf.argmax(probabilities, axis=1), "probabilities": probabilities}

    spec = tf.TensorSpec([None, PIXELS], tf.float32, names.input_name)
    return tf.function(predict).get_concrete_function(spec)
