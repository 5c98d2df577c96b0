"""Measure the exported model of wines on the test rows."""

from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from stages import runtime
from stages.core.arguments import evaluation_arguments
from stages.core.errors import InputError, run
from stages.core.files import read_json, significant, whole_folder, write_json, write_table
from stages.core.params import EvaluateParams
from stages.evaluation import statistics
from stages.savedmodel.predictor import Predictor
from stages.wines.params import Evaluate

BATCH = 1000
EXAMPLE = ["row", "actual", "predicted", "probability_of_actual"]


def examples(varieties: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    """Every test row with its variety, the predicted one, and the probability [n, classes] of the variety that it is.

    Raises:
        InputError: if a variety is none of those that the model knows.
    """
    if varieties.max() >= probabilities.shape[1]:
        raise InputError(f"test rows: expected a variety below {probabilities.shape[1]}, found {varieties.max()}")
    answers = zip(varieties, probabilities.argmax(axis=1), probabilities, strict=True)
    return [
        dict(zip(EXAMPLE, (row, int(actual), int(predicted), significant(float(shares[actual]))), strict=True))
        for row, (actual, predicted, shares) in enumerate(answers)
    ]


def main() -> None:
    """Write the metrics, the tables of the plots and the predictions."""
    args = evaluation_arguments(__doc__)
    params = EvaluateParams[Evaluate].read(args.params)

    runtime.configure(params.runtime)
    predict = Predictor(args.model)
    schema = read_json(args.data / "schema.json")
    features, varieties = (np.load(args.data / f"test/{part}.npy") for part in ("features", "varieties"))
    outputs = predict.batched(BATCH, **dict(zip(schema["features"], features.T, strict=True)))
    probabilities = next(value for value in outputs.values() if value.ndim == 2).astype(np.float64)

    table = examples(varieties, probabilities)
    hits = sum(row["actual"] == row["predicted"] for row in table)
    own = probabilities[np.arange(len(varieties)), varieties]
    losses = -np.log(np.maximum(own, np.finfo(np.float32).tiny))
    metrics = {
        **statistics.share(hits, len(table)).metrics("accuracy"),
        **statistics.mean(losses).metrics("loss"),
        "test_rows": len(table),
    }
    with whole_folder(args.plots) as folder:
        write_table(folder / "confusion.csv", (row for row in table if row["actual"] != row["predicted"]), EXAMPLE)
        worst = sorted(table, key=itemgetter("probability_of_actual"))[: params.evaluate.worst]
        write_table(folder / "worst.csv", worst, EXAMPLE)
    write_table(args.examples, table, EXAMPLE)
    write_json(args.metrics, metrics)


if __name__ == "__main__":
    run(main)
