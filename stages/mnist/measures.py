"""The metrics of digits as figures of single images, to compare two models on the same ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from stages.evaluation.judge import Measure, Table
from stages.evaluation.statistics import calibration_gaps


def measures(table: Table, parameters: Mapping[str, Any]) -> dict[str, Measure]:
    """Each metric by its key, of the columns of `examples.csv`.

    Args:
        table: its columns.
        parameters: of the workload, by dotted key.
    """
    hits = table["actual"] == table["predicted"]
    probability = np.maximum(table["probability_of_actual"].astype(float), np.finfo(np.float32).tiny)
    gaps = calibration_gaps(table["probability"].astype(float), hits, parameters["evaluate.calibration_bins"])
    return {
        "accuracy": Measure(hits),
        "loss": Measure(-np.log(probability)),
        "expected_calibration_error": Measure(gaps, lambda means: np.abs(means).sum(axis=-1)),
        **{f"recall.{digit:g}": Measure(hits, where=table["actual"] == digit) for digit in np.unique(table["actual"])},
    }
