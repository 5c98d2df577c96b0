"""A linear model that training can solve; as a command, it trains one with all that Keras draws and averages.

python -m tests.supervised.task REPLICAS
"""

import hashlib
import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages import runtime
from stages.core.params import Runtime, SupervisedTrain
from stages.supervised import cluster
from stages.supervised.trainer import SupervisedTask, Trainer

EXAMPLES, SLOPES = 50, np.array([2.0, -1.0, 0.5], np.float32)


class LinearTask(SupervisedTask):
    """Fit `SLOPES` from noiseless examples by a plain Keras model.

    Args:
        dropout: rate of a dropout layer; 0: none.
        layers: put before the dense layer.
    """

    num_examples = EXAMPLES

    def __init__(self, dropout: float = 0.0, layers: Sequence[keras.layers.Layer] = ()) -> None:
        keras.utils.set_random_seed(3)
        layers = [*layers, keras.layers.Dropout(dropout)] if dropout else layers
        self.config: dict[str, Any] = {}
        self.model = keras.Sequential([keras.Input([3]), *layers, keras.layers.Dense(1)])
        self.inputs = np.random.default_rng(0).normal(size=(EXAMPLES, 3)).astype(np.float32)
        self.targets = self.inputs @ SLOPES

    def examples(self, indices: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
        return self.inputs[indices], self.targets[indices]

    def loss(self, batch: Sequence[tf.Tensor]) -> tf.Tensor:
        inputs, targets = batch
        return (self.model(inputs, training=True)[:, 0] - targets) ** 2

    def evaluate(self) -> dict[str, float]:
        return {"error": float(np.abs(self.model.layers[-1].kernel.numpy()[:, 0] - SLOPES).max())}


def training(**changes: object) -> SupervisedTrain:
    values = {"steps": 40, "batch_size": 8, "learning_rate": 0.1, "schedule": "one_cycle", "evaluate_every": 15}
    values |= {"micro_batches": 1, "replicas": 1}
    return SupervisedTrain.model_validate(values | changes)


def main() -> None:
    """Print a digest of the variables after 20 steps of four micro-batches each."""
    replicas = int(sys.argv[1])
    params = training(steps=20, micro_batches=4, replicas=replicas)
    runtime.configure(Runtime(threads=2), seed=0, micro_batches=4)
    with cluster.join(replicas, timeout=9.0) as joined:
        task = LinearTask(0.3, [keras.layers.BatchNormalization()])
        trainer = Trainer(task, params, 1, joined)
        while not trainer.finished():
            trainer.advance()
    print(hashlib.sha256(b"".join(v.numpy().tobytes() for v in task.model.variables)).hexdigest())


if __name__ == "__main__":
    main()
