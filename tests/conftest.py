"""Fixtures that several tests share."""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

import stages  # noqa: F401 - its settings must be made before TensorFlow is imported
from tests.fork_server import ForkedModule, ForkServer
from tools.scratch import clone, commit, prepare_small

ROOT = Path(__file__).parents[1]

# Property tests make few tries in the suite; `pytest --hypothesis-profile=thorough` makes more.
settings.register_profile("suite", max_examples=50, deadline=None)
settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("suite")

Params = dict[str, Any]


def set_key(params: Params, key: str, value: Any) -> None:
    """Set a key by its full path."""
    *sections, last = key.split(".")
    for section in sections:
        params = params[section]
    params[last] = value


def pytest_configure(config: pytest.Config) -> None:
    """Keep what libraries leave behind in a temporary folder of this run, which is removed at its end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="pytest-")
    os.environ |= {"TMPDIR": folder, "DVC_SITE_CACHE_DIR": f"{folder}/dvc"}
    tempfile.tempdir = None
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a file's tests to one worker, and to one all that need the scratch pipeline: it is run once."""
    for item in items:
        needs_pipeline = "pipeline" in getattr(item, "fixturenames", ())
        file = item.path.relative_to(ROOT).as_posix()
        item.add_marker(pytest.mark.xdist_group("pipeline" if needs_pipeline else file))


@pytest.fixture
def params_file(tmp_path: Path) -> Callable[..., Path]:
    """Write the project's parameters with some changed, each given as `{"full.path": value}`."""

    def write(changes: dict[str, Any] | None = None) -> Path:
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        for key, value in (changes or {}).items():
            set_key(params, key, value)
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(params))
        return path

    return write


@functools.cache
def fork_server() -> ForkServer:
    """The server that runs modules for this process."""
    return ForkServer(dict(os.environ))


def pytest_sessionfinish() -> None:
    """End the server, if there is one."""
    if fork_server.cache_info().currsize:
        fork_server().close()


def start_stage(*command: str | Path, cwd: Path = ROOT, **environment: str) -> ForkedModule:
    """Start `python -m …` as DVC does, in a process of its own; in a clone, with the clone's code."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return ForkedModule(fork_server(), [*map(str, command)], cwd, variables)


def finish(process: ForkedModule, timeout: float | None = 300) -> subprocess.CompletedProcess[str]:
    """Wait for the end of a process, at most `timeout` seconds."""
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(process.command, process.returncode or 0, out, err)


def run_stage(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m …` to its end."""
    return finish(start_stage(*command, cwd=cwd, **environment))


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The process said one clear line with these words on standard error, and no traceback."""
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0], lines[0]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scratch clone in which the real pipeline ran on little data, committed after the run.

    Tests share it and leave it as it was; those that change its parameters take `pipeline_copy`.
    """
    from tests.pipeline.scratch import dvc

    folder = prepare_small(clone(tmp_path_factory.mktemp("pipeline")))
    dvc(folder, "repro")
    commit(folder, "Run the pipeline")
    return folder


@pytest.fixture
def pipeline_copy(pipeline: Path, tmp_path: Path) -> Path:
    """A copy of the scratch pipeline, cache and history with it, to change at will."""
    return shutil.copytree(pipeline, tmp_path / "pipeline", symlinks=True)
