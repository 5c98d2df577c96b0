"""What chance does to a recipe: its results and learning curves with several seeds, which `make seeds` measures.

A recipe is all parameters that a workload's results depend on, but for the seed. What was measured of one says nothing
of another.
"""

import copy
import csv
import hashlib
import json
import statistics as stdlib_statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stages.evaluation.statistics import Estimate, bootstrapped, interquartile_mean, percentiles, resampled

SEEDS = Path("benchmarks/results/seeds.csv")
CURVES = Path("benchmarks/results/seed_curves.csv")
COLUMNS = ("workload", "recipe", "seed", "validation", "test", "steps", "seconds", "cpu_seconds", "processor")
CURVE_COLUMNS = ("workload", "recipe", "seed", "step", "value")
FEWEST = 3
"""Seeds below which a spread is not known."""
POINTS = 40
"""Of a learning curve, kept of a seed and drawn."""

Row = dict[str, Any]
Points = list[tuple[float, float]]


def recipe(workload: str, params: Mapping[str, Any]) -> str:
    """A digest of the parameters that a workload's results depend on, but for the seed."""
    own = copy.deepcopy({name: values for name, values in params.get(workload, {}).items() if name != "operation"})
    own.get("prepare", {}).get("source", {}).pop("public", None)  # says what is shown
    used = {"runtime": params.get("runtime"), workload: own}
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:8]


def table(path: Path) -> list[Row]:
    """The rows of a file, as text; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Seeds:
    """The headline of one recipe on test data, and its learning curves, by seed."""

    values: dict[int, float]
    curves: dict[int, Points] = field(default_factory=dict)

    @property
    def deviation(self) -> float | None:
        """Standard deviation between seeds; None for fewer than three."""
        values = list(self.values.values())
        return stdlib_statistics.stdev(values) if len(values) >= FEWEST else None

    @property
    def interquartile_mean(self) -> Estimate:
        """Mean of the middle half of the seeds, with the bootstrap's interval."""
        return bootstrapped(np.array(list(self.values.values())), interquartile_mean)

    def band(self) -> list[tuple[float, Estimate]]:
        """The curves' interquartile mean at each of up to `POINTS` steps, with the bootstrap's interval.

        Between two points of a curve its value is interpolated; a run that ended counts with its last value.
        """
        curves = list(self.curves.values())
        if len(curves) < FEWEST:
            return []
        first, last = (find(points[end][0] for points in curves) for find, end in ((max, 0), (max, -1)))
        steps = sorted({step for points in curves for step, _ in points if step >= first})
        if len(steps) > POINTS:
            steps = np.linspace(first, last, POINTS).tolist()
        values = np.array([np.interp(steps, *np.transpose(points)) for points in curves])
        middle = interquartile_mean(values.T)
        ends = map(percentiles, resampled(values.T, interquartile_mean))
        return [(s, Estimate(float(m), *e)) for s, m, e in zip(steps, middle, ends, strict=True)]


def read(root: Path, params: Mapping[str, Any]) -> dict[str, Seeds]:
    """What was measured of the recipes that these parameters are, by workload.

    Args:
        root: the project's folder.
        params: nested, as in `params.yaml`.
    """
    found: dict[str, Seeds] = {}
    recipes = {
        workload: recipe(workload, params) for workload, section in params.items() if isinstance(section, Mapping)
    }
    for row in table(root / SEEDS):
        if recipes.get(row["workload"]) == row["recipe"]:
            found.setdefault(row["workload"], Seeds({})).values[int(row["seed"])] = float(row["test"])
    for row in table(root / CURVES):
        seeds = found.get(row["workload"])
        if seeds and recipes[row["workload"]] == row["recipe"] and int(row["seed"]) in seeds.values:
            seeds.curves.setdefault(int(row["seed"]), []).append((float(row["step"]), float(row["value"])))
    return found


def thinned(points: Points) -> Points:
    """At most `POINTS` of a curve: means of as many points each, at the step of the last."""
    size = -(-len(points) // POINTS)
    parts = [points[start : start + size] for start in range(0, len(points), size or 1)]
    return [(part[-1][0], stdlib_statistics.fmean(value for _, value in part)) for part in parts]
