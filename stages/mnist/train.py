"""Train the digits' network on distorted images; write its weights and learning curve."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages import runtime
from stages.core.errors import InputError, run
from stages.mnist.model import BatchNormalization, build
from stages.mnist.params import Augment, TrainParams
from stages.supervised import micro_batches
from stages.supervised.cluster import machines
from stages.supervised.trainer import train_and_write
from stages.weights import add_outputs


def distort(images: tf.Tensor, augment: Augment, seed: tf.Tensor) -> tf.Tensor:
    """Rotate, scale, shear and shift each image by amounts drawn from `seed`.

    Args:
        images: float32 [n, 28, 28, 1], of a batch or the present part of it.
        augment: the largest amounts.
        seed: int64 [2].

    Returns:
        float32 [n, 28, 28, 1], bilinear, black outside.
    """
    most = tf.constant(
        [
            np.radians(augment.rotation),
            augment.shear,
            augment.scale,
            augment.scale,
            augment.shift,
            augment.shift,
        ],
        tf.float32,
    )
    rows = tf.shape(images)[0] * micro_batches.parts()
    draws = most * micro_batches.share(tf.random.stateless_uniform([rows, 6], seed, -1.0, 1.0))
    angle, shear, wider, higher, right, down = tf.unstack(draws, axis=1)
    cos, sin = tf.cos(angle), tf.sin(angle)
    # Where each pixel of the result comes from: a linear map about the centre, then a shift.
    a, b = cos / (1 + wider), (shear * cos - sin) / (1 + wider)
    c, d = sin / (1 + higher), (shear * sin + cos) / (1 + higher)
    centre = (images.shape[1] - 1) / 2
    x0, y0 = centre - a * centre - b * centre + right, centre - c * centre - d * centre + down
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, x0, c, d, y0, zero, zero], axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
    )


class Learner:
    """The network on the digits of a prepared folder.

    Args:
        data: the prepared folder.
        config: what `model.build` takes.
        augment: the training images' distortions.
        seed: of the distortions.
    """

    def __init__(self, data: Path, config: dict[str, Any], augment: Augment, seed: int) -> None:
        self.model = build(config)
        self.augment, self.seed = augment, seed
        self.images = np.load(data / "train/images.npy", mmap_mode="r")
        self.labels = np.load(data / "train/labels.npy")
        self.held_out = (
            tf.constant(np.load(data / "validation/images.npy")),
            np.load(data / "validation/labels.npy"),
        )
        largest = int(max(self.labels.max(), self.held_out[1].max()))
        if largest >= config["classes"]:
            raise InputError(
                f"mnist.train.network.classes: {config['classes']}: expected more than the label {largest}"
            )
        self._logits = tf.function(lambda pixels: self.model(tf.cast(pixels, tf.float32) / 255, training=False))

    def examples(self, indices: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
        """Pixels uint8 [n, batch, 784] and labels uint8 [n, batch]."""
        return self.images[indices], self.labels[indices]

    def loss(self, examples: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """Cross entropies float32 [rows] in nats."""
        pixels, labels = examples
        images = tf.reshape(tf.cast(pixels, tf.float32) / 255, [-1, 28, 28, 1])
        distorted = distort(images, self.augment, tf.stack([self.seed, step]))
        logits = self.model(tf.reshape(distorted, [-1, pixels.shape[1]]), training=True)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(labels, tf.int64), logits)

    def statistics(self) -> Sequence[tuple[tf.Variable, tf.Tensor]]:
        """Batch normalisation's running mean and variance."""
        layers = (layer for layer in self.model.layers if isinstance(layer, BatchNormalization))
        return [pair for layer in layers for pair in layer.moved]

    def evaluate(self) -> dict[str, float]:
        """Accuracy and mean cross entropy on the validation images."""
        pixels, labels = self.held_out
        logits = self._logits(pixels)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels.astype(np.int64), logits)
        hits = np.argmax(logits, axis=1) == labels
        return {"validation_loss": float(tf.reduce_mean(losses)), "validation_accuracy": float(hits.mean())}


def main() -> None:
    """Train, and write weights, metrics and curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="prepared folder to read")
    add_outputs(parser)
    args = parser.parse_args()
    params = TrainParams.read(args.params)

    runtime.configure(params.runtime, params.seed, params.train.micro_batches)
    with machines(params.train.replicas, params.train.worker_timeout) as where:
        learner = Learner(args.data, params.train.network.model_dump(), params.train.augment, params.seed)
        train_and_write("mnist", learner, len(learner.labels), params, params.train.network.model_dump(), args, where)


if __name__ == "__main__":
    run(main)
