"""The digits' networks, their training mode and their serving function."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from stages.mnist.params import SignatureNames

PIXELS = 28 * 28


@tf.custom_gradient  # type: ignore[untyped-decorator]
def normalize(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: tf.Tensor
) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], Any]:
    """Normalize inputs [n, height, width, channels] to mean `beta` and standard deviation `gamma` per channel.

    Takes few passes over the data and sums by matrix products: on CPUs without AVX-512 TensorFlow's fused operation
    takes five times as long.

    Source: Ioffe and Szegedy, "Batch Normalization" (2015), with its gradient.

    Returns:
        The outputs, and the inputs' mean and variance per channel; these two have no gradient.
    """
    shape = tf.shape(inputs)
    rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
    count, ones = tf.cast(tf.shape(rows)[0], tf.float32), tf.ones([1, tf.shape(rows)[0]])
    mean = tf.matmul(ones, rows)[0] / count
    centered = rows - mean
    variance = tf.matmul(ones, tf.square(centered))[0] / count
    # Not `rsqrt`, and not `1 / deviation`, which Grappler turns into `Reciprocal`: both start from an approximation
    # that each processor chooses. Square root and division round the same on all.
    deviation = tf.sqrt(variance + epsilon)
    scale = gamma / deviation

    def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        upstream = tf.reshape(upstream, [-1, inputs.shape[-1]])
        beta_gradient = tf.matmul(ones, upstream)[0]
        projection = tf.matmul(ones, upstream * centered)[0]
        rows_gradient = upstream * scale - centered * (scale * projection / (variance + epsilon) / count)
        inputs_gradient = tf.reshape(tf.nn.bias_add(rows_gradient, -scale * beta_gradient / count), shape)
        return inputs_gradient, projection / deviation, beta_gradient, None

    return (tf.reshape(tf.nn.bias_add(centered * scale, beta), shape), mean, variance), gradient


class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras' layer without `rsqrt`, and with a training mode that is a pure function."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalize by the moving statistics."""
        scale = self.gamma.value / tf.sqrt(self.moving_variance.value + self.epsilon)
        return inputs * scale + (self.beta.value - self.moving_mean.value * scale)

    def train_outputs(self, inputs: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Normalize by the inputs' own statistics; also return where these move the `moving_statistics`."""
        outputs, *statistics = normalize(inputs, self.gamma.value, self.beta.value, self.epsilon)
        moving = zip(self.moving_statistics, statistics, strict=True)
        return outputs, [variable * self.momentum + value * (1 - self.momentum) for variable, value in moving]

    @property
    def moving_statistics(self) -> list[tf.Variable]:
        """The moving mean and variance."""
        return [self.moving_mean.value, self.moving_variance.value]


def _strided() -> list[keras.Layer]:
    """Three small convolutions, 55,000 parameters in all; the first one's stride and early pooling make it fast."""

    def normalized(*layers: keras.Layer) -> list[keras.Layer]:
        return [*layers, BatchNormalization(momentum=0.9), keras.layers.ReLU()]

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


def build(config: dict[str, Any]) -> keras.Model:
    """Build the network: pixels float32 [n, 784] of 0 to 1 to logits float32 [n, classes].

    Args:
        config: `kind`, `strided` or `original`, `classes` and `dropout`.
    """
    layers = {"strided": _strided, "original": _original}[config["kind"]]()
    outputs = [keras.layers.Dropout(config["dropout"]), keras.layers.Dense(config["classes"])]
    return keras.Sequential([keras.Input([PIXELS]), keras.layers.Reshape([28, 28, 1]), *layers, *outputs])


def dropout_factors(model: keras.Model, rows: int, seed: tf.Tensor) -> list[tf.Tensor]:
    """Draw from a seed int64 [2] what each dropout layer multiplies its inputs [rows, …] by: 0, or 1 / (1 - rate)."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout) and layer.rate]
    factors = []
    for number, layer in enumerate(layers, 1):
        draw = tf.random.stateless_uniform([rows, *layer.input.shape[1:]], tf.random.fold_in(seed, number))
        factors.append(tf.cast(draw >= layer.rate, tf.float32) / (1 - layer.rate))
    return factors


def train_outputs(
    model: keras.Model, pixels: tf.Tensor, factors: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The network in training mode: a pure function of its weights and inputs.

    Args:
        model: the network.
        pixels: float32 [n, 784] of 0 to 1, normalized by their own statistics.
        factors: rows [n, …] of what `dropout_factors` returned.

    Returns:
        Logits float32 [n, classes], and the values to which these images would move the weights that are not trained.
    """
    outputs, remaining, moved = pixels, iter(factors), []
    for layer in model.layers:
        if isinstance(layer, BatchNormalization):
            outputs, statistics = layer.train_outputs(outputs)
            moved += statistics
        elif isinstance(layer, keras.layers.Dropout):
            outputs = outputs * next(remaining) if layer.rate else outputs
        else:
            outputs = layer(outputs)
    return outputs, moved


def serving_function(model: keras.Model, config: dict[str, Any], names: SignatureNames) -> Any:
    """Build the serving function: pixels to `classes` int64 [n] and `probabilities` float32 [n, classes]."""

    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(model(pixels, training=False))
        return {"classes": tf.argmax(probabilities, axis=1), "probabilities": probabilities}

    spec = tf.TensorSpec([None, PIXELS], tf.float32, names.input_name)
    return tf.function(predict).get_concrete_function(spec)
