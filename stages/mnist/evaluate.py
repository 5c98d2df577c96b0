"""Measure the exported digits' model on the test images."""

from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from stages import runtime
from stages.core.arguments import evaluation_arguments
from stages.core.errors import run
from stages.core.files import significant, whole_folder, write_json, write_table
from stages.core.params import EvaluateParams
from stages.evaluation import statistics
from stages.evaluation.groups import quarters, share_groups
from stages.mnist.params import Evaluate
from stages.savedmodel.predictor import Predictor

BATCH = 1000
WORST = 40  # images in the table of those that the model likes least
INK = ("thinnest quarter", "second quarter", "third quarter", "thickest quarter")
EXAMPLE = ["image", "actual", "predicted", "probability", "probability_of_actual"]
Digits = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]


def calibration(confidence: Floats, hits: npt.NDArray[np.bool_], bins: int) -> tuple[float, list[dict[str, Any]]]:
    """Expected calibration error, and accuracy and mean confidence by bin of confidence.

    Source: Guo et al., "On Calibration of Modern Neural Networks" (2017), equal-width bins.

    Args:
        confidence: probabilities [n] of the predicted classes.
        hits: whether each prediction was right [n].
        bins: how many bins divide 0 to 1.
    """
    place = statistics.confidence_bins(confidence, bins)
    rows, error = [], 0.0
    for index in np.unique(place):
        inside = place == index
        accuracy, sure = hits[inside].mean(), confidence[inside].mean()
        error += inside.mean() * abs(accuracy - sure)
        numbers = {"confidence": significant(sure), "accuracy": significant(accuracy)}
        _, low, high = statistics.share(int(hits[inside].sum()), int(inside.sum()))
        ends = {"low": significant(low or 0.0), "high": significant(high or 0.0)}
        rows.append({"bin": f"{index / bins:.2f}", **numbers, "images": int(inside.sum()), **ends})
    return error, rows


def examples(labels: Digits, classes: Digits, probabilities: Floats) -> list[dict[str, Any]]:
    """Every test image with its digit, the predicted digit, and the probabilities [n, 10] of both."""
    rows = range(len(labels))
    both = zip(rows, labels, classes, probabilities[rows, classes], probabilities[rows, labels], strict=True)
    return [
        dict(zip(EXAMPLE, (index, int(actual), int(predicted), significant(p), significant(q)), strict=True))
        for index, actual, predicted, p, q in both
    ]


def places(images: npt.NDArray[np.uint8], labels: Digits) -> dict[str, tuple[list[str], npt.NDArray[np.int64]]]:
    """The values of each group of images [n, ...], and which of them each image [n] has: its digit, its ink."""
    ink = images.reshape(len(images), -1).mean(axis=1)
    digits = [str(label) for label in range(int(labels.max()) + 1)]
    return {"digit": (digits, labels.astype(np.int64)), "ink": (list(INK), quarters(ink))}


def _share(hits: npt.NDArray[np.bool_]) -> statistics.Estimate:
    return statistics.share(int(hits.sum()), len(hits))


def main() -> None:
    """Write the metrics, the tables of the plots and the predictions."""
    args = evaluation_arguments(__doc__)
    params = EvaluateParams[Evaluate].read(args.params)

    runtime.configure(params.runtime)
    predict = Predictor(args.model)
    (name,) = predict.signature.inputs
    images, labels = (np.load(args.data / f"test/{part}.npy") for part in ("images", "labels"))
    outputs = predict.batched(BATCH, **{name: images.astype(np.float32) / 255})

    classes, probabilities = outputs["classes"], outputs["probabilities"].astype(np.float64)
    hits = classes == labels
    losses = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(np.float32).tiny))
    loss = statistics.mean(losses)
    error, bins = calibration(probabilities.max(axis=1), hits, params.evaluate.calibration_bins)
    gaps = statistics.calibration_gaps(probabilities.max(axis=1), hits, params.evaluate.calibration_bins)
    by_digit = [(str(label), _share(hits[labels == label]).metrics("recall")) for label in np.unique(labels)]
    metrics = {
        **_share(hits).metrics("accuracy"),
        **loss._replace(low=None if loss.low is None else max(0.0, loss.low)).metrics("loss"),
        **statistics.calibration_error(gaps).metrics("expected_calibration_error"),
        "expected_calibration_error": significant(error, 4),
        **{key: {digit: found[key] for digit, found in by_digit} for key in ("recall", "recall_low", "recall_high")},
        "test_images": len(labels),
    }
    with whole_folder(args.plots) as folder:
        table = examples(labels, classes, probabilities)
        write_table(folder / "confusion.csv", (row for row in table if row["actual"] != row["predicted"]), EXAMPLE)
        worst = sorted(table, key=itemgetter("probability_of_actual"))[:WORST]
        write_table(folder / "worst.csv", worst, EXAMPLE)
        write_table(folder / "calibration.csv", bins, ["bin", "confidence", "accuracy", "images", "low", "high"])
        groups = share_groups(places(images, labels), hits, "images", "accuracy")
        write_table(folder / "groups.csv", groups, list(groups[0]))
    write_table(args.examples, table, EXAMPLE)
    write_json(args.metrics, metrics)


if __name__ == "__main__":
    run(main)
