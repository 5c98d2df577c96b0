"""The report of this project's results, and of a workload that nobody wrote a story for."""

import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.babyweight import report as births
from stages.cartpole import report as agent
from stages.core.errors import InputError
from stages.core.files import digest, write_json, write_table
from stages.core.params import load
from stages.evaluation.groups import ErrorGroups
from stages.evaluation.seeds import read
from stages.evaluation.statistics import ErrorSums
from stages.mnist import report as digits
from stages.report import groups
from stages.report.build import against_baseline, evaluated, main, metrics, model_panel, result_card, story, summary
from stages.report.page import NO_CURVE
from stages.report.run import Run
from stages.workloads import Groups, Metric, Workload
from tests.conftest import ROOT, run_stage

RMSE = Metric("rmse", "RMSE", "{:.3f} lb")


def test_the_readme_shows_the_results() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    table = lines[lines.index(summary([]).splitlines()[0]) :]
    table = table[: table.index("")]
    shown = {line.split("|")[1].strip() for line in table[2:]}
    assert len(shown) >= 3
    runs = [run for run in evaluated(ROOT, load(ROOT / "params.yaml")) if run.name in shown]
    assert summary(runs).splitlines() == table


def test_the_readme_quotes_the_measured_seeds() -> None:
    measured = read(ROOT, load(ROOT / "params.yaml"))
    assert {name: len(seeds.values) for name, seeds in measured.items()} == dict.fromkeys(measured, 10)
    mean = {name: statistics.mean(seeds.values.values()) for name, seeds in measured.items()}
    sd = {name: seeds.deviation or 0.0 for name, seeds in measured.items()}
    births = f"babyweight {mean['babyweight']:.4f} ± {sd['babyweight']:.4f} lb"
    digits = f"mnist {100 * mean['mnist']:.2f} ± {100 * sd['mnist']:.2f} %"
    agent = f"cartpole {mean['cartpole']:g} ± {sd['cartpole']:g}"
    assert f"{births}, {digits}, {agent}" in (ROOT / "README.md").read_text()


@pytest.fixture
def weather(tmp_path: Path) -> Run:
    """A fourth workload: results, a model's provenance, and no code in the report."""
    results, model = tmp_path / "results" / "weather", tmp_path / "models" / "weather"
    write_json(results / "evaluate.json", {"stations": 12, "mae": 1.25, "baselines": {"mean": {"mae": 2.5}}})
    tensor = {"dtype": "float32", "shape": [-1], "tensor": "x:0"}
    signature: dict[str, Any] = {"inputs": {"pressure": tensor}, "outputs": {"rain": tensor}}
    files = {"saved_model.pb": {"bytes": 1234, "sha256": "0"}}
    described = {"signatures": {"serving_default": signature}, "files": files, "variables": {"weights": 7}}
    write_json(results / "signature.json", described)
    answers = {"checks_passed": True, "predictions": [{"rain": 0.5}], "model_digest": "abc"}
    write_json(results / "predictions.json", answers)
    made: dict[str, Any] = {"settings": {"device": "CPU"}, "packages": {"keras": "3"}, "inputs": {}, "code": {}}
    write_json(model / "assets.extra" / "provenance.json", made)
    (run,) = evaluated(tmp_path, {"weather": {"train": {}}, "seed": 1, "export": {"as_text": False}})
    return run


def test_a_workload_without_a_story_gets_a_card_a_table_and_a_panel(weather: Run) -> None:
    told = story(weather)
    assert weather.workload.title == "Weather"
    assert [metric.key for metric in metrics(weather)] == ["mae"]
    shown = result_card(weather, told, {"weather": {"mae": 1.5}})
    assert "1.25" in shown and "not judged against before: 1.5" in shown
    assert "baselines.mean.mae" in told.body and "stations" in told.body
    panel = model_panel(weather)
    assert "pressure" in panel and "1 answers, equal and right" in panel
    assert summary([weather]).splitlines()[-1] == "| weather | mae | 1.25 | \N{EN DASH} |"


@pytest.mark.parametrize(
    ("baseline", "deviation", "words"),
    [
        ({"rmse": 1.2}, 0.01, "better than before: 1.200 lb"),
        ({"rmse": 0.9}, 0.01, "worse than before: 0.900 lb"),
        ({"rmse": 1.0002}, 0.0003, "within seed noise of before: 1.00020 lb"),
        ({"rmse": 1.2, "rmse_low": 1.1, "rmse_high": 1.3}, None, "better than before: 1.200 lb"),
        ({"rmse": 1.05, "rmse_low": 0.95, "rmse_high": 1.15}, None, "within chance of before: 1.050 lb"),
        ({"rmse": 1.2}, None, "not judged against before: 1.200 lb"),
        ({"rmse": 1.0}, None, "as before"),
        ({}, None, "new"),
    ],
)
def test_the_headline_is_judged_against_the_accepted_results(
    baseline: dict[str, float], deviation: float | None, words: str
) -> None:
    now = {"rmse": 1.0, "rmse_low": 0.95, "rmse_high": 1.05}
    headline = Workload("x", "X", metrics=(RMSE,))
    assert words in against_baseline(headline, RMSE, now, baseline, deviation)


