import subprocess
from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.workloads import find
from tests.conftest import assert_refused, run_stage
from tests.tools.test_compare import project  # noqa: F401 - a fixture
from tools.sweep import Axis, draws, fractions, workers
from tools.sweep_page import Trial, _place, page_of


def test_lists_make_a_grid() -> None:
    axes = [Axis.parse("a.b=1,2.5"), Axis.parse("a.c=true,false"), Axis.parse("a.d=[32],[64,64]")]
    found = draws(axes, None, 0)
    assert len(found) == 8
    assert found[0] == {"a.b": 1, "a.c": True, "a.d": [32]}
    assert found[-1] == {"a.b": 2.5, "a.c": False, "a.d": [64, 64]}


def test_draws_depend_on_the_seed_alone_and_stay_in_range() -> None:
    axes = [Axis.parse("a=log:1e-4..1e-2"), Axis.parse("b=16..64"), Axis.parse("c=0.5..1.0"), Axis.parse("d=x,y")]
    found = draws(axes, 200, 3)
    assert found == draws(axes, 200, 3) != draws(axes, 200, 4)
    assert found[:50] == draws(axes, 50, 3), "more draws begin with the same ones"
    assert all(1e-4 <= d["a"] <= 1e-2 and 0.5 <= d["c"] <= 1 for d in found)
    assert {type(d["b"]) for d in found} == {int}
    assert {min(d["b"] for d in found), max(d["b"] for d in found)} == {16, 64}
    below = sum(d["a"] < 1e-3 for d in found)
    assert 70 < below < 130, "log: half of the draws lie below the geometric mean"


@pytest.mark.parametrize("text", ["a", "a=", "a=3..1", "a=log:0..1"])
def test_a_wrong_axis_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--set a"):
        Axis.parse(text)


def test_a_range_is_no_grid() -> None:
    with pytest.raises(InputError, match="a range needs --draws"):
        draws([Axis.parse("a=1..2")], None, 0)


def test_rungs_rise_to_one() -> None:
    assert fractions("0.2,1") == [0.2, 1.0]
    for text in ("1,0.5", "0.5", "0,1"):
        with pytest.raises(Exception, match="rising fractions"):
            fractions(text)


def test_at_least_one_worker_and_no_more_than_wanted() -> None:
    assert workers(1, 2) == 1
    assert workers(None, 10**6) == 1


def test_the_page_names_the_best_and_draws_every_trial() -> None:
    trials = [Trial(i, f"s-{i:03d}", {"a": i / 10, "b": "x" if i % 2 else "y"}, 0.9 - i / 100, 1.0) for i in range(5)]
    page = page_of("s", "evaluate.accuracy", 1, trials, 6)
    assert page == page_of("s", "evaluate.accuracy", 1, trials, 6)
    assert "dvc exp apply s-000" in page
    assert all(f"s-{i:03d}" in page for i in range(5))
    assert "evaluate.accuracy" in page
    assert page_of("s", "evaluate.accuracy", 1, trials[:1], 1), "one trial is enough"
    assert '<td class="number">89.00%</td>' in page_of(
        "s", "evaluate.accuracy", 1, trials, 6, find("mnist").metric("accuracy")
    ), "as the report writes it"


def test_a_wide_range_is_drawn_by_its_logarithm_and_words_by_their_rank() -> None:
    assert _place(0.01, [0.001, 0.01, 0.1]) == pytest.approx(0.5)
    assert _place(20, [10, 20, 50]) == 0.25
    assert _place("y", ["x", "y", "z"]) == 0.5
    assert _place(7, [7]) == 0.5


def test_unknown_keys_and_metrics_are_refused_before_anything_runs(project: Path) -> None:  # noqa: F811
    sweep = ["tools.sweep", "s", "mnist", "--root", str(project)]
    assert_refused(run_stage(*sweep, "--set", "mnist.train.rate=1,2"), "mnist.train.rate: params.yaml has no such key")
    known = ["--set", "mnist.train.learning_rate=0.1,0.2"]
    assert_refused(run_stage(*sweep, *known, "--metric", "evaluate.test_images"), "expected a measure of quality")
    assert_refused(run_stage(*sweep, *known, "--rungs", "0.5,1"), "params.yaml has no mnist.train.steps")
    refs = subprocess.run(["git", "for-each-ref", "refs/exps"], cwd=project, capture_output=True, text=True, check=True)
    assert refs.stdout == ""
