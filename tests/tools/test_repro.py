"""Workloads side by side, in a small pipeline that DVC runs."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stages.core.params import workload_names
from tests.conftest import assert_refused, run_stage
from tests.pipeline.scratch import commands
from tools.repro import stages_of

MEET = (
    "touch ${item}.started && i=0 && until [ -e mnist.started ] && [ -e cartpole.started ]; do "
    "i=$((i+1)); [ $i -lt 900 ] || exit 1; sleep 0.1; done"
)
"""Each workload waits until the other one has started."""


def test_each_stage_but_the_first_and_the_last_belongs_to_a_workload() -> None:
    found = stages_of(commands(), workload_names())
    declared = [name for name in commands() if name not in {"check", "report"}]
    assert found == {workload: [name for name in declared if name.endswith(workload)] for workload in workload_names()}
    assert sorted(name for names in found.values() for name in names) == sorted(declared)


def write_pipeline(folder: Path, build: str) -> None:
    stages: dict[str, Any] = {
        "check": {"cmd": "echo checked > checked", "deps": ["given"], "outs": ["checked"]},
        "build": {
            "foreach": ["cartpole", "mnist"],
            "do": {"cmd": build, "deps": ["checked"], "outs": ["${item}.txt"]},
        },
        "report": {
            "cmd": "cat cartpole.txt mnist.txt > report.txt",
            "deps": ["cartpole.txt", "mnist.txt"],
            "outs": ["report.txt"],
        },
    }
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    (folder / "given").write_text(build)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_pipeline(tmp_path, f"{MEET} && echo ${{item}} > ${{item}}.txt")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    assert run_stage("dvc", "init", "--quiet", cwd=tmp_path).returncode == 0
    return tmp_path


def test_workloads_run_at_the_same_time_and_then_what_reads_them(project: Path) -> None:
    done = run_stage("tools.repro", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "report.txt").read_text() == "cartpole\nmnist\n"
    assert {"mnist: Running stage 'build@mnist':", "cartpole: Running stage 'build@cartpole':"} <= {
        *done.stdout.splitlines()
    }
    again = run_stage("tools.repro", cwd=project)
    assert "up to date" in again.stdout and "Running" not in again.stdout


def test_a_workload_that_fails_is_named_and_the_others_are_made(project: Path) -> None:
    write_pipeline(project, "test ${item} = cartpole && echo ${item} > ${item}.txt")
    done = run_stage("tools.repro", cwd=project)
    assert_refused(done, "error: dvc repro: mnist: failed")
    assert "mnist: ERROR: failed to reproduce 'build@mnist'" in done.stdout
    assert (project / "cartpole.txt").exists() and not (project / "report.txt").exists()
