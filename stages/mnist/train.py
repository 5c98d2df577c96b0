"""Train the digits' network on distorted images; write its weights and learning curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.core.errors import InputError, run
from stages.core.params import OperationParams, TrainParams
from stages.mnist.model import build
from stages.mnist.params import Augment, Operation, Train
from stages.supervised.sequential import dropout_factors, predict_outputs, train_outputs
from stages.supervised.stage import train_and_write
from stages.supervised.trainer import SupervisedTask


def distort(images: tf.Tensor, augment: Augment, draws: tf.Tensor) -> tf.Tensor:
    """Rotate, shear, scale and shift each image.

    Args:
        images: float32 [n, 28, 28, 1].
        augment: the largest amounts.
        draws: float32 [n, 6] from -1 to 1, by which the amounts are multiplied.

    Returns:
        float32 [n, 28, 28, 1], bilinear, black outside.
    """
    rotation, shear, scale, shift = np.radians(augment.rotation), augment.shear, augment.scale, augment.shift
    largest = tf.constant([rotation, shear, scale, scale, shift, shift], tf.float32)
    angle, shear, wider, higher, right, down = tf.unstack(largest * draws, axis=1)
    cos, sin = tf.cos(angle), tf.sin(angle)
    # Where each pixel of the result comes from: a linear map about the center, then a shift.
    a, b = cos / (1 + wider), (shear * cos - sin) / (1 + wider)
    c, d = sin / (1 + higher), (shear * sin + cos) / (1 + higher)
    center = (images.shape[1] - 1) / 2
    x0, y0 = center - a * center - b * center + right, center - c * center - d * center + down
    zero = tf.zeros_like(a)
    return keras.ops.image.affine_transform(images, tf.stack([a, b, x0, c, d, y0, zero, zero], axis=1))


def cross_entropies(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross entropies float32 [n] in nats of labels uint8 [n] and logits float32 [n, classes]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(labels, tf.int64), logits)


class DigitTask(SupervisedTask):
    """Classify the digits of a prepared folder."""

    def __init__(self, data: Path, params: TrainParams[Train]) -> None:
        self.config = params.train.network.model_dump()
        self.model = build(self.config)
        self.augment, self.hardest_of, self.seed = params.train.augment, params.train.hardest_of, params.seed
        self.images = np.load(data / "train/images.npy", mmap_mode="r")
        self.labels = np.load(data / "train/labels.npy")
        self.num_examples = len(self.labels)
        self.validation_pixels = tf.constant(np.load(data / "validation/images.npy"))
        self.validation_labels = np.load(data / "validation/labels.npy")
        classes, largest = self.config["classes"], int(max(self.labels.max(), self.validation_labels.max()))
        if largest >= classes:
            raise InputError(f"mnist.train.network.classes: {classes}: expected more than the label {largest}")
        self._logits = tf.function(lambda pixels: predict_outputs(self.model, tf.cast(pixels, tf.float32) / 255))

    def examples(self, indices: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
        """Read pixels uint8 [n, batch, 784] and labels uint8 [n, batch]."""
        return self.images[indices], self.labels[indices]

    def draw(self, step: tf.Tensor, batch_size: int) -> list[tf.Tensor]:
        """Draw what `distort` takes for a batch, and the factors of dropout."""
        seed = tf.stack([self.seed, step])
        distortions = tf.random.stateless_uniform([batch_size, 6], seed, -1.0, 1.0)
        return [distortions, *dropout_factors(self.model, batch_size, seed)]

    def loss(self, batch: Sequence[tf.Tensor]) -> tf.Tensor:
        """Cross entropies float32 [m] in nats of the hardest images, one in `hardest_of`: the others teach little.

        Source: Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining" (2016).
        """
        pixels, labels, distortions, *factors = batch
        images = tf.reshape(tf.cast(pixels, tf.float32) / 255, [-1, 28, 28, 1])
        distorted = tf.reshape(distort(images, self.augment, distortions), [-1, pixels.shape[1]])
        if self.hardest_of > 1:
            losses = cross_entropies(labels, predict_outputs(self.model, distorted))
            hardest = tf.math.top_k(losses, -(-tf.shape(losses)[0] // self.hardest_of)).indices
            distorted, labels, *factors = (tf.gather(rows, hardest) for rows in (distorted, labels, *factors))
        return cross_entropies(labels, train_outputs(self.model, distorted, factors))

    def evaluate(self) -> dict[str, float]:
        """Accuracy and mean cross entropy on the validation images."""
        logits = self._logits(self.validation_pixels)
        losses = cross_entropies(self.validation_labels, logits)
        correct = np.argmax(logits, axis=1) == self.validation_labels
        return {"validation_loss": float(tf.reduce_mean(losses)), "validation_accuracy": float(correct.mean())}


def main() -> None:
    """Train, and write weights, metrics and curve."""
    train_and_write("mnist", __doc__, TrainParams[Train], OperationParams[Operation], DigitTask)


if __name__ == "__main__":
    run(main)
