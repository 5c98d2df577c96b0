"""Several seeds of a workload: what is refused, what is written, and that a stopped run goes on."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import InputError
from stages.core.params import load
from stages.evaluation.seeds import CURVES, SEEDS
from tests.conftest import ROOT
from tools.scratch import change, clone, commit
from tools.seeds import checked, curve, numbers, scratch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cartpol", "3"], "error: WORKLOAD: 'cartpol': expected one of babyweight, cartpole, mnist\n"),
        (["../mnist", "3"], "error: WORKLOAD: '../mnist': expected one of babyweight, cartpole, mnist\n"),
        (["", "3"], "error: WORKLOAD: '': expected one of babyweight, cartpole, mnist\n"),
        (["cartpole", "ten"], "error: SEEDS: 'ten': expected a whole number from 2 to 1000\n"),
        (["cartpole", "1"], "error: SEEDS: '1': expected a whole number from 2 to 1000\n"),
        (["cartpole", "3", "--set", "mnist.train.steps=1"], "error: --set mnist.train.steps: expected a parameter of"),
        (["mnist", "3", "--set", "mnist.train.step=1"], "error: mnist.train.step: unknown key\n"),
    ],
)
def test_bad_words_are_refused_in_a_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    root = clone(tmp_path / "clone")
    command = [sys.executable, "-m", "tools.seeds", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1


def test_data_that_are_not_prepared_are_named(tmp_path: Path) -> None:
    root = clone(tmp_path / "clone")
    subprocess.run(["dvc", "init", "--quiet", "--force"], cwd=root, check=True)
    command = [sys.executable, "-m", "tools.seeds", "mnist", "99"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.stderr == "error: data/mnist: out of date or missing: run dvc repro prepare@mnist\n"


def test_the_shipped_seed_is_not_among_the_others() -> None:
    assert numbers(3, shipped=2017) == [0, 1, 2]
    assert numbers(3, shipped=1) == [0, 2, 3]
    with pytest.raises(InputError, match="SEEDS"):
        checked("mnist", "-3")


def test_a_scratch_folder_has_results_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    folder = scratch(ROOT, tmp_path / "scratch", {"seed": 3})
    assert (folder / "stages/mnist/train.py").exists() and load(folder / "params.yaml") == {"seed": 3}
    for name in ("results", "weights", "models", "reports", ".git", ".dvc"):
        assert not (folder / name).exists()


def test_a_curve_is_the_column_by_the_first_one(tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text("step,loss,validation_rmse\n10,2,1.5\n20,1,1.25\n30,1,\n")
    assert curve(tmp_path / "curve.csv", "validation_rmse") == [(10.0, 1.5), (20.0, 1.25)]
    assert curve(tmp_path / "curve.csv", "return") == [] == curve(tmp_path / "none.csv", "return")


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_touches_nothing_else(tmp_path: Path) -> None:
    root = clone(tmp_path / "clone")
    for key, value in {"train.total_timesteps": 1500, "evaluate.episodes": 10, "evaluate.gif.frames": 5}.items():
        change(root, f"cartpole.{key}", value)
    for path in (SEEDS, CURVES):
        (root / path).write_text((root / path).read_text().splitlines(keepends=True)[0])
    commit(root, "Start")
    command = [sys.executable, "-m", "tools.seeds", "cartpole", "3"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and theirs
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not rows(root / SEEDS):
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130
    first = rows(root / SEEDS)
    assert 1 <= len(first) < 3
    subprocess.run(command, cwd=root, check=True)
    found = rows(root / SEEDS)
    assert [row["seed"] for row in found] == ["0", "1", "2"]
    assert found[: len(first)] == first, "not measured again"
    assert {row["seed"] for row in rows(root / CURVES)} == {"0", "1", "2"}
    status = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    written = {line[3:] for line in status.stdout.splitlines()}
    assert written == {str(path) for path in (SEEDS, CURVES, SEEDS.with_suffix(".md"))}
