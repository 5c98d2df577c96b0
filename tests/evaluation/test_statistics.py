"""Intervals and tests against figures from the literature, exact counts and simulations."""

import math

import numpy as np
import pytest

from stages.evaluation import statistics
from stages.evaluation.statistics import NOTHING, ErrorSums, Estimate, Group, differing


def sums_of(errors: np.ndarray, actual: np.ndarray, blocks: int = 1, centre: float = 0.0) -> ErrorSums:
    found = ErrorSums(centre=centre)
    for part in np.array_split(np.arange(len(errors)), blocks):
        found.add((actual + errors)[part], actual[part])
    return found


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (9, 10, 0.5958, 0.9821),
        (1, 1, 0.2065, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson(hits: int, count: int, low: float, high: float) -> None:
    """The last is Newcombe's example of 1998; the others are exact to four digits."""
    assert statistics.share(hits, count) == pytest.approx((hits / count, low, high), abs=6e-5)


def test_nothing_and_one_have_no_interval_but_no_error() -> None:
    none = np.array([])
    assert statistics.share(0, 0) == NOTHING == statistics.mean(none) == statistics.calibration_error(none)
    assert statistics.bootstrapped(none, statistics.plain_mean) == NOTHING
    empty, one = ErrorSums(), sums_of(np.array([0.5]), np.array([7.0]))
    assert empty.rmse() == empty.mae() == empty.bias() == empty.r2() == one.r2() == NOTHING
    assert one.rmse() == one.mae() == one.bias() == Estimate(0.5)
    assert statistics.mean(np.array([2.0])) == Estimate(2.0)
    assert statistics.bootstrapped(np.array([2.0]), statistics.plain_mean) == Estimate(2.0)
    three = sums_of(np.array([0.5, -0.25, 1.0]), np.array([7.0, 6.0, 8.0]))
    for low, value, high in ((e.low, e.value, e.high) for e in (three.rmse(), three.mae(), three.bias(), three.r2())):
        assert low is not None and value is not None and high is not None
        assert math.isfinite(low) and low <= value <= high
    equal = sums_of(np.zeros(3), np.full(3, 7.0))
    assert (equal.rmse(), equal.r2()) == (Estimate(0.0, 0.0, 0.0), NOTHING)


def test_errors_are_those_of_all_instances_at_once_in_any_blocks() -> None:
    random = np.random.default_rng(1)
    actual, errors = random.normal(7, 1.3, 5000), random.standard_t(6, 5000)
    whole, parts = sums_of(errors, actual), sums_of(errors, actual, blocks=7, centre=7.0)
    for figure in ("rmse", "mae", "r2", "bias"):
        assert getattr(parts, figure)() == pytest.approx(getattr(whole, figure)(), rel=1e-9), figure
    assert whole.rmse().value == pytest.approx(np.sqrt((errors**2).mean()))
    assert whole.mae().value == pytest.approx(np.abs(errors).mean())
    assert whole.r2().value == pytest.approx(1 - (errors**2).mean() / actual.var())
    assert whole.bias().value == pytest.approx(errors.mean())


def test_the_closed_form_is_the_bootstrap() -> None:
    random = np.random.default_rng(2)
    actual = random.normal(7, 1.3, 3000)
    errors = random.standard_t(8, 3000) + 0.2 * (actual - 7)
    sums = sums_of(errors, actual)
    parts = np.stack([errors**2, np.abs(errors), actual, actual**2], axis=1)
    squares, absolute, values, value_squares = statistics.resampled_means(parts).T
    for estimate, drawn in (
        (sums.rmse(), np.sqrt(squares)),
        (sums.mae(), absolute),
        (sums.r2(), 1 - squares / (value_squares - values**2)),
    ):
        low, high = statistics.percentiles(drawn)
        width = high - low
        assert estimate.low == pytest.approx(low, abs=0.08 * width)
        assert estimate.high == pytest.approx(high, abs=0.08 * width)


def test_intervals_cover_the_truth_in_95_of_100_test_sets() -> None:
    random, covered = np.random.default_rng(3), np.zeros(4)
    for _ in range(400):
        actual, errors = random.normal(0, 2, 200), random.normal(0, 1, 200)
        hits = int((random.random(200) < 0.97).sum())
        truths = {"rmse": 1.0, "mae": math.sqrt(2 / math.pi), "r2": 0.75}
        sums = sums_of(errors, actual)
        found = [getattr(sums, figure)() for figure in truths] + [statistics.share(hits, 200)]
        covered += [e.low <= truth <= e.high for e, truth in zip(found, [*truths.values(), 0.97], strict=True)]
    assert (covered / 400 > 0.92).all() and (covered / 400 < 0.99).all(), covered / 400


def test_the_interquartile_mean_is_the_mean_of_the_middle_half() -> None:
    assert statistics.interquartile_mean(np.array([100.0, 3, 1, 2, -50])) == 2.0
    assert statistics.interquartile_mean(np.arange(8.0)) == np.arange(2.0, 6.0).mean()
    assert statistics.interquartile_mean(np.array([[7.0], [9.0]])).tolist() == [7.0, 9.0]
    returns = np.array([200.0] * 90 + [10.0] * 10)
    iqm = statistics.bootstrapped(returns, statistics.interquartile_mean)
    mean = statistics.bootstrapped(returns, statistics.plain_mean)
    assert iqm == (200.0, 200.0, 200.0)
    assert (
        mean.value == 181 and mean.low == pytest.approx(169.6, abs=1.5) and mean.high == pytest.approx(191.5, abs=1.5)
    )
    assert mean == statistics.bootstrapped(returns, statistics.plain_mean), "the same resamples each time"


def test_cells_keep_the_spread_of_a_mean() -> None:
    values = np.random.default_rng(4).exponential(size=(30_000, 1))
    assert statistics.resampled_means(values).std() == pytest.approx(values.std() / np.sqrt(30_000), rel=0.05)


def test_the_calibration_error_of_a_calibrated_model_may_be_zero() -> None:
    random = np.random.default_rng(5)
    confidence = random.uniform(0.3, 1.0, 4000)
    for shift, from_zero in ((0.0, True), (0.2, False)):
        hits = random.random(4000) < confidence - shift
        gaps = statistics.calibration_gaps(confidence, hits, 10)
        found = statistics.calibration_error(gaps)
        assert found.low is not None and found.value is not None and found.high is not None
        assert (found.low == 0) is from_zero
        assert found.low <= found.value <= found.high
        assert found.low < shift + 0.02 and shift < found.high


def test_exact_tests() -> None:
    """The values of R's mcnemar.exact, binom.test and fisher.test."""
    assert statistics.mcnemar(8, 2) == pytest.approx(0.109375)
    assert statistics.mcnemar(0, 6) == pytest.approx(0.03125)
    assert statistics.mcnemar(0, 0) == statistics.mcnemar(5, 5) == 1.0
    assert statistics.mcnemar(600, 400) < 1e-9
    assert statistics.fisher(3, 4, 1, 4) == pytest.approx(0.4857143)
    assert statistics.fisher(1, 10, 11, 14) == pytest.approx(0.002759456)
    assert statistics.normal_p(1.959963984540054) == pytest.approx(0.05)


def test_holm() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert statistics.holm([]) == []


def of_errors(name: str, errors: np.ndarray) -> Group:
    return Group("x", name, len(errors), sums_of(errors, np.zeros(len(errors))).rmse())


def test_the_groups_that_differ_by_more_than_chance() -> None:
    random = np.random.default_rng(6)
    parts = {"worse": random.normal(0, 1.3, 800), "few": random.normal(0, 2, 12), "one": np.array([3.0])}
    parts |= {f"like {i}": random.normal(0, 1, 500) for i in range(20)}
    everything = of_errors("all", np.concatenate(list(parts.values())))
    found = differing([of_errors(name, errors) for name, errors in parts.items()], everything, is_share=False)
    assert [group.value for group, answer in found if answer] == ["worse"]
    assert len(found) == len(parts)


def test_without_a_difference_hardly_any_group_is_told() -> None:
    random, alarms = np.random.default_rng(7), 0
    for _ in range(200):
        parts = [random.normal(0, 1, 300) for _ in range(12)]
        everything = of_errors("all", np.concatenate(parts))
        alarms += any(answer for _, answer in differing([of_errors("g", p) for p in parts], everything, False))
    assert alarms < 20, "5 in 100 may"


def test_shares_are_compared_exactly() -> None:
    groups = [Group("digit", str(d), 1000, statistics.share(hits, 1000)) for d, hits in enumerate((995, 994, 960, 996))]
    everything = Group("all", "all", 4000, statistics.share(3945, 4000))
    assert [answer for _, answer in differing(groups, everything, is_share=True)] == [True, True, True, True]
    even = [group._replace(estimate=statistics.share(995, 1000)) for group in groups]
    assert not any(answer for _, answer in differing(even, Group("a", "a", 4000, statistics.share(3980, 4000)), True))


def test_a_group_without_error_differs_from_one_with() -> None:
    none, some = np.zeros(50), np.random.default_rng(8).normal(0, 1, 50)
    both = of_errors("all", np.concatenate([none, some]))
    assert [a for _, a in differing([of_errors("none", none), of_errors("some", some)], both, False)] == [True, True]
    assert differing([], both, False) == []
