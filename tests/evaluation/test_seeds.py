"""Seeds of a recipe: which count, and what is made of them."""

from pathlib import Path
from typing import Any

import pytest

from stages.core.files import write_table
from stages.evaluation.seeds import COLUMNS, CURVE_COLUMNS, CURVES, POINTS, SEEDS, Points, Seeds, read, recipe, thinned

PARAMS: dict[str, Any] = {
    "seed": 5,
    "runtime": {"threads": 2},
    "weather": {"train": {"steps": 3}, "operation": {"max_to_keep": 2}},
}


def test_a_recipe_is_all_parameters_but_the_seed_and_how_it_is_carried_out() -> None:
    own = recipe("weather", PARAMS)
    operated = {**PARAMS["weather"], "operation": {"max_to_keep": 9}}
    assert recipe("weather", {**PARAMS, "seed": 6, "weather": operated, "other": {}}) == own
    assert recipe("weather", {**PARAMS, "weather": {"train": {"steps": 4}}}) != own
    assert recipe("weather", {**PARAMS, "runtime": {"threads": 1}}) != own


def write(root: Path, seeds: dict[str, list[float]], curves: list[tuple[str, int, float, float]]) -> None:
    """Write results by recipe, and points of curves."""
    rows = [
        {**dict.fromkeys(COLUMNS, ""), "workload": "weather", "recipe": name, "seed": seed, "test": value}
        for name, values in seeds.items()
        for seed, value in enumerate(values)
    ]
    write_table(root / SEEDS, rows, COLUMNS)
    points = [dict(zip(CURVE_COLUMNS, ("weather", *point), strict=True)) for point in curves]
    write_table(root / CURVES, points, CURVE_COLUMNS)


def test_only_seeds_of_the_present_recipe_count(tmp_path: Path) -> None:
    assert read(tmp_path, PARAMS) == {}, "nothing was measured"
    own = recipe("weather", PARAMS)
    write(tmp_path, {own: [1.0, 2.0, 3.0], "0": [9.0] * 5}, [(own, 1, 10, 0.5), ("0", 1, 10, 7.0), (own, 8, 10, 7.0)])
    (found,) = read(tmp_path, PARAMS).values()
    assert found == Seeds({0: 1.0, 1: 2.0, 2: 3.0}, {1: [(10.0, 0.5)]}), "a curve without its result does not count"
    assert found.deviation == 1.0
    changed = {**PARAMS, "weather": {"train": {"steps": 4}}}
    assert read(tmp_path, changed) == {}


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end() -> None:
    found = Seeds(dict(enumerate([0.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 999.0]))).interquartile_mean
    assert found.value == 12.5
    assert found.low is not None and found.high is not None and found.low < 12.5 < found.high
    assert Seeds({0: 1.0, 1: 2.0}).deviation is None


def test_the_band_holds_a_run_that_ended_at_its_last_value() -> None:
    rising: Points = [(10.0, 0.0), (20.0, 10.0)]
    curves = {0: rising, 1: [*rising, (40.0, 10.0)], 2: [(20.0, 10.0), (40.0, 30.0)]}
    band = Seeds({}, curves).band()
    assert [step for step, _ in band] == [20.0, 40.0], "from where all have begun"
    assert [e.value for _, e in band] == [10.0, pytest.approx(50 / 3)]
    assert band[1][1].low == 10.0 and 10 < (band[1][1].high or 0) <= 30
    assert Seeds({}, {0: rising, 1: rising}).band() == [], "two are no spread"


def test_a_band_of_many_points_is_thinned() -> None:
    points = [(float(step), float(step)) for step in range(1, 1001)]
    band = Seeds({}, dict.fromkeys(range(3), points)).band()
    assert len(band) == POINTS and (band[0][0], band[-1][0]) == (1.0, 1000.0)
    kept = thinned(points)
    assert len(kept) == POINTS and kept[0] == (25.0, 13.0) and kept[-1][0] == 1000.0
    assert thinned(points[:3]) == points[:3] and thinned([]) == []
