"""The digits' networks, and their serving function."""

from typing import Any

import keras
import tensorflow as tf

from stages.shared.params import MnistExport
from stages.shared.runtime import replicas

PIXELS = 28 * 28


class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Statistics of the whole batch, of which a replica has a part.

    Keras' own `synchronized` takes the variance for E[x²] - E[x]², which loses digits.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Inputs of mean 0 and deviation 1, scaled and shifted; while training, one fused operation does it all."""
        if not training or replicas() > 1:
            return super().call(inputs, training=training)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        variance *= (count - 1) / count  # the operation's is the unbiased one
        for moving, value in (self.moving_mean, mean), (self.moving_variance, variance):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return outputs

    def _moments(self, inputs: tf.Tensor, mask: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        context, axes = tf.distribute.get_replica_context(), self._reduction_axes
        count = tf.cast(tf.size(inputs) // inputs.shape[-1] * replicas(), tf.float32)
        mean = context.all_reduce("SUM", tf.reduce_sum(inputs, axes)) / count
        # By the mean, the sum of squares has no slope, as `tf.nn.moments` knows, too.
        squares = tf.math.squared_difference(inputs, tf.stop_gradient(mean))
        return mean, context.all_reduce("SUM", tf.reduce_sum(squares, axes)) / count


class Dropout(keras.layers.Dropout):  # type: ignore[misc]
    """Draws for the whole batch, of which a replica has a part."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Inputs, some of them zero and the others larger while training."""
        if not training or replicas() == 1:
            return super().call(inputs, training)
        rows, place = tf.shape(inputs)[0], tf.distribute.get_replica_context().replica_id_in_sync_group
        whole = tf.ones([replicas() * rows, *inputs.shape[1:]])
        return inputs * super().call(whole, training)[place * rows : (place + 1) * rows]


def _strided(dropout: float) -> list[keras.Layer]:
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
        Dropout(dropout),
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
