"""The metrics of agents as figures of single episodes, to compare two agents in the same ones."""

from collections.abc import Mapping
from typing import Any

from stages.evaluation.judge import Measure, Table
from stages.evaluation.statistics import interquartile_mean, plain_mean


def measures(table: Table, parameters: Mapping[str, Any]) -> dict[str, Measure]:
    """Each metric by its key, of the columns of `returns.csv`.

    Args:
        table: its columns.
        parameters: of the workload, by dotted key.
    """
    returns = table["return"].astype(float)
    return {
        "mean_return": Measure(returns, plain_mean, whole=True),
        "interquartile_mean_return": Measure(returns, interquartile_mean, whole=True),
    }
