import numpy as np
import pytest

from stages.babyweight.source.births import FEATURES
from stages.babyweight.source.distributions import Distributions

RNG = np.random.default_rng(3)
FEATURE_ROWS = RNG.integers(1, 3, (1000, 8)).astype(np.uint8)
FEATURE_ROWS[:, FEATURES.index("gestation_weeks")] = RNG.integers(17, 48, 1000)
WEIGHTS = RNG.gamma(30, 0.25, 1000).astype(np.float32)


def test_sums_do_not_depend_on_the_blocks() -> None:
    whole, parts = Distributions.of(FEATURE_ROWS, WEIGHTS), Distributions.empty()
    for first in range(0, 1000, 7):
        parts.add(Distributions.of(FEATURE_ROWS[first : first + 7], WEIGHTS[first : first + 7]))
    assert whole == parts and whole != Distributions.of(FEATURE_ROWS[1:], WEIGHTS[1:])


def test_figures_are_those_of_the_births() -> None:
    found = Distributions.of(FEATURE_ROWS, WEIGHTS)
    numbers, metrics = found.numbers(), found.metrics()
    pounds = numbers["weight_pounds"]
    assert (pounds["least"], pounds["most"]) == pytest.approx((WEIGHTS.min(), WEIGHTS.max()), rel=1e-5)
    assert pounds["mean"] == pytest.approx(WEIGHTS.mean(dtype=float), rel=1e-5)
    weeks = FEATURE_ROWS[:, FEATURES.index("gestation_weeks")]
    assert numbers["gestation_weeks"] == {"least": 17, "most": 47, "mean": pytest.approx(weeks.mean(), rel=1e-5)}
    assert metrics["weights"]["deviation"] == pytest.approx(WEIGHTS.std(dtype=float), rel=1e-4)
    boys = FEATURE_ROWS[:, 0] == 2
    assert metrics["weights"]["mean_of_boys"] == pytest.approx(WEIGHTS[boys].mean(dtype=float), rel=1e-5)
    assert metrics["weights"]["below_2500_g"] == np.count_nonzero(WEIGHTS < 5.5116)
    assert sum(metrics["weights"]["bins"].values()) == 1000
    assert metrics["weights"]["bins"]["7"] == np.count_nonzero((WEIGHTS >= 7) & (WEIGHTS < 7.5))
    assert metrics["values"]["is_male"] == {"False": 1000 - boys.sum(), "True": boys.sum()}


def test_figures_of_no_birth_and_of_one() -> None:
    none = Distributions.empty()
    assert (none.births, none.least, none.most, none.numbers()) == (0, np.inf, 0, {})
    weight = 7 + 2.0**-20  # the parts of a pound that are counted
    boy = np.array([[2, 26, 1, 1, 39, 1, 1, 1]], np.uint8)
    one = Distributions.of(boy, np.array([weight], np.float32))
    assert one.by_sex[2] == np.float32(weight) and one.births == 1
    assert (one.singletons[:, 39] == [1, np.float32(weight)]).all() and not one.others.any()
    for found, mean in ((none, None), (one, 7.0)):
        assert found.metrics()["weights"]["mean_of_boys"] == mean
        assert found.metrics()["weights"]["mean_of_girls"] is None
        assert found.metrics()["weights"]["deviation"] == pytest.approx(0, abs=0.01)


def test_births_of_one_baby_and_of_more_are_told_apart() -> None:
    found = Distributions.of(FEATURE_ROWS, WEIGHTS)
    is_twin = FEATURE_ROWS[:, FEATURES.index("plurality")] > 1
    assert [found.singletons[0].sum(), found.others[0].sum()] == [1000 - is_twin.sum(), is_twin.sum()]
    assert found.others[1].sum() == pytest.approx(WEIGHTS[is_twin].sum(dtype=float), rel=1e-6)
