"""The comparison of agents: what counts as time, and what the table says of it."""

from typing import Any

import pytest

from benchmarks.dqn import AGENTS, ALL, MEASURES, SETS, measured_before, per_solved_run, run, table
from benchmarks.peers.common import TRIAL_EVERY
from tests.conftest import ROOT


def row(agent: int, seed: int, solved: bool, **measured: float) -> dict[str, Any]:
    """A run, all of whose times but these are a second."""
    times = dict.fromkeys(MEASURES, 1.0) | {"late_modules": 0} | measured
    return {
        "env": "CartPole-v1",
        "agent": AGENTS[agent].label,
        "seed": seed,
        "solved": solved,
        **times,
        "measured": "x",
    }


def test_a_solved_run_pays_for_those_that_failed_with_trials_and_evaluation() -> None:
    rows = [row(0, 0, True, training_cpu=2, trials_cpu=3, evaluation_cpu=5), row(0, 1, False, training_cpu=10)]
    assert per_solved_run(rows, "training_cpu") == 12
    assert per_solved_run(rows, *ALL) == 22
    assert per_solved_run(rows[1:], *ALL) == 12, "none solved: a bound"


def test_the_table_compares_whole_runs_and_marks_bounds() -> None:
    rows = [row(0, 0, True, training_cpu=1), row(3, 0, False, training_cpu=7, every=1024)]
    ours, other = (line.split(" | ") for line in table(rows).splitlines()[-2:])
    assert ours[1:4] == ["1 of 1", "1 (1 to 1)", "1.0"] and ours[6:9] == ["1", "3", "1.0"]
    assert other[1:4] == ["0 of 1", "≥ 7 (7 to 7)", "≥ 7.0"] and other[6:10] == ["≥ 7", "≥ 9", "≥ 3.0", "1,024 steps"]
    assert "Nobody imported a module after it." in table(rows)
    assert "At most 3 modules were imported after it." in table([*rows, row(0, 1, True, late_modules=3)])


def test_everyone_is_tried_at_least_as_often_as_this_project_where_that_costs_time() -> None:
    own = {env: changes.get("cartpole.train.stop.eval_freq", 1024) for env, changes in SETS.items()}
    assert all(every <= own[env] for env, every in TRIAL_EVERY.items())


def test_the_documentation_quotes_the_measured_runs() -> None:
    measured = measured_before(ROOT / "benchmarks/results/dqn.csv")
    assert (ROOT / "benchmarks/results/dqn.md").read_text().splitlines()[1:] == table(measured).splitlines()[1:]
    text = (ROOT / "docs/benchmarks.md").read_text()
    for line in table(measured).partition("**LunarLander-v3**")[2].splitlines()[4:]:
        cells = line.strip("| ").split(" | ")
        assert f"| {' | '.join([*cells[:3], cells[4], *cells[7:9]])} |" in text


@pytest.mark.timeout(120)
def test_a_run_of_this_project_imports_nothing_while_its_clock_runs() -> None:
    found = run(AGENTS[0], "CartPole-v0", 0)
    assert found["solved"] and found["late_modules"] == 0
    assert found["every"] == 256 and found["trials"] >= 1
    assert 0 < found["training_cpu"] < found["import_cpu"], "compiling and importing are no training"
    assert all(found[part] > 0 for part in (*ALL, "setup_cpu"))
