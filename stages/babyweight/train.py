"""Train the birth-weight regressor; write its weights and learning curve."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.babyweight.model import build
from stages.shared import runtime
from stages.shared.errors import run
from stages.shared.files import read_json, significant
from stages.shared.params import TrainBabyweight
from stages.shared.trainer import train_and_write
from stages.shared.weights import add_outputs

EVALUATION_BATCH = 16384


def load(data: Path, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Codes uint8 [n, features] and pounds float32 [n] of a split."""
    return np.load(data / split / "features.npy"), np.load(data / split / "weight_pounds.npy")


def configuration(data: Path, params: TrainBabyweight) -> dict[str, Any]:
    """What `model.build` takes: the data's schema, the parameters, and the training births' moments."""
    schema = read_json(data / "schema.json")
    features, pounds = load(data, "train")
    columns = {"weight_pounds": pounds} | {n: features[:, schema["features"].index(n)] for n in schema["numbers"]}
    return {
        **{key: schema[key] for key in ("features", "numbers", "vocabularies", "spellings")},
        "buckets": params.buckets.model_dump(),
        **params.model.model_dump(),
        "center": {name: significant(values.mean(dtype=np.float64)) for name, values in columns.items()},
        "scale": {name: significant(values.std(dtype=np.float64)) or 1.0 for name, values in columns.items()},
    }


class Learner:
    """The network on the births of a prepared folder, resident as tensors.

    Args:
        data: the prepared folder.
        config: what `model.build` takes.
    """

    def __init__(self, data: Path, config: dict[str, Any]) -> None:
        self.model = build(config)
        self.variance = config["scale"]["weight_pounds"] ** 2
        self.features, self.pounds = (tf.constant(array) for array in load(data, "train"))
        self.held_out = load(data, "validation")
        spec = tf.TensorSpec([None, len(config["features"])], tf.int32)
        self._predict = tf.function(lambda codes: self.model(codes, training=False), input_signature=[spec])

    def loss(self, indices: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Squared errors float32 [batch], as shares of the weights' variance."""
        predicted = self.model(tf.cast(tf.gather(self.features, indices), tf.int32), training=True)
        return (predicted - tf.gather(self.pounds, indices)) ** 2 / self.variance

    def evaluate(self) -> dict[str, float]:
        """Root of the mean squared error on the validation births, pounds."""
        features, pounds = self.held_out
        squares = 0.0
        for start in range(0, len(pounds), EVALUATION_BATCH):
            rows = slice(start, start + EVALUATION_BATCH)
            predicted = self._predict(tf.constant(features[rows].astype(np.int32))).numpy()
            squares += float(((predicted - pounds[rows]).astype(np.float64) ** 2).sum())
        return {"validation_rmse": (squares / len(pounds)) ** 0.5}


def main() -> None:
    """Train, and write weights, metrics and curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="prepared folder to read")
    add_outputs(parser)
    args = parser.parse_args()
    params = TrainBabyweight.read(args.params)

    runtime.configure(params.runtime, params.seed)
    config = configuration(args.data, params)
    learner = Learner(args.data, config)
    train_and_write("babyweight", learner, len(learner.pounds), params, config, args)


if __name__ == "__main__":
    run(main)
