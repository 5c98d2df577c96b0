"""One judge: seeds for the headline, the same instances for the rest, intervals where there are no instances."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stages.babyweight.evaluate import cells as cells_of_births
from stages.babyweight.measures import measures as of_births
from stages.cartpole.measures import measures as of_episodes
from stages.evaluation.judge import NO_NUMBER, NO_QUALITY, UNKNOWN, Difference, Measure, judge, paired
from stages.mnist.measures import measures as of_images
from stages.workloads import find

BIRTHS = find("babyweight")


def births(random: np.random.Generator, spread: float, count: int = 2000) -> dict[str, np.ndarray]:
    actual = random.normal(7, 1.3, count)
    weeks = random.integers(30, 42, count)
    return {"actual": actual, "predicted": actual + random.normal(0, spread, count), "gestation_weeks": weeks}


def test_measures_of_births_are_the_metrics() -> None:
    table = births(np.random.default_rng(1), 1.0)
    errors, preterm = table["predicted"] - table["actual"], table["gestation_weeks"] < 37
    figures = {
        key: float(m.of(np.atleast_1d(m.counted.reshape(len(m.counted), -1).mean(axis=0))))
        for key, m in of_births(table, {"evaluate.preterm_weeks": 37}).items()
    }
    assert figures == pytest.approx(
        {
            "rmse": np.sqrt((errors**2).mean()),
            "mae": np.abs(errors).mean(),
            "r2": 1 - (errors**2).mean() / table["actual"].var(),
            "rmse_preterm": np.sqrt((errors[preterm] ** 2).mean()),
            "rmse_term": np.sqrt((errors[~preterm] ** 2).mean()),
        }
    )


def test_equal_models_are_within_chance_and_a_better_one_is_beyond() -> None:
    random, alarms = np.random.default_rng(2), 0
    for _ in range(60):
        a = births(random, 1.0, 400)
        b = a | {"predicted": a["actual"] + random.normal(0, 1.0, 400)}
        found = paired(*(of_births(t, {"evaluate.preterm_weeks": 37})["rmse"] for t in (a, b)))
        assert found
        alarms += not found.low <= 0 <= found.high
    assert alarms <= 9, "5 in 100 may"
    better = a | {"predicted": a["actual"] + 0.9 * (a["predicted"] - a["actual"])}
    for key in ("rmse", "mae"):
        found = paired(*(of_births(t, {"evaluate.preterm_weeks": 37})[key] for t in (a, better)))
        assert found and found.high < 0, key


def cells(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The table that the evaluation writes of births that are personal."""
    codes = np.zeros((len(table["actual"]), 8), np.uint8)
    preterm = table["gestation_weeks"] < 37
    pounds, predicted = (table[name].astype(np.float32) for name in ("actual", "predicted"))
    rows = list(cells_of_births(codes, pounds, predicted, {"term": ~preterm, "preterm": preterm}))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("key", ["rmse", "mae", "r2", "rmse_preterm", "rmse_term"])
def test_cells_of_births_are_judged_like_the_births(key: str) -> None:
    random = np.random.default_rng(5)
    before = births(random, 1.0, 6000)
    after = before | {"predicted": before["predicted"] + random.normal(0.03, 0.1, 6000)}
    tables = (before, after, cells(before), cells(after))
    one_by_one, found = (
        paired(*(of_births(table, {"evaluate.preterm_weeks": 37})[key] for table in pair))
        for pair in (tables[:2], tables[2:])
    )
    assert one_by_one and found
    assert found.low == pytest.approx(one_by_one.low, abs=0.25 * one_by_one.noise)
    assert found.high == pytest.approx(one_by_one.high, abs=0.25 * one_by_one.noise)
    assert tables[2]["births"].min() >= 20


