"""What the report says of other seeds."""

from pathlib import Path

from markupsafe import Markup

from stages.evaluation.seeds import Seeds
from stages.report.build import result_card
from stages.report.run import Run, Story
from stages.report.seeds import section
from tests.conftest import ROOT

VALUES = {0: 1.02, 1: 1.022, 2: 1.024, 3: 1.026}


def run() -> Run:
    return Run(ROOT, "babyweight", {})


def test_a_section_has_the_interquartile_mean_its_interval_and_a_band() -> None:
    curves = {seed: [(100.0, value + 0.1), (200.0, value)] for seed, value in VALUES.items()}
    told = section(run(), Seeds(VALUES, curves))
    assert "4 seeds besides this one: interquartile mean of the RMSE 1.0230 lb, 95% interval 1.0" in told
    assert "from 1.0200 to 1.0260 lb; standard deviation 0.0026 lb" in told
    assert "<svg" in told and "Over seeds: validation rmse" in told and "Interquartile mean of 4 seeds" in told
    assert "nan" not in told.lower().replace("nance", "")


def test_without_seeds_of_the_recipe_the_section_says_how_to_run_them() -> None:
    for seeds in (None, Seeds({0: 1.0, 1: 1.1})):
        told = section(run(), seeds)
        assert "was not measured for this recipe: <code>make seeds WORKLOAD=babyweight</code>" in told
    assert "<svg" not in section(run(), Seeds(VALUES)), "rows without curves have no band"


def test_a_workload_that_names_no_metric_has_no_section(tmp_path: Path) -> None:
    assert section(Run(tmp_path, "weather", {}), None) == ""


def test_the_card_tells_the_seeds_beside_the_shipped_one() -> None:
    told = result_card(run(), Story((), None, Markup()), {}, {"babyweight": Seeds(VALUES)})
    assert "4 other seeds: 1.0230 lb, 95% interval" in told and "standard deviation 0.0026 lb" in told
