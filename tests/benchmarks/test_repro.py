import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.repro import PARTS, RECORDER, covered, name, split, table
from tests.conftest import ROOT


def record(command: list[str], began: float, ended: float) -> dict[str, object]:
    return {"command": command, "began": began, "ended": ended, "imports": 2.0, "cpu": 5.0}


def test_time_in_which_two_stages_run_counts_once() -> None:
    assert covered([(0, 4), (5, 9), (1, 3), (8, 10)]) == 9
    assert covered([]) == 0


def test_a_stage_goes_by_its_module_and_its_workload() -> None:
    assert name(["stages.mnist.train", "data/mnist"]) == "mnist.train"
    assert name(["stages.predict", "cartpole"]) == "predict cartpole"
    assert name(["stages.check_params", "params.schema.json"]) == "check_params"


def test_what_is_no_stage_is_dvc() -> None:
    records = [record(["stages.mnist.train", "data/mnist"], 1, 5), record(["stages.predict", "mnist"], 4, 7)]
    found = split((30.0, 40.0), (10.0, 12.0), records)
    assert found == {
        "installation": (30, 40),
        "stages": (6, 10),
        "mnist.train": (4, 5),
        "predict mnist": (3, 5),
        "imports": (4, 4),
        "dvc": (4, 2),
        "all": (40, 52),
    }


def test_the_table_compares_medians() -> None:
    seconds = {("a", 0): 10.0, ("a", 1): 30.0, ("b", 0): 8.0, ("b", 1): 12.0}
    rows = [
        {"commit": commit, "round": number, "part": part, "wall_s": value, "cpu_s": 2 * value}
        for (commit, number), value in seconds.items()
        for part in PARTS
    ]
    (line,) = (line for line in table(rows, "a", "b").splitlines() if "all in all" in line)
    wall, cpu = "20 (10 to 30) | 10 (8 to 12) | 0.50", "40 (20 to 60) | 20 (16 to 24) | 0.50"
    assert line == f"| `make repro`, all in all | {wall} | {cpu} |"


def test_a_stage_is_recorded_with_its_imports(tmp_path: Path) -> None:
    shutil.copy(RECORDER, tmp_path / "sitecustomize.py")  # which Python imports when it starts
    variables = {**os.environ, "PYTHONPATH": str(tmp_path), "RECORD": str(tmp_path / "records")}
    command = [sys.executable, "-m", "stages.check_params", str(tmp_path / "schema.json"), str(tmp_path / "checked")]
    subprocess.run(command, cwd=ROOT, env=variables, check=True)
    subprocess.run([sys.executable, "-c", "import json"], cwd=ROOT, env=variables, check=True)
    (found,) = map(json.loads, (tmp_path / "records").read_text().splitlines())
    assert found["command"] == ["stages.check_params", str(tmp_path / "schema.json")]
    assert 0 < found["imports"] < found["ended"] - found["began"]
    assert found["cpu"] > 0
