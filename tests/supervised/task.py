"""A linear model that training can solve."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages.core.params import Training

EXAMPLES, SLOPES = 50, np.array([2.0, -1.0, 0.5], np.float32)


class LinearTask:
    """Fit `SLOPES` from noiseless examples; a dropout layer draws from a seed generator, which is a variable."""

    num_examples = EXAMPLES
    moving_statistics: Sequence[tf.Variable] = ()

    def __init__(self, dropout: float = 0.0) -> None:
        keras.utils.set_random_seed(3)
        layers = [keras.layers.Dropout(dropout)] if dropout else []
        self.config: dict[str, Any] = {}
        self.model = keras.Sequential([keras.Input([3]), *layers, keras.layers.Dense(1)])
        self.inputs = np.random.default_rng(0).normal(size=(EXAMPLES, 3)).astype(np.float32)
        self.targets = self.inputs @ SLOPES

    def examples(self, indices: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
        return self.inputs[indices], self.targets[indices]

    def draw(self, step: tf.Tensor, batch_size: int) -> Sequence[tf.Tensor]:
        return ()

    def loss(self, examples: Sequence[tf.Tensor], draws: Sequence[tf.Tensor]) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
        inputs, targets = examples
        return (self.model(inputs, training=True)[:, 0] - targets) ** 2, ()

    def evaluate(self) -> dict[str, float]:
        return {"error": float(np.abs(self.model.layers[-1].kernel.numpy()[:, 0] - SLOPES).max())}


def training(**changes: object) -> Training:
    values = {"steps": 40, "batch_size": 8, "learning_rate": 0.1, "schedule": "one_cycle", "evaluate_every": 15}
    values |= {"checkpoint_every": 10, "max_to_keep": 2, "micro_batches": 1, "replicas": 1, "worker_timeout": 9.0}
    return Training.model_validate(values | changes)