@pytest.mark.parametrize(("won", "lost", "chance"), [(1, 0, True), (5, 0, True), (6, 0, False), (8, 2, True)])
def test_digits_are_compared_by_mcnemar(won: int, lost: int, chance: bool) -> None:
    before = np.array([False] * won + [True] * (100 - won))
    after = np.array([True] * (100 - lost) + [False] * lost)
    found = paired(Measure(before), Measure(after))
    assert found and (found.low <= 0 <= found.high) is chance
    assert (found.low + found.high) / 2 == pytest.approx((won - lost) / 100)


def test_too_few_instances_are_not_compared() -> None:
    for values in (np.array([]), np.array([1.0])):
        assert paired(Measure(values), Measure(values)) is None
    nobody = np.zeros(5, bool)
    assert paired(Measure(np.ones(5), where=nobody), Measure(np.ones(5), where=nobody)) is None


def test_episodes_in_common_are_compared_by_mean_and_interquartile_mean() -> None:
    returns = np.random.default_rng(3).normal(150, 30, 50)
    for gain, chance in ((0.0, True), (20.0, False)):
        noise = np.random.default_rng(4).normal(0, 5, 50)
        tables = {"return": returns}, {"return": returns + noise + gain}
        for key in ("mean_return", "interquartile_mean_return"):
            found = paired(*(of_episodes(table, {})[key] for table in tables))
            assert found and (found.low <= 0 <= found.high) is chance, key


def test_measures_of_images_are_the_metrics() -> None:
    table = {
        "actual": np.array([7, 7, 1, 2]), "predicted": np.array([7, 1, 1, 2]),
        "probability": np.array([0.9, 0.6, 1.0, 0.8]), "probability_of_actual": np.array([0.9, 0.3, 1.0, 0.8]),
    }  # fmt: skip
    found = of_images(table, {"evaluate.calibration_bins": 10})
    assert found.keys() == {"accuracy", "loss", "expected_calibration_error", "recall.1", "recall.2", "recall.7"}
    assert found["recall.7"].counted.tolist() == [True, False]
    assert found["loss"].counted.mean() == pytest.approx(-np.log([0.9, 0.3, 1.0, 0.8]).mean())
    gaps = found["expected_calibration_error"]
    assert gaps.of(gaps.counted.mean(axis=0)) == pytest.approx((0.1 + 0.6 + 0.0 + 0.2) / 4)


NEVER: Callable[[str], Any] = lambda key: None  # noqa: E731


@pytest.mark.parametrize(
    ("after", "deviation", "difference", "word"),
    [
        (1.0, None, NEVER, "same"),
        (0.99, 0.01, NEVER, "noise"),
        (0.97, 0.01, NEVER, "better"),
        (1.03, 0.01, NEVER, "worse"),
        (0.99, None, lambda key: Difference(-0.02, 0.001), "chance"),
        (0.99, None, lambda key: Difference(-0.02, -0.001), "better"),
        (1.01, None, lambda key: Difference(0.001, 0.02), "worse"),
        (0.9, None, NEVER, "other"),
    ],
)
def test_the_headline(after: float, deviation: float | None, difference: Any, word: str) -> None:
    found = judge(BIRTHS, "rmse", {"rmse": 1.0}, {"rmse": after}, deviation, difference)
    assert found.word == word
    assert (found.note == UNKNOWN) is (word == "other")


def test_seeds_judge_the_headline_alone() -> None:
    found = judge(BIRTHS, "mae", {"mae": 1.0}, {"mae": 0.99}, 0.5, lambda key: Difference(-0.02, -0.001))
    assert found.word == "better"


@pytest.mark.parametrize(("key", "value"), [("solved", True), ("test_births", 3), ("rmse_low", 0.5), ("source", "x")])
def test_facts_are_not_judged(key: str, value: Any) -> None:
    found = judge(BIRTHS, key, {key: None}, {key: value})
    assert found.word == "other"
    assert found.note == (NO_NUMBER if key == "solved" else NO_QUALITY), "and it is said why"
