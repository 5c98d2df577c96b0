"""The metrics of births as figures of single births, to compare two models on the same ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from stages.evaluation.judge import Measure, Table


def measures(table: Table, parameters: Mapping[str, Any]) -> dict[str, Measure]:
    """Each metric by its key, of the columns of `examples.csv`: of single births, or of cells of personal ones.

    Args:
        table: its columns.
        parameters: of the workload, by dotted key.
    """
    if "cell" in table:
        return _of_cells(table)
    actual = table["actual"].astype(float)
    errors = table["predicted"].astype(float) - actual
    squares = errors**2
    preterm = table["gestation_weeks"].astype(int) < parameters["evaluate.preterm_weeks"]
    return {
        "rmse": Measure(squares, lambda means: np.sqrt(means[..., 0])),
        "mae": Measure(np.abs(errors)),
        "r2": Measure(
            np.stack([squares, actual, actual**2], axis=1),
            lambda means: 1 - means[..., 0] / (means[..., 2] - means[..., 1] ** 2),
        ),
        "rmse_preterm": Measure(squares, lambda means: np.sqrt(means[..., 0]), where=preterm),
        "rmse_term": Measure(squares, lambda means: np.sqrt(means[..., 0]), where=~preterm),
    }


def _of_cells(table: Table) -> dict[str, Measure]:
    """The metrics of cells, which are resampled in place of births; each counts as often as it has births."""
    births = table["births"].astype(float)
    sums = {
        name: births * table[name].astype(float)
        for name in ("squared_error", "absolute_error", "actual", "actual_squared")
    }
    squares = np.stack([sums["squared_error"], births], axis=1)
    found = {
        "rmse": Measure(squares, lambda means: np.sqrt(means[..., 0] / means[..., 1])),
        "mae": Measure(np.stack([sums["absolute_error"], births], axis=1), lambda means: means[..., 0] / means[..., 1]),
        "r2": Measure(
            np.stack([*(sums[name] for name in ("squared_error", "actual", "actual_squared")), births], axis=1),
            lambda means: 1 - means[..., 0] / (means[..., 2] - means[..., 1] ** 2 / means[..., 3]),
        ),
    }
    for term in ("preterm", "term"):
        inside = table["term"] == term
        found[f"rmse_{term}"] = Measure(squares, found["rmse"].of, where=inside)
    return found