def test_groups_are_drawn_with_intervals_and_told_in_words(weather: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = Workload("weather", "Weather", metrics=(RMSE,), groups=Groups("rmse", "days"))
    monkeypatch.setitem(weather.__dict__, "workload", declared)
    random = np.random.default_rng(1)
    errors = {"dry": random.normal(0, 1, 500), "wet": random.normal(0, 2, 400), "snow": np.array([1.5])}
    sums = ErrorGroups({"sky": list(errors)}, "days", {})
    every = np.concatenate(list(errors.values()))
    sums.add({"sky": np.repeat([0, 1, 2], [500, 400, 1])}, every, np.zeros(901))
    total = ErrorSums()
    total.add(every, np.zeros(901))
    write_json(weather.folder / "evaluate.json", total.rmse().metrics("rmse"))
    write_table(weather.folder / "evaluation/groups.csv", sums.rows(), sums.header)
    told = groups.section(weather)
    assert "Worse than all others: sky: wet (" in told and "Better than all others: sky: dry (" in told
    assert told.index(">wet<") < told.index(">dry<"), "worst first"
    assert "days: 400" in told and "<td>snow" not in told.split("Worse than all others")[1].split(".")[0]
    assert "nan" not in told.lower().replace("nance", "")
    (weather.folder / "evaluation/groups.csv").write_text(",".join(sums.header) + "\n")
    assert groups.section(weather) == ""
    assert groups.section(Run(weather.root, "other", {})) == ""


def test_a_missing_metric_and_an_empty_table_are_named(weather: Run) -> None:
    with pytest.raises(InputError, match="expected the metric rmse"):
        weather.metric("rmse")
    (weather.folder / "curve.csv").write_text("step,loss\n")
    with pytest.raises(InputError, match="expected at least one row"):
        weather.table("curve.csv")
    assert weather.table("curve.csv", empty=True) == []
    with pytest.raises(InputError, match="no such file"):
        weather.table("none.csv")


@pytest.mark.parametrize("curve", [births.learning_curve, digits.learning_curve, digits.accuracy_curve])
def test_a_run_that_was_never_evaluated_has_no_curve(weather: Run, curve: Callable[[Run], str]) -> None:
    (weather.folder / "curve.csv").write_text("step,loss\n")
    assert NO_CURVE in curve(weather)


def test_an_agent_that_finished_no_episode_has_no_curve(weather: Run) -> None:
    for name in ("curve.csv", "trials.csv"):
        (weather.folder / name).write_text("steps,return\n")
    assert "ended before its first episode did" in agent.learning_curve(weather)


def test_the_baseline_knows_every_headline() -> None:
    baseline = json.loads((ROOT / "results" / "baseline.json").read_text())
    runs = {run.name: run for run in evaluated(ROOT, load(ROOT / "params.yaml"))}
    assert baseline
    for name, values in baseline.items():
        headline = metrics(runs[name])[0]
        words = against_baseline(runs[name].workload, headline, runs[name].metrics, values)
        assert "new" not in words


def test_a_page_without_a_graph_is_refused(tmp_path: Path, weather: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text("weather: {train: {}}\n")
    shutil.copy(ROOT / "results" / "baseline.json", weather.folder.parent)
    monkeypatch.setattr("sys.argv", ["build", str(tmp_path / "reports"), "--root", str(tmp_path)])
    with pytest.raises(InputError, match="make graph"):
        main()
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "pipeline.md", tmp_path / "docs")
    main()
    assert "Weather" in (tmp_path / "reports" / "index.html").read_text()
    assert "| weather | mae | 1.25 | \N{EN DASH} |" in (tmp_path / "reports" / "summary.md").read_text()


def test_the_same_inputs_give_the_same_bytes(pipeline: Path, tmp_path: Path) -> None:
    extra = {"PYTHONHASHSEED": "7", "TZ": "Asia/Kolkata", "LC_ALL": "C"}
    done = run_stage("stages.report.build", tmp_path / "reports", "--root", pipeline, cwd=tmp_path, **extra)
    assert (done.returncode, done.stderr) == (0, "")
    assert digest(tmp_path / "reports") == digest(pipeline / "reports")


def test_bad_rows_unknown_words_and_absent_columns_of_births_are_shown(pipeline: Path, tmp_path: Path) -> None:
    for name in ("stages/babyweight/source", "results/babyweight", "models/babyweight"):
        shutil.copytree(pipeline / name, tmp_path / name)
    run = evaluated(tmp_path, {"babyweight": {}})[0]
    prepared = run.json("prepare.json")
    absent = "Rows of files without a column"
    assert absent not in births.data_facts(run)
    prepared["unknown_words"]["mother_race"] = 3
    prepared["commonest_unknown_words"] = {"mother_race": ["'Martian' (3)"]}
    prepared["absent_columns"]["alcohol_use"] = 4321
    prepared["first_bad"] = ["2001/births.csv:9: mother_age_no_number: 'x'"]
    write_json(tmp_path / "results/babyweight/prepare.json", prepared)
    page = births.data_facts(run)
    assert "Words taken as unknown" in page and "Martian" in page
    assert absent in page and "4,321" in page
    assert "2001/births.csv:9: mother_age_no_number: &#39;x&#39;" in page


def test_the_agent_is_named_after_its_environment(pipeline: Path, tmp_path: Path) -> None:
    for name in ("results", "models", "params.yaml"):
        source = pipeline / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    path = tmp_path / "models" / "cartpole" / "assets.extra" / "provenance.json"
    provenance = json.loads(path.read_text())
    provenance["parameters"]["cartpole"]["train"]["env"] = "Acrobot-v1"
    path.write_text(json.dumps(provenance))
    (agent,) = (run for run in evaluated(tmp_path, load(tmp_path / "params.yaml")) if run.name == "cartpole")
    told = story(agent)
    assert "Acrobot-v1" in told.body
    assert "in Acrobot-v1" in result_card(agent, told, {})
    assert "CartPole-v0" not in told.body
