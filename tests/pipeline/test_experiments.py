"""Experiments, DVC's run cache and a remote, in the scratch pipeline."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.files import digest
from tests.conftest import run_stage
from tests.pipeline.scratch import dvc, ran
from tools.scratch import change, clone, commit

STAGE = "evaluate-cartpole"
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server can be reached, and nothing fetched before is found."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


def test_a_reverted_parameter_restores_every_output_without_running(pipeline_copy: Path) -> None:
    committed = (pipeline_copy / "params.yaml").read_text()
    before = digest(pipeline_copy / "models" / "cartpole"), digest(pipeline_copy / "results" / "cartpole")
    change(pipeline_copy, "cartpole.train.gamma", 0.95)
    assert {"train-cartpole", "export@cartpole", STAGE} <= ran(dvc(pipeline_copy, "repro", STAGE))
    changed = digest(pipeline_copy / "models" / "cartpole")
    assert changed != before[0]

    done = run_stage("tools.compare", "HEAD", ".", "--out", "out", cwd=pipeline_copy)
    assert done.returncode == 0, done.stderr
    told = (pipeline_copy / "out" / "comparison.md").read_text()
    assert "parameters: cartpole.train.gamma: 0.99 → 0.95" in told
    assert "states of one episode that B plays in CartPole-v0" in told
    assert "- mnist: The models have the same bytes" in told

    (pipeline_copy / "params.yaml").write_text(committed)
    assert ran(dvc(pipeline_copy, "repro", STAGE)) == {"check"}, "only the check of parameters runs"
    assert (digest(pipeline_copy / "models" / "cartpole"), digest(pipeline_copy / "results" / "cartpole")) == before
    change(pipeline_copy, "cartpole.train.gamma", 0.95)
    assert ran(dvc(pipeline_copy, "repro", STAGE)) == {"check"}
    assert digest(pipeline_copy / "models" / "cartpole") == changed


def test_two_branches_that_both_changed_results_are_merged_from_the_run_cache(pipeline_copy: Path) -> None:
    def git(*arguments: str, fails: bool = False) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", *identity, *arguments], cwd=pipeline_copy, capture_output=True, check=False)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr

    keys = {"cartpole.evaluate.episodes": 20, "mnist.evaluate.calibration_bins": 10}
    git("branch", "-m", "start")
    results = []
    for (key, value), stage in zip(keys.items(), ("evaluate-cartpole", "evaluate@mnist"), strict=True):
        git("checkout", "-b", key, "start")
        change(pipeline_copy, key, value)
        assert ran(dvc(pipeline_copy, "repro")) == {"check", stage, f"card@{key.partition('.')[0]}", "report"}
        results.append(digest(pipeline_copy / "results" / key.partition(".")[0]))
        commit(pipeline_copy, key)
    git("merge", next(iter(keys)), fails=True)
    git("checkout", "--ours", "dvc.lock", "results")
    cards = {f"card@{key.partition('.')[0]}" for key in keys}
    assert ran(dvc(pipeline_copy, "repro")) - cards == {"check", "report"}, "the evaluations are in the run cache"
    assert [digest(pipeline_copy / "results" / key.partition(".")[0]) for key in keys] == results
    commit(pipeline_copy, "Merge")
    assert "up to date" in dvc(pipeline_copy, "status").stdout


def test_the_way_back_from_an_experiment_that_failed(tmp_path: Path) -> None:
    folder = clone(tmp_path / "clone")
    commit(folder, "Start")
    committed = (folder / "params.yaml").read_text()
    assert dvc(folder, "exp", "run", "-S", "cartpole.train.gamma=1.5", "check", check=False).returncode != 0
    assert (folder / "params.yaml").read_text() != committed
    (folder / "params.yaml").touch()
    subprocess.run(["git", "checkout", "--quiet", "params.yaml"], cwd=folder, check=True)
    assert (folder / "params.yaml").read_text() == committed


@pytest.mark.usefixtures("offline")
@pytest.mark.slow
def test_a_sweep_queues_experiments_that_run_offline_and_are_not_repeated(pipeline_copy: Path) -> None:
    sweep = ["tools.sweep", "play", "cartpole", "--set", "cartpole.evaluate.episodes=5,10", "--jobs", "2"]
    done = run_stage(*sweep, "--out", "out", cwd=pipeline_copy, PATH=PATH)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 trials have a result; best evaluate.mean_return: 200" in done.stdout
    assert "dvc exp apply play-00" in (pipeline_copy / "out" / "sweep-play.html").read_text()
    assert subprocess.run(["git", "diff", "--quiet"], cwd=pipeline_copy, check=False).returncode == 0

    again = run_stage(*sweep, "--out", "out", cwd=pipeline_copy, PATH=PATH)
    assert "at a time" not in again.stdout, "every experiment exists"

    listed = run_stage("tools.experiments", cwd=pipeline_copy, COLUMNS="80")
    assert max(map(len, listed.stdout.splitlines())) <= 80
    for words in ("play-000", "play-001", "cartpole"):
        assert words in listed.stdout
    applied = dvc(pipeline_copy, "exp", "apply", "play-001")
    assert applied.returncode == 0
    assert "episodes: 10" in (pipeline_copy / "params.yaml").read_text()


def outputs(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of the last change of every file that stages write."""
    names = ("data", "models", "reports", "results", "weights")
    files = (path for name in names for path in (folder / name).rglob("*") if path.is_file())
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("command", [("repro",), ("exp", "run", "-S", "cartpole.train.gamma=1.5")], ids=" ".join)
def test_a_wrong_parameter_ends_in_one_line_before_any_output_is_deleted(
    pipeline_copy: Path, command: tuple[str, ...]
) -> None:
    if command == ("repro",):
        change(pipeline_copy, "cartpole.train.gamma", 1.5)
    before = outputs(pipeline_copy)
    done = dvc(pipeline_copy, *command, check=False)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line == "error: params.yaml: cartpole.train.gamma: 1.5: input should be less than or equal to 1"
    assert outputs(pipeline_copy) == before


@pytest.mark.usefixtures("offline")
def test_a_clone_with_a_remote_reruns_nothing_and_models_are_fetched_by_name(
    pipeline_copy: Path, tmp_path: Path
) -> None:
    dvc(pipeline_copy, "remote", "add", "--default", "store", str(tmp_path / "store"))
    subprocess.run(["git", "add", ".dvc/config"], cwd=pipeline_copy, check=True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "commit", "-qm", "Add a remote"], cwd=pipeline_copy, check=True)
    dvc(pipeline_copy, "push")

    subprocess.run(["git", "clone", "--quiet", pipeline_copy, tmp_path / "clone"], check=True)
    dvc(tmp_path / "clone", "pull")
    assert ran(dvc(tmp_path / "clone", "repro")) == set()
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tmp_path / "clone", capture_output=True, text=True, check=True
    )
    assert status.stdout == ""

    shutil.rmtree(pipeline_copy / ".dvc" / "cache")  # so that the remote is what serves
    dvc(tmp_path, "get", str(pipeline_copy), "models/mnist", "--out", "by_path")
    subprocess.run(["git", *identity, "tag", "-a", "mnist@v1.0.0", "-m", "First"], cwd=pipeline_copy, check=True)
    dvc(tmp_path, "artifacts", "get", str(pipeline_copy), "mnist", "--out", "by_name")
    model = digest(tmp_path / "clone" / "models" / "mnist")
    assert digest(tmp_path / "by_path") == digest(tmp_path / "by_name") == model
