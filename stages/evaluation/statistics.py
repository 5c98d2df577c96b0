"""Intervals and tests over held-out instances, by NumPy alone.

An interval covers the true value in 95 of 100 test sets; its ends are None where there are too few instances to say.
Random resamples have a fixed seed, so the same instances give the same interval.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stages.core.files import significant

Floats = npt.NDArray[np.float64]

Z = 1.959963984540054  # 97.5th percentile of the normal distribution
LEVEL = 0.05  # share of false alarms that the tests allow
RESAMPLES = 4000
CELLS = 1000  # of instances that are drawn together, where there are more instances than that
VALUES_AT_ONCE = 1_000_000


class Estimate(NamedTuple):
    """A figure and its interval; None is no value."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def metrics(self, key: str) -> dict[str, float | None]:
        """The figure and the ends of its interval as `key`, `key_low` and `key_high`, to six digits."""
        names = (key, f"{key}_low", f"{key}_high")
        return {name: None if v is None else significant(float(v)) for name, v in zip(names, self, strict=True)}


NOTHING = Estimate(None)


def share(hits: int, count: int) -> Estimate:
    """A share with Wilson's score interval.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (1927).
    """
    if not count:
        return NOTHING
    found, square = hits / count, Z**2 / count
    middle = (found + square / 2) / (1 + square)
    half = Z * math.sqrt(found * (1 - found) / count + square / (4 * count)) / (1 + square)
    return Estimate(found, min(found, max(0.0, middle - half)), max(found, min(1.0, middle + half)))


def mean(values: Floats) -> Estimate:
    """The mean of values [n], with the normal interval."""
    return _mean(len(values), float(values.sum()), float((values**2).sum()))


def _mean(count: int, total: float, squares: float) -> Estimate:
    if not count:
        return NOTHING
    found = total / count
    if count == 1:
        return Estimate(found)
    half = Z * math.sqrt(max(0.0, squares / count - found**2) / (count - 1))
    return Estimate(found, found - half, found + half)


class ErrorSums:
    """Sums over instances, by group, from which errors follow with closed-form intervals (by the delta method).

    They are added up block by block, so that any number of instances fits into memory.

    Args:
        groups: how many groups there are.
        centre: any value near the mean of the actual ones; sums around it keep their digits.
    """

    def __init__(self, groups: int = 1, centre: float = 0.0) -> None:
        self.centre = centre
        self.counts = np.zeros(groups, np.int64)
        self._sums: dict[str, npt.NDArray[Any]] = {}

    def add(
        self, predicted: Floats | float, actual: Floats, groups: npt.NDArray[np.integer[Any]] | None = None
    ) -> None:
        """Add a block: predictions [n] or one for all, actual values [n], and groups [n], by default the first."""
        place = np.zeros(len(actual), np.int64) if groups is None else groups
        error, a = predicted - actual, actual - self.centre
        e2, a2 = error**2, a**2
        products = {
            "e": error, "|e|": np.abs(error), "e2": e2, "e4": e2**2,
            "a": a, "a2": a2, "a3": a2 * a, "a4": a2**2, "e2a": e2 * a, "e2a2": e2 * a2,
        }  # fmt: skip
        size = len(self.counts)
        self.counts += np.bincount(place, minlength=size)
        for name, values in products.items():
            self._sums[name] = self._sums.get(name, 0.0) + np.bincount(place, values, size)

    def count(self, group: int | None = None) -> int:
        """Instances of a group; None, here and below: of all groups."""
        return int(self.counts.sum() if group is None else self.counts[group])

    def _sum(self, name: str, group: int | None) -> float:
        return float(self._sums[name].sum() if group is None else self._sums[name][group])

    def _means(self, group: int | None) -> dict[str, float]:
        return {name: self._sum(name, group) / self.count(group) for name in self._sums}

    def rmse(self, group: int | None = None) -> Estimate:
        """Root mean square error; the interval is symmetric in its logarithm."""
        count = self.count(group)
        if not count:
            return NOTHING
        m = self._means(group)
        found = math.sqrt(m["e2"])
        if count == 1:
            return Estimate(found)
        factor = math.exp(_half_log(count, m["e2"], m["e4"]) / 2) if found else 1.0
        return Estimate(found, found / factor, found * factor)

    def _mean(self, name: str, group: int | None) -> Estimate:
        return _mean(self.count(group), self._sum(name, group), self._sum("e2", group)) if self._sums else NOTHING

    def mae(self, group: int | None = None) -> Estimate:
        """Mean absolute error."""
        found = self._mean("|e|", group)
        return found if found.low is None else found._replace(low=max(0.0, found.low))

    def bias(self, group: int | None = None) -> Estimate:
        """Mean of prediction less actual value."""
        return self._mean("e", group)

    def r2(self, group: int | None = None) -> Estimate:
        """Share of the variance that is explained; no value if all actual values are equal."""
        count = self.count(group)
        if count < 2:
            return NOTHING
        m = self._means(group)
        variance = m["a2"] - m["a"] ** 2
        if variance <= 1e-12 * m["a2"]:
            return NOTHING
        found = 1 - m["e2"] / variance
        # How much one instance moves it: a sum of its squared error, its squared value and its value.
        slopes = np.array([-1.0, m["e2"] / variance, -2 * m["a"] * m["e2"] / variance]) / variance
        means = np.array([m["e2"], m["a2"], m["a"]])
        products = np.array(
            [[m["e4"], m["e2a2"], m["e2a"]], [m["e2a2"], m["a4"], m["a3"]], [m["e2a"], m["a3"], m["a2"]]]
        )
        spread = float(slopes @ (products - np.outer(means, means)) @ slopes)
        half = Z * math.sqrt(max(0.0, spread) / (count - 1))
        return Estimate(found, found - half, min(1.0, found + half))


