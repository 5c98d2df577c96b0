"""The digits' networks, and their serving function."""

from typing import Any

import keras
import tensorflow as tf

from stages.mnist.params import SignatureNames
from stages.supervised import micro_batches

PIXELS = 28 * 28


@tf.custom_gradient  # type: ignore[untyped-decorator]
def normalised(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: tf.Tensor
) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], Any]:
    """Inputs [n, height, width, channels] of mean `beta` and deviation `gamma` a channel; their own mean and variance.

    In few passes, and sums by matrix products: on CPUs without AVX-512 TensorFlow's fused operation takes five times
    as long. Mean and variance have no gradient.

    Source: Ioffe and Szegedy, "Batch Normalization" (2015), with its gradient.
    """
    shape = tf.shape(inputs)
    rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
    count, ones = tf.cast(tf.shape(rows)[0], tf.float32), tf.ones([1, tf.shape(rows)[0]])
    mean = tf.matmul(ones, rows)[0] / count
    centred = rows - mean
    variance = tf.matmul(ones, tf.square(centred))[0] / count
    # Not `rsqrt`, and not `1 / deviation`, which Grappler turns into `Reciprocal`: both start from an approximation
    # that each processor chooses. Square root and division are rounded alike on all.
    deviation = tf.sqrt(variance + epsilon)
    scale = gamma / deviation

    def gradient(outputs: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        outputs = tf.reshape(outputs, [-1, inputs.shape[-1]])
        of_beta = tf.matmul(ones, outputs)[0]
        slant = tf.matmul(ones, outputs * centred)[0]
        of_rows = outputs * scale - centred * (scale * slant / (variance + epsilon) / count)
        return tf.reshape(tf.nn.bias_add(of_rows, -scale * of_beta / count), shape), slant / deviation, of_beta, None

    return (tf.reshape(tf.nn.bias_add(centred * scale, beta), shape), mean, variance), gradient


class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Normalises a part of a batch by itself; where that takes the running statistics is for the trainer to average.

    Attributes:
        moved: each running statistic, and what the last call while training would make of it.
    """

    moved: tuple[tuple[tf.Variable, tf.Tensor], ...] = ()

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Inputs of mean 0 and deviation 1, scaled and shifted."""
        if not training:  # as Keras' own layer, without its `rsqrt`
            scale = self.gamma.value / tf.sqrt(self.moving_variance.value + self.epsilon)
            return inputs * scale + (self.beta.value - self.moving_mean.value * scale)
        outputs, *found = normalised(inputs, self.gamma.value, self.beta.value, self.epsilon)
        running = (self.moving_mean.value, self.moving_variance.value)
        self.moved = tuple(
            (variable, variable * self.momentum + value * (1 - self.momentum))
            for variable, value in zip(running, found, strict=True)
        )
        return outputs


class Dropout(keras.layers.Dropout):  # type: ignore[misc]
    """Draws for the whole batch at its first part here, for the others to take theirs."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Inputs, some of them zero and the others larger while training."""
        if not training or not self.rate:
            return inputs
        if micro_batches.is_first_part():
            self._factors = super().call(
                tf.ones([micro_batches.parts() * tf.shape(inputs)[0], *inputs.shape[1:]]), True
            )
        return inputs * micro_batches.share(self._factors)


def _strided(classes: int, dropout: float) -> list[keras.Layer]:
    """Three small convolutions, 55,000 parameters; the first one's stride makes it fast."""

    def convolution(filters: int, size: int, stride: int) -> list[keras.Layer]:
        return [
            keras.layers.Conv2D(filters, size, stride, "same", use_bias=False),
            BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
        ]

    return [
        *convolution(16, 5, 2),
        *convolution(32, 3, 1),
        keras.layers.MaxPooling2D(2),
        *convolution(64, 3, 1),
        keras.layers.Flatten(),
        Dropout(dropout),
        keras.layers.Dense(classes),
    ]


def _original(classes: int, dropout: float) -> list[keras.Layer]:
    """The network of TensorFlow's "Deep MNIST for Experts" tutorial (2016), 3.3 million parameters."""
    return [
        keras.layers.Conv2D(32, 5, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Conv2D(64, 5, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(1024, activation="relu"),
        Dropout(dropout),
        keras.layers.Dense(classes),
    ]


def build(config: dict[str, Any]) -> keras.Model:
    """The network: pixels float32 [n, 784] of 0 to 1 to logits float32 [n, classes].

    Args:
        config: `kind`, `strided` or `original`, `classes` and `dropout`.
    """
    networks = {"strided": _strided, "original": _original}
    layers = networks[config["kind"]](config["classes"], config["dropout"])
    return keras.Sequential([keras.Input([PIXELS]), keras.layers.Reshape([28, 28, 1]), *layers])


def serve(model: keras.Model, config: dict[str, Any], names: SignatureNames) -> Any:
    """The serving function: pixels to `classes` int64 [n] and `probabilities` float32 [n, classes]."""

    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(model(pixels, training=False))
        return {"classes": tf.argmax(probabilities, axis=1), "probabilities": probabilities}

    spec = tf.TensorSpec([None, PIXELS], tf.float32, names.input_name)
    return tf.function(predict).get_concrete_function(spec)
