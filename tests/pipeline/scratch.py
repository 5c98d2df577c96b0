"""Running DVC in a scratch clone."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dvc.repo import Repo

from tests.conftest import ROOT, finish, fork_server
from tests.fork_server import ForkedModule, ForkServer


def dvc(
    folder: Path,
    *arguments: str,
    check: bool = True,
    server: ForkServer | None = None,
    environment: Mapping[str, str] = os.environ,
) -> subprocess.CompletedProcess[str]:
    """Run `dvc` as a person in a clone does, its stages too; a fork server starts them sooner."""
    server = server or fork_server()
    path = os.pathsep.join([str(server.path), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = finish(ForkedModule(server, ["dvc", *arguments], folder, {**environment, "PATH": path}), timeout=None)
    assert done.returncode == 0 or not check, f"{done.stdout}\n{done.stderr}"
    return done


def ran(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Names of the stages that a `dvc repro` ran."""
    lines = done.stdout.splitlines()
    return {line.split("'")[1] for line in lines if line.startswith("Running stage ")}


def commands() -> dict[str, str]:
    """The declared stages' commands, in order."""
    with Repo(str(ROOT)) as repo:
        return {stage.name: stage.cmd for stage in repo.index.stages}
