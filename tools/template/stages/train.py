"""Train the network of wines; write its weights and learning curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.core.errors import run
from stages.core.files import read_json
from stages.core.params import OperationParams, TrainParams
from stages.supervised.stage import train_and_write
from stages.supervised.trainer import SupervisedTask
from stages.wines.model import build
from stages.wines.params import Operation, Train


class TableTask(SupervisedTask):
    """Classify the wines of a prepared folder."""

    def __init__(self, data: Path, params: TrainParams[Train]) -> None:
        self.features, self.varieties = (np.load(data / f"train/{part}.npy") for part in ("features", "varieties"))
        self.validation = tuple(np.load(data / f"validation/{part}.npy") for part in ("features", "varieties"))
        self.num_examples = len(self.varieties)
        self.config = {
            **params.train.network.model_dump(),
            "features": read_json(data / "schema.json")["features"],
            "mean": [round(float(value), 6) for value in self.features.mean(axis=0, dtype=np.float64)],
            "variance": [round(float(value), 6) for value in self.features.var(axis=0, dtype=np.float64)],
            "classes": int(max(self.varieties.max(), self.validation[1].max())) + 1,
        }
        self.model = build(self.config)

    def examples(self, indices: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
        """Read features float32 [n, batch, 3] and varieties int64 [n, batch]."""
        return self.features[indices], self.varieties[indices]

    def loss(self, batch: Sequence[tf.Tensor]) -> tf.Tensor:
        """Cross entropies float32 [n] in nats."""
        features, varieties = batch
        return tf.nn.sparse_softmax_cross_entropy_with_logits(varieties, self.model(features, training=True))

    def evaluate(self) -> dict[str, float]:
        """Accuracy and mean cross entropy on the validation rows."""
        features, varieties = self.validation
        logits = self.model(features, training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(varieties, logits)
        correct = np.argmax(logits, axis=1) == varieties
        return {"validation_loss": float(tf.reduce_mean(losses)), "validation_accuracy": float(correct.mean())}


def main() -> None:
    """Train, and write weights, metrics and curve."""
    train_and_write("wines", __doc__, TrainParams[Train], OperationParams[Operation], TableTask)


if __name__ == "__main__":
    run(main)
