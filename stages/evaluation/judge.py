"""Better or worse? Only beyond what chance does to a metric: one judge for the report, comparisons and sweeps.

The headline is judged by the spread between seeds, if that was measured. All else, and a headline without seeds, is
judged by the difference on the same held-out instances, or, if those are not at hand, by the two intervals.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stages import workloads
from stages.evaluation import statistics
from stages.workloads import Workload

WORDS = {
    "better": "better", "worse": "worse", "noise": "within seed noise", "chance": "within chance", "same": "equal",
    "other": "not judged",
}  # fmt: skip
UNKNOWN = "how far chance moves it is not known"
NO_QUALITY = "no measure of quality"
NO_NUMBER = "a side without a number, for which no chance is known"

Floats = npt.NDArray[np.float64]
Table = Mapping[str, npt.NDArray[Any]]


class Verdict(NamedTuple):
    """A word of `WORDS`, why a metric is not judged, and the difference that chance alone may make, if known."""

    word: str
    note: str = ""
    noise: float | None = None


class Difference(NamedTuple):
    """The interval of a difference (after less before) on the same instances."""

    low: float
    high: float

    @property
    def noise(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Measure:
    """A metric of one model as a figure of its instances, to compare two models on the same ones.

    Args:
        parts: what each instance adds, [n] or [n, k]. Of truth values (right or wrong) the figure is the share.
        of: the figure [...] from means [..., k] of the parts.
        whole: whether `of` takes the instances' parts [..., n] themselves, as a trimmed mean does.
        where: the instances [n] that count; None: all.
    """

    parts: npt.NDArray[Any]
    of: Callable[[Floats], Floats] = lambda means: means[..., 0]
    whole: bool = False
    where: npt.NDArray[np.bool_] | None = None

    @property
    def counted(self) -> npt.NDArray[Any]:
        """The parts of the instances that count."""
        return self.parts if self.where is None else self.parts[self.where]


def paired(before: Measure, after: Measure) -> Difference | None:
    """The interval of the difference between two models on the same instances: 0 is in it if chance explains it.

    Truth values are compared by McNemar's exact test, all else by the paired bootstrap. None for fewer than two.
    """
    old, new = before.counted, after.counted
    count = len(new)
    if count < 2 or len(old) != count:
        return None
    if new.dtype == bool:
        won, lost = int((new & ~old).sum()), int((old & ~new).sum())
        difference, half = (won - lost) / count, statistics.Z * math.sqrt(won + lost) / count
        if statistics.mcnemar(won, lost) > statistics.LEVEL:
            half = max(half, abs(difference))
        else:
            half = min(half, abs(difference) * (1 - 1e-9))
        return Difference(difference - half, difference + half)
    if after.whole:
        drawn = statistics.resampled(np.stack([old, new]), after.of)
        return Difference(*statistics.percentiles(drawn[1] - drawn[0]))
    columns = [values.reshape(count, -1).astype(np.float64) for values in (old, new)]
    means = statistics.resampled_means(np.concatenate(columns, axis=1))
    width = columns[0].shape[1]
    return Difference(*statistics.percentiles(after.of(means[:, width:]) - before.of(means[:, :width])))


def judge(
    workload: Workload,
    key: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    deviation: float | None = None,
    difference: Callable[[str], Difference | None] = lambda key: None,
) -> Verdict:
    """Judge a metric.

    Args:
        workload: what was measured.
        key: of the metric in `evaluate.json`.
        before: flat metrics.
        after: flat metrics.
        deviation: standard deviation of the headline over seeds of the same recipe, if known.
        difference: finds the interval of the difference on the same instances, if they are at hand.
    """
    old, new = before.get(key), after.get(key)
    if old == new:
        return Verdict("same")
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (old, new))
    way = workload.direction(key)
    if not way:
        return Verdict("other", NO_QUALITY)
    if not numbers or old is None or new is None:
        return Verdict("other", NO_NUMBER)
    if deviation and key == workload.headline:
        limit = 2 * math.sqrt(2) * deviation
        return _verdict(way * (new - old), limit, "noise")
    if found := difference(key):
        middle = (found.low + found.high) / 2
        return _verdict(way * middle, found.noise, "chance")
    intervals = [workloads.interval(metrics, key) for metrics in (before, after)]
    if intervals[0] and intervals[1]:
        limit = math.hypot(*((high - low) / 2 for low, high in (intervals[0], intervals[1])))
        return _verdict(way * (new - old), limit, "chance")
    return Verdict("other", UNKNOWN)


def _verdict(gain: float, noise: float, within: str) -> Verdict:
    return Verdict(within if abs(gain) <= noise else "better" if gain > 0 else "worse", "", noise)
