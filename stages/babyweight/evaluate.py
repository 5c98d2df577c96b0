"""Measure the exported birth-weight model on the test births, beside two baselines fitted to the training births."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages import runtime
from stages.babyweight.params import EvaluateParams
from stages.core.errors import run
from stages.core.files import read_json, significant, whole_folder, write_json, write_table
from stages.core.params import add_params
from stages.savedmodel.predictor import Predictor

BATCH = 16384
DECILES = 10
RESIDUAL_BIN = 0.25  # pounds

Codes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def load(data: Path, split: str) -> tuple[Codes, Floats]:
    """Codes uint8 [n, features] and pounds float64 [n] of a split."""
    return np.load(data / split / "features.npy"), np.load(data / split / "weight_pounds.npy").astype(np.float64)


def instances(codes: Codes, schema: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """The signature's inputs [n]: words where there is a vocabulary, else numbers."""
    words = schema["vocabularies"]
    return {
        name: np.array(words[name])[column] if name in words else column.astype(np.float32)
        for name, column in zip(schema["features"], codes.T, strict=True)
    }


def design(codes: Codes, schema: dict[str, Any]) -> Floats:
    """The linear baseline's inputs [n, columns]: one, the numbers, the categories one-hot but for the first word."""
    columns: list[Floats] = [np.ones(len(codes))]
    for name, column in zip(schema["features"], codes.T, strict=True):
        words = schema["vocabularies"].get(name)
        columns += [column.astype(float)] if words is None else [column == c for c in range(1, len(words))]
    return np.stack(columns, axis=1, dtype=np.float64)


def linear(train: tuple[Codes, Floats], test: Codes, schema: dict[str, Any]) -> Floats:
    """Predictions [n] for test births of the linear model with least squares on the training births."""
    inputs = design(train[0], schema)
    # By the normal equations, in one pass over the births; a category that never occurs gets no weight.
    weights, *_ = np.linalg.lstsq(inputs.T @ inputs, inputs.T @ train[1])
    return design(test, schema) @ weights


def rmse(errors: Floats) -> float:
    """Root of the mean square, to six digits."""
    return significant(float(np.sqrt(np.mean(errors**2))))


def errors_of(predicted: Floats, pounds: Floats, preterm: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """RMSE and MAE in pounds, R², and RMSE of preterm and term births; null where there are none."""
    errors = predicted - pounds
    groups = {"rmse_preterm": errors[preterm], "rmse_term": errors[~preterm]}
    return {
        "rmse": rmse(errors),
        "mae": significant(float(np.abs(errors).mean())),
        "r2": significant(1 - float(np.mean(errors**2) / pounds.var())),
        **{name: rmse(group) if len(group) else None for name, group in groups.items()},
    }


def calibration(predicted: Floats, pounds: Floats) -> list[dict[str, Any]]:
    """Mean prediction and mean weight by decile of prediction."""
    groups = np.array_split(np.argsort(predicted, kind="stable"), DECILES)
    return [
        {
            "decile": number,
            "predicted": significant(float(predicted[group].mean())),
            "actual": significant(float(pounds[group].mean())),
        }
        for number, group in enumerate(groups, 1)
        if len(group)
    ]


def residuals(errors: Floats) -> list[dict[str, Any]]:
    """Births by bin of the prediction's error."""
    bins, counts = np.unique(np.floor(errors / RESIDUAL_BIN).astype(int), return_counts=True)
    return [{"error": float(b * RESIDUAL_BIN), "births": int(n)} for b, n in zip(bins, counts, strict=True)]


def by_week(weeks: npt.NDArray[np.uint8], predicted: Floats, pounds: Floats) -> list[dict[str, Any]]:
    """Mean prediction and mean weight by completed week of gestation."""
    return [
        {
            "week": int(week),
            "predicted": significant(float(predicted[weeks == week].mean())),
            "actual": significant(float(pounds[weeks == week].mean())),
            "births": int((weeks == week).sum()),
        }
        for week in np.unique(weeks)
    ]


def main() -> None:
    """Write the metrics, and the tables of the plots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="SavedModel to measure")
    parser.add_argument("data", type=Path, help="prepared folder with the test births")
    parser.add_argument("metrics", type=Path, help="file to write the metrics to")
    parser.add_argument("plots", type=Path, help="folder to write the tables to")
    add_params(parser)
    args = parser.parse_args()
    params = EvaluateParams.read(args.params)

    runtime.configure(params.runtime)
    schema = read_json(args.data / "schema.json")
    train, (codes, pounds) = load(args.data, "train"), load(args.data, "test")
    (outputs,) = Predictor(args.model).batched(BATCH, **instances(codes, schema)).values()
    predicted = outputs.astype(np.float64)

    weeks = codes[:, schema["features"].index("gestation_weeks")]
    preterm = weeks < params.evaluate.preterm_weeks
    baselines = {"mean": np.full(len(pounds), train[1].mean()), "linear": linear(train, codes, schema)}
    metrics = {
        **errors_of(predicted, pounds, preterm),
        "baselines": {name: errors_of(values, pounds, preterm) for name, values in baselines.items()},
        "source": schema["source"],
        "test_births": len(pounds),
    }
    with whole_folder(args.plots) as folder:
        write_table(folder / "calibration.csv", calibration(predicted, pounds), ["decile", "predicted", "actual"])
        write_table(folder / "residuals.csv", residuals(predicted - pounds), ["error", "births"])
        table = by_week(weeks, predicted, pounds)
        write_table(folder / "by_week.csv", table, ["week", "predicted", "actual", "births"])
    write_json(args.metrics, metrics)


if __name__ == "__main__":
    run(main)
