"""What `make` would run to install, in a folder that stands for the environment."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def installs(target: str, venv: Path, *variables: str) -> list[list[str]]:
    """The lock files of each command that installs, in order."""
    command = ["make", "--dry-run", target, f"VENV={venv}", f"MOTO={venv}/moto", f"CLIENTS={venv}/clients", *variables]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert all("--require-hashes" in line for line in lines)
    return [sorted(word for word in line.split() if word.endswith(".lock")) for line in lines]


def make_environment(venv: Path, *files: str) -> None:
    for name in ("bin/python", "bin/uv", *files):
        (venv / name).parent.mkdir(parents=True, exist_ok=True)
        (venv / name).touch()


def locks(*names: str) -> list[str]:
    return [f"requirements/{name}.lock" for name in names]


def test_pip_installs_uv_and_uv_all_that_the_target_needs_at_once(tmp_path: Path) -> None:
    assert installs("repro", tmp_path / "new") == [locks("install"), locks("cpu", "report")]
    make_environment(tmp_path)
    assert installs("serve", tmp_path) == [locks("cpu", "serving")]
    assert installs("test", tmp_path) == [locks("cpu", "dev", "report", "serving"), locks("moto"), locks("clients")]


def test_what_is_installed_is_left_alone(tmp_path: Path) -> None:
    make_environment(tmp_path, ".installed-report")
    assert installs("repro", tmp_path) == []


def test_an_environment_keeps_to_the_lock_file_it_was_made_with(tmp_path: Path) -> None:
    first = "LOCK=requirements/cuda.lock"
    assert installs("repro", tmp_path / "new", first) == [locks("install"), locks("cuda", "report")]
    make_environment(tmp_path)
    (tmp_path / "lock").write_text("requirements/cuda.lock\n")
    assert installs("serve", tmp_path) == [locks("cuda", "serving")]
