"""Both modes of a sequential network, several times as fast as Keras' and of the same bytes on every processor.

A plain Keras model needs none of this: `model(inputs, training=True)` trains it, too. On CPUs without AVX-512,
TensorFlow's fused batch normalisation takes five times as long as this one. It also starts from approximations that
each processor chooses.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def train_outputs(model: keras.Sequential, inputs: tf.Tensor, factors: Sequence[tf.Tensor]) -> tf.Tensor:
    """The network in training mode.

    Args:
        model: the network.
        inputs: float32 [n, …]. Batch normalisation takes their own statistics, and moves its moving ones.
        factors: rows [n, …] of what `dropout_factors` returned.
    """
    outputs, remaining = inputs, iter(factors)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            outputs, mean, variance = normalize(outputs, layer.gamma.value, layer.beta.value, layer.epsilon)
            for moving, value in (layer.moving_mean, mean), (layer.moving_variance, variance):
                moving.assign(moving.value * layer.momentum + value * (1 - layer.momentum))
        elif isinstance(layer, keras.layers.Dropout):
            outputs = outputs * next(remaining) if layer.rate else outputs
        else:
            outputs = layer(outputs)
    return outputs


def predict_outputs(model: keras.Sequential, inputs: tf.Tensor) -> tf.Tensor:
    """The network in inference mode, without `rsqrt`."""
    outputs = inputs
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            scale = layer.gamma.value / tf.sqrt(layer.moving_variance.value + layer.epsilon)
            outputs = outputs * scale + (layer.beta.value - layer.moving_mean.value * scale)
        elif not isinstance(layer, keras.layers.Dropout):
            outputs = layer(outputs)
    return outputs


def dropout_factors(model: keras.Sequential, rows: int, seed: tf.Tensor) -> list[tf.Tensor]:
    """Draw from a seed int64 [2] what each dropout layer multiplies its inputs [rows, …] by: 0, or 1 / (1 - rate)."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout) and layer.rate]
    factors = []
    for number, layer in enumerate(layers, 1):
        draw = tf.random.stateless_uniform([rows, *layer.input.shape[1:]], tf.random.fold_in(seed, number))
        factors.append(tf.cast(draw >= layer.rate, tf.float32) / (1 - layer.rate))
    return factors


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
