"""Measure the exported birth-weight model on the test births, beside two baselines fitted to the training births."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages import runtime
from stages.babyweight.params import Evaluate
from stages.core.arguments import evaluation_arguments
from stages.core.errors import run
from stages.core.files import read_json, significant, whole_folder, write_json, write_table
from stages.core.params import EvaluateParams
from stages.savedmodel.predictor import Predictor

BATCH = 16384
DECILES = 10
EFFECT_BIRTHS = 1000  # births whose inputs are varied for the table of effects
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
        name: np.array(words[name])[column] if name in words else column
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
    return significant(np.sqrt((errors**2).mean()))


def errors_of(predicted: Floats, pounds: Floats, preterm: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """RMSE and MAE in pounds, R², and RMSE of preterm and term births; null where there are none."""
    errors = predicted - pounds
    groups = {"rmse_preterm": errors[preterm], "rmse_term": errors[~preterm]}
    return {
        "rmse": rmse(errors),
        "mae": significant(np.abs(errors).mean()),
        "r2": significant(1 - (errors**2).mean() / pounds.var()),
        **{name: rmse(group) if len(group) else None for name, group in groups.items()},
    }


def means(predicted: Floats, pounds: Floats) -> dict[str, float]:
    """Mean prediction and mean weight."""
    return {"predicted": significant(predicted.mean()), "actual": significant(pounds.mean())}


def calibration(predicted: Floats, pounds: Floats) -> list[dict[str, Any]]:
    """Mean prediction and mean weight by decile of prediction."""
    groups = enumerate(np.array_split(np.argsort(predicted, kind="stable"), DECILES), 1)
    return [{"decile": number, **means(predicted[group], pounds[group])} for number, group in groups if len(group)]


def residuals(errors: Floats) -> list[dict[str, Any]]:
    """Births by bin of the prediction's error."""
    bins, counts = np.unique(np.floor(errors / RESIDUAL_BIN).astype(int), return_counts=True)
    return [{"error": float(b * RESIDUAL_BIN), "births": int(n)} for b, n in zip(bins, counts, strict=True)]


def by_week(weeks: npt.NDArray[np.uint8], predicted: Floats, pounds: Floats) -> list[dict[str, Any]]:
    """Mean prediction, mean weight and RMSE by completed week of gestation."""
    groups = ((week, predicted[weeks == week], pounds[weeks == week]) for week in np.unique(weeks))
    return [
        {"week": int(week), **means(answers, actual), "rmse": rmse(answers - actual), "births": len(actual)}
        for week, answers, actual in groups
    ]


def effects(predict: Callable[[Codes], Floats], codes: Codes, schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Partial dependence: what a value of one input adds to the prediction, all other inputs as they are.

    A value's effect on a birth is the prediction with that value less the prediction with the input's commonest
    value. The table gives its mean over births, and the 10th and 90th percentile as the spread.

    Source: Goldstein et al., "Peeking Inside the Black Box" (2015), centred individual curves.

    Args:
        predict: predictions [n] for codes [n, features].
        codes: the test births, of which every n-th is varied.
        schema: the data's schema.
    """
    births = codes[:: -(-len(codes) // EFFECT_BIRTHS)]
    rows = []
    for index, name in enumerate(schema["features"]):
        values, counts = np.unique(codes[:, index], return_counts=True)
        varied = np.tile(births, (len(values), 1))
        varied[:, index] = np.repeat(values, len(births))
        curves = predict(varied).reshape(len(values), len(births))
        curves -= curves[counts.argmax()].copy()
        low, high = np.quantile(curves, [0.1, 0.9], axis=1)
        words = schema["vocabularies"].get(name)
        for value, count, *effect in zip(values.tolist(), counts.tolist(), curves.mean(axis=1), low, high, strict=True):
            numbers = dict(zip(("effect", "low", "high"), (round(float(e), 4) for e in effect), strict=True))
            rows.append({"input": name, "value": words[value] if words else value, "births": count, **numbers})
    return rows


def examples(codes: Codes, schema: dict[str, Any], pounds: Floats, predicted: Floats) -> Iterator[dict[str, Any]]:
    """Every test birth with its inputs, its weight and the prediction."""
    inputs = instances(codes, schema)
    columns = (values.tolist() for values in inputs.values())
    for number, (*values, actual, answer) in enumerate(zip(*columns, pounds, predicted, strict=True)):
        numbers = {"actual": significant(actual), "predicted": significant(answer)}
        yield {"birth": number, **dict(zip(inputs, values, strict=True)), **numbers}


def main() -> None:
    """Write the metrics, the tables of the plots and the predictions."""
    args = evaluation_arguments(__doc__)
    params = EvaluateParams[Evaluate].read(args.params)

    runtime.configure(params.runtime)
    schema = read_json(args.data / "schema.json")
    train, (codes, pounds) = load(args.data, "train"), load(args.data, "test")
    model = Predictor(args.model)

    def predict(births: Codes) -> Floats:
        (outputs,) = model.batched(BATCH, **instances(births, schema)).values()
        return outputs.astype(np.float64)

    predicted = predict(codes)

    weeks = codes[:, schema["features"].index("gestation_weeks")]
    preterm = weeks < params.evaluate.preterm_weeks
    baselines = {"mean": np.full(len(pounds), train[1].mean()), "linear": linear(train, codes, schema)}
    metrics = {
        **errors_of(predicted, pounds, preterm),
        "baselines": {name: errors_of(values, pounds, preterm) for name, values in baselines.items()},
        "test_births": len(pounds),
    }
    tables = {
        "calibration": calibration(predicted, pounds),
        "residuals": residuals(predicted - pounds),
        "by_week": by_week(weeks, predicted, pounds),
        "effects": effects(predict, codes, schema),
    }
    with whole_folder(args.plots) as folder:
        for name, rows in tables.items():
            write_table(folder / f"{name}.csv", rows, list(rows[0]))
    header = ["birth", *schema["features"], "actual", "predicted"]
    write_table(args.examples, examples(codes, schema, pounds, predicted), header)
    write_json(args.metrics, metrics)


if __name__ == "__main__":
    run(main)
