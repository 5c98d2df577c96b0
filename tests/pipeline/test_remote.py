"""A fresh clone with an empty cache and a full remote, as continuous integration has it."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.scratch import dvc, ran
from tools.scratch import change

Fresh = Callable[[], Path]


@pytest.fixture(scope="module")
def store(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A remote that holds all that the scratch pipeline made."""
    folder = tmp_path_factory.mktemp("store")
    copy = shutil.copytree(pipeline, tmp_path_factory.mktemp("pushed") / "pipeline", symlinks=True)
    dvc(copy, "remote", "add", "--local", "--default", "store", str(folder))
    dvc(copy, "push", "--run-cache")
    return folder


@pytest.fixture
def fresh(pipeline: Path, store: Path, tmp_path: Path) -> Path:
    """A clone of the scratch pipeline's commit, with that remote."""
    folder = tmp_path / "fresh"
    subprocess.run(["git", "clone", "--quiet", str(pipeline), str(folder)], check=True)
    dvc(folder, "remote", "add", "--local", "--default", "store", str(store))
    return folder


def cached(folder: Path) -> list[Path]:
    """Files that were downloaded."""
    return [path for path in (folder / ".dvc/cache/files").rglob("*") if path.is_file()]


def test_nothing_runs_and_nothing_is_downloaded_if_nothing_changed(fresh: Path) -> None:
    done = dvc(fresh, "repro", "--dry", "--allow-missing")
    assert ran(done) == set()
    assert "up to date" in done.stdout
    dvc(fresh, "repro", "--allow-missing")
    assert cached(fresh) == []


def test_what_is_missing_is_pulled_and_nothing_runs(fresh: Path) -> None:
    assert ran(dvc(fresh, "repro", "--pull", "--allow-missing")) == set()


def test_one_stage_is_restored_with_what_it_needs_alone(fresh: Path) -> None:
    assert ran(dvc(fresh, "repro", "--pull", "-s", "report")) == set()
    assert (fresh / "reports/index.html").exists()
    assert not (fresh / "weights").exists()


def test_what_follows_an_export_is_restored(fresh: Path) -> None:
    assert ran(dvc(fresh, "repro", "--pull", "--downstream", "export@babyweight")) == set()
    assert (fresh / "models/babyweight").exists()
    assert not (fresh / "models/mnist").exists()


def test_one_evaluations_parameter_reruns_it_and_the_report(fresh: Path) -> None:
    change(fresh, "mnist.evaluate.calibration_bins", 10)
    assert ran(dvc(fresh, "repro", "--pull", "--allow-missing")) == {"check", "evaluate@mnist", "card@mnist", "report"}
    assert not (fresh / "weights").exists()