def _half_log(count: int, square: float, fourth: float) -> float:
    """Half an interval's width of the logarithm of a mean square, from the means of squares and fourth powers."""
    return Z * math.sqrt(max(0.0, fourth - square**2) / (count - 1)) / square


def interquartile_mean(values: Floats) -> Floats:
    """Mean of the middle half of values [..., n], in which a quarter of them, rounded down, is cut from either end.

    Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021), rliable.
    """
    cut = values.shape[-1] // 4
    found: Floats = np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)
    return found


def plain_mean(values: Floats) -> Floats:
    """Mean of values [..., n]."""
    found: Floats = values.mean(axis=-1)
    return found


def resampled(values: Floats, statistic: Callable[[Floats], Floats]) -> Floats:
    """A statistic of values [..., n] in resamples [..., RESAMPLES] of the same n instances each."""
    random, count = np.random.default_rng(0), values.shape[-1]
    at_once = max(1, VALUES_AT_ONCE // max(1, values.size))
    parts = [
        statistic(values[..., random.integers(count, size=(min(at_once, RESAMPLES - start), count))])
        for start in range(0, RESAMPLES, at_once)
    ]
    return np.concatenate(parts, axis=-1)


def bootstrapped(values: Floats, statistic: Callable[[Floats], Floats]) -> Estimate:
    """A statistic of values [n] with the bootstrap's percentile interval."""
    if not len(values):
        return NOTHING
    found = float(statistic(values))
    return Estimate(found, *percentiles(resampled(values, statistic))) if len(values) > 1 else Estimate(found)


def percentiles(values: Floats) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile."""
    low, high = np.quantile(values, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def resampled_means(parts: Floats) -> Floats:
    """Means [RESAMPLES, k] of columns [n, k] in resamples of the n instances.

    Where there are many, those of one cell are drawn together, which leaves the spread of the means as it is.
    """
    cells = min(len(parts), CELLS)
    sums = np.stack([parts[start::cells].sum(axis=0) for start in range(cells)])
    sizes = np.array([len(parts[start::cells]) for start in range(cells)])
    random = np.random.default_rng(0)
    found = []
    for _ in range(0, RESAMPLES, 500):
        drawn = random.multinomial(cells, np.full(cells, 1 / cells), size=500)
        found.append(drawn @ sums / (drawn @ sizes)[:, None])
    return np.concatenate(found)


def confidence_bins(confidence: Floats, bins: int) -> npt.NDArray[np.int64]:
    """The bin [n] of each confidence, of so many equally wide ones from 0 to 1; certainty belongs to the last."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def calibration_gaps(confidence: Floats, hits: npt.NDArray[np.bool_], bins: int) -> Floats:
    """Each instance's hit less its confidence, in the column [n, bins] of its bin."""
    found = np.zeros((len(hits), bins))
    found[np.arange(len(hits)), confidence_bins(confidence, bins)] = hits - confidence
    return found


def calibration_error(parts: Floats) -> Estimate:
    """Expected calibration error, from `calibration_gaps`.

    Resamples have a larger error than the instances they are drawn from; by as much the interval is moved down.
    """
    if not len(parts):
        return NOTHING
    found = float(np.abs(parts.mean(axis=0)).sum())
    if len(parts) == 1:
        return Estimate(found)
    low, high = percentiles(np.abs(resampled_means(parts)).sum(axis=1))
    return Estimate(found, min(found, max(0.0, 2 * found - high)), max(found, 2 * found - low))


def normal_p(z: float) -> float:
    """Probability of a normal value at least this far from zero on either side."""
    return math.erfc(abs(z) / math.sqrt(2))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def mcnemar(won: int, lost: int) -> float:
    """Exact two-sided p-value of McNemar's test: of the instances that changed, so many became right and wrong."""
    changed, fewer = won + lost, min(won, lost)
    if won == lost:
        return 1.0
    return min(1.0, 2 * sum(math.exp(_log_choose(changed, k) - changed * math.log(2)) for k in range(fewer + 1)))


def fisher(hits: int, count: int, other_hits: int, other_count: int) -> float:
    """Exact two-sided p-value of Fisher's test of two shares."""
    both, total = hits + other_hits, count + other_count

    def probability(k: int) -> float:
        return math.exp(_log_choose(count, k) + _log_choose(other_count, both - k) - _log_choose(total, both))

    seen = probability(hits) * (1 + 1e-9)
    possible = map(probability, range(max(0, both - other_count), min(count, both) + 1))
    return min(1.0, sum(p for p in possible if p <= seen))


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several tests are significant, with at most LEVEL for a single false alarm among all of them.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979).
    """
    found = [False] * len(p_values)
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > LEVEL / (len(p_values) - place):
            break
        found[index] = True
    return found


class Group(NamedTuple):
    """A figure of the instances that have something in common, such as `sex`, `girl`."""

    group: str
    value: str
    instances: int
    estimate: Estimate


FEWEST = 30
"""Instances of a group that is tested against the rest."""


def differing(groups: Iterable[Group], overall: Group, is_share: bool) -> list[tuple[Group, bool]]:
    """Each group, and whether it differs from all other instances by more than chance.

    Shares are tested by Fisher's exact test, root mean squares by the normal test of their logarithms, and all together
    by Holm's procedure. Groups of less than FEWEST instances, or of all, are not tested.
    """
    groups = list(groups)
    tested = [g for g in groups if FEWEST <= g.instances <= overall.instances - FEWEST and g.estimate.low is not None]
    test = _share_p if is_share else _rms_p
    significant_ = holm([test(group, overall) for group in tested])
    found = {id(group): answer for group, answer in zip(tested, significant_, strict=True)}
    return [(group, found.get(id(group), False)) for group in groups]


def _share_p(group: Group, overall: Group) -> float:
    (hits, count), (all_hits, all_count) = (
        (round((g.estimate.value or 0.0) * g.instances), g.instances) for g in (group, overall)
    )
    return fisher(hits, count, all_hits - hits, all_count - count)


def _rms_p(group: Group, overall: Group) -> float:
    """By the sums of squares and fourth powers, which the intervals tell: those of the rest are what is left."""
    own, everything = (_power_sums(g) for g in (group, overall))
    # Figures have six digits: what is left of five is nothing.
    rest = [b - a if b - a > 1e-5 * b else 0.0 for a, b in zip(own, everything, strict=True)]
    logs, variances = [], []
    for count, squares, fourths in (own, rest):
        square = squares / count
        logs.append(math.log(square) if square else -math.inf)
        variances.append((_half_log(round(count), square, fourths / count) / Z) ** 2 if square else 0.0)
    if not sum(variances):
        return 1.0 if logs[0] == logs[1] else 0.0
    return normal_p((logs[0] - logs[1]) / math.sqrt(sum(variances)))


def _power_sums(group: Group) -> tuple[float, float, float]:
    value, low, high = (end or 0.0 for end in group.estimate)
    square, count = value**2, group.instances
    half = math.log(high / low) if low else 0.0  # of the logarithm of the mean square: twice that of its root
    return count, count * square, count * ((half / Z * square) ** 2 * (count - 1) + square**2)
