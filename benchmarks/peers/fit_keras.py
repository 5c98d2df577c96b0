"""`keras.Model.fit` on the same network, fed by arrays or by `tf.data`: its speed in examples a second.

Digits are distorted as in this project's training; births have no categories hidden, which spares `fit` some work.
"""

import json
from pathlib import Path
from typing import Any

import stages  # noqa: F401 - the same oneDNN kernels

# isort: split
import keras
import tensorflow as tf

from benchmarks.peers.speed import FROM_ALL, Stopwatch, arguments, examples
from stages.babyweight.model import build as build_babyweight
from stages.core.files import read_json
from stages.core.params import TrainParams, load
from stages.mnist.model import build as build_mnist
from stages.mnist.params import Augment, Train
from stages.mnist.train import distort
from stages.supervised.optimizer import learning_rate


class Distort(keras.layers.Layer):  # type: ignore[misc]
    """Distorts images of bytes [n, 784] within the network, for arrays."""

    def __init__(self, augment: Augment) -> None:
        super().__init__()
        self.augment, self.seeds = augment, keras.random.SeedGenerator(1)

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        """Float32 [n, 784] of 0 to 1."""
        return distorted(pixels, self.augment, tf.cast(self.seeds.next(), tf.int64))


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Times some steps of one `fit`, after others.

    Args:
        first: the step at which it begins.
        steps: how many it times; then training stops.
        together: steps of a call, after which alone it looks at the clock.
        batch: examples of a step.
    """

    def __init__(self, first: int, steps: int, together: int, batch: int) -> None:
        super().__init__()
        self._examples = steps * batch
        self._step, self._first, self._last, self._together = 0, first, first + steps, together

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begin at the first step."""
        if self._step == self._first:
            self._watch = Stopwatch()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """End after the last one."""
        self._step += self._together
        if self._step == self._last:
            self.result = self._watch.read(self._examples)
            self.model.stop_training = True


def distorted(pixels: tf.Tensor, augment: Augment, seed: tf.Tensor) -> tf.Tensor:
    """Distorted images float32 [n, 784] of bytes [n, 784]."""
    images = tf.reshape(tf.cast(pixels, tf.float32) / 255, [-1, 28, 28, 1])
    draws = tf.random.stateless_uniform([tf.shape(pixels)[0], 6], seed, -1.0, 1.0)
    return tf.reshape(distort(images, augment, draws), [-1, 784])


def main() -> None:
    """Fit for some steps, print the speed; with a seed, the accuracy, too."""
    args = arguments(("arrays", "arrays, 100 steps a call", "tf.data", "tf.data, 100 steps a call"))
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    inputs, targets = examples(args.workload)
    train = load(Path("params.yaml"))[args.workload]["train"] | FROM_ALL[args.workload]
    rate, batch = train["learning_rate"], args.batch_size or train["batch_size"]
    if args.seed is not None:
        keras.utils.set_random_seed(args.seed)
        recipe = TrainParams[Train].read(Path("params.yaml")).train
        rate = learning_rate(recipe.model_copy(update={"steps": args.steps, "learning_rate": rate}))
    feed = tf.data.Dataset.from_tensor_slices((inputs, targets)).shuffle(len(targets)).repeat()
    feed = feed.batch(batch, drop_remainder=True)
    if args.workload == "mnist":
        network = build_mnist(train["network"])
        augment = Augment(**train["augment"])
        inside = keras.Sequential([keras.Input([784], dtype="uint8"), Distort(augment), network])
        model = inside if args.way.startswith("arrays") else network
        feed = feed.enumerate().map(
            lambda step, batch: (distorted(batch[0], augment, tf.stack([args.seed or 0, step])), batch[1]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    else:
        model, loss = build_babyweight(read_json(Path("weights/babyweight/config.json"))), "mse"
        inputs = inputs.astype("float32")
        feed = feed.map(lambda rows, weights: (tf.cast(rows, tf.float32), weights))
    together = 100 if args.way.endswith("a call") else 1
    model.compile(keras.optimizers.Adam(rate), loss, steps_per_execution=together)

    clock = Clock(args.warm_up, args.steps, together, batch)
    options: dict[str, Any] = {"verbose": 0, "callbacks": [clock]}
    epochs = -(-(args.warm_up + args.steps) * batch // len(targets))
    if args.way.startswith("arrays"):
        model.fit(inputs, targets, batch, epochs=epochs, **options)
    else:
        model.fit(feed.prefetch(tf.data.AUTOTUNE), steps_per_epoch=args.warm_up + args.steps, **options)
    if args.seed is not None:
        images, labels = examples(args.workload, "test")
        digits = network.predict(images.astype("float32") / 255, verbose=0).argmax(axis=1)
        clock.result["accuracy"] = float((digits == labels).mean())
    print(json.dumps(clock.result))


if __name__ == "__main__":
    main()
