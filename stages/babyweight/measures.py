"""The metrics of births as figures of single births, to compare two models on the same ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from stages.evaluation.judge import Measure, Table


def measures(table: Table, parameters: Mapping[str, Any]) -> dict[str, Measure]:
    """Each metric by its key, of the columns of `examples.csv`.

    Args:
        table: its columns.
        parameters: of the workload, by dotted key.
    """
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
