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
