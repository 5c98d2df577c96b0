"""Train the network of birth weight on encoded births; write its weights and learning curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.babyweight.model import build
from stages.babyweight.params import Network, Operation, Train
from stages.core.errors import run
from stages.core.files import read_json
from stages.core.params import OperationParams, TrainParams
from stages.supervised.stage import train_and_write
from stages.supervised.trainer import SupervisedTask

EVALUATION_BATCH = 16384
COUNT_ROWS = 1 << 20
"""Rows read at a time to count values."""

PLAUSIBLE = {"mother_age": (10, 60), "plurality": (1, 5), "gestation_weeks": (15, 48)}
"""Bounds to which the deep part's numbers are clipped, so that a code for unknown weeks is not far off."""

_STEP, *_COLUMNS = (np.sqrt([2.0, 3, 5, 7, 11, 13, 17, 19, 23]) % 1 * 2**32).astype(np.uint32)


def _value_counts(features: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Count each value in each column, [columns, 256]."""
    blocks = (features[first : first + COUNT_ROWS] for first in range(0, len(features), COUNT_ROWS))
    counts = [[np.bincount(column, minlength=256) for column in block.T] for block in blocks]
    return np.asarray(np.sum(counts, axis=0))


def configure(
    schema: dict[str, Any], features: npt.NDArray[np.uint8], weights: npt.NDArray[np.float32], network: Network
) -> dict[str, Any]:
    """The configuration that `model.build` takes, for births [n, 8] and their weights [n]."""
    counts = dict(zip(schema["features"], _value_counts(features), strict=True))
    numbers = {}
    for name, (low, high) in PLAUSIBLE.items():
        values = np.clip(np.arange(256), low, high)
        mean = float(np.average(values, weights=counts[name]))
        deviation = max(float(np.cov(values, fweights=counts[name], ddof=0)) ** 0.5, 1e-3)
        numbers[name] = {"low": low, "high": high, "mean": round(mean, 3), "deviation": round(deviation, 3)}
    return {
        **network.model_dump(),
        "features": schema["features"],
        "spellings": schema["spellings"],
        "numbers": numbers,
        "mean_weight": round(float(weights.mean(dtype=np.float64)), 3),
    }


def dropped(
    indices: npt.NDArray[np.int64], steps: npt.NDArray[np.int64], columns: int, rate: float
) -> npt.NDArray[np.bool_]:
    """Choose the features [n, batch, columns] to replace by "unknown" in each step, evenly spread.

    An additive recurrence (Weyl, 1916) in the birth's index and the step, so the choice does not depend on the batch
    that a birth is in.

    Args:
        indices: indices of births [n, batch].
        steps: global steps [n].
        columns: number of columns, up to 8.
        rate: fraction of each column.
    """
    place = indices.astype(np.uint32)[..., np.newaxis] * np.array(_COLUMNS[:columns])
    place += (steps.astype(np.uint32) * _STEP)[:, np.newaxis, np.newaxis]
    chosen: npt.NDArray[np.bool_] = place < int(rate * 2**32)  # the range of 32 bits
    return chosen


class BirthWeightTask(SupervisedTask):
    """Predict the weights of a prepared folder's births. They stay on disk; a step reads its own."""

    def __init__(self, data: Path, params: TrainParams[Train]) -> None:
        schema = read_json(data / "schema.json")
        self.features, self.weights = self._open(data / "train")
        self.num_examples = len(self.weights)
        self.config = configure(schema, self.features, self.weights, params.train.network)
        self.model = build(self.config)
        self.validation = self._open(data / "validation")
        births = len(self.validation[1])
        chosen = min(births, params.train.validation_births)
        rows = np.arange(chosen) * births // chosen  # evenly spread
        self._sample = self.validation[0][rows], self.validation[1][rows]
        self._categories = [i for i, name in enumerate(schema["features"]) if name in schema["vocabularies"]]
        self._category_dropout = params.train.category_dropout
        self._predict = tf.function(
            lambda rows: self.model(tf.cast(rows, tf.float32), training=False),
            input_signature=[tf.TensorSpec([None, self.features.shape[1]], tf.uint8)],
        )

    @staticmethod
    def _open(folder: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        return np.load(folder / "features.npy", mmap_mode="r"), np.load(folder / "weight_pounds.npy", mmap_mode="r")

    def examples(self, indices: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
        """Read features uint8 [n, batch, 8] and weights float32 [n, batch].

        Some known categories become code 0, as unknown ones are at serving. So code 0 gets a meaning even if no birth
        in the training data has an unknown category.
        """
        features = self.features[indices]
        features[..., self._categories] *= ~dropped(indices, steps, len(self._categories), self._category_dropout)
        return features, self.weights[indices]

    def loss(self, batch: Sequence[tf.Tensor]) -> tf.Tensor:
        """Squared errors float32 [n] in square pounds."""
        features, weights = batch
        return tf.square(self.model(tf.cast(features, tf.float32), training=True) - weights)

    def evaluate(self) -> dict[str, float]:
        """Root mean squared error on the validation births, in pounds."""
        return self._rmse(*self.validation)

    def evaluate_point(self) -> dict[str, float]:
        """The same on `validation_births` of them, the same ones at each point."""
        return self._rmse(*self._sample)

    def _rmse(self, features: npt.NDArray[np.uint8], weights: npt.NDArray[np.float32]) -> dict[str, float]:
        squares = 0.0
        for first in range(0, len(weights), EVALUATION_BATCH):
            rows = slice(first, first + EVALUATION_BATCH)
            errors = self._predict(features[rows]).numpy().astype(np.float64) - weights[rows]
            squares += float(np.sum(errors**2))
        return {"validation_rmse": (squares / len(weights)) ** 0.5}


def main() -> None:
    """Train, and write weights, metrics and curve."""
    train_and_write("babyweight", __doc__, TrainParams[Train], OperationParams[Operation], BirthWeightTask)


if __name__ == "__main__":
    run(main)
