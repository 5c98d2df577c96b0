"""Running the real pipeline in a scratch clone, on little data."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dvc.repo import Repo

from tests.conftest import ROOT, finish, fork_server
from tests.fork_server import ForkedModule, ForkServer

SMALL = {
    "babyweight.prepare.source.rows": 20000,
    "babyweight.train.steps": 600,
    "mnist.train.steps": 300,
    "mnist.train.evaluate_every": 100,
    "cartpole.evaluate.gif.frames": 5,
}


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


def change(folder: Path, key: str, value: object) -> None:
    """Set a key of a clone's `params.yaml` where it stands, comments and all."""
    sections = key.split(".")
    lines, depth = (folder / "params.yaml").read_text().split("\n"), 0
    for number, line in enumerate(lines):
        name = line.strip().split(":")[0]
        if line.startswith("  " * depth + sections[depth] + ":") and name == sections[depth]:
            depth += 1
            if depth == len(sections):
                lines[number] = f"{'  ' * (depth - 1)}{name}: {value}"
                (folder / "params.yaml").write_text("\n".join(lines))
                return
    raise AssertionError(f"no key {key} in params.yaml")


def commit(folder: Path, message: str) -> None:
    """Commit all that changed."""
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", message]
    subprocess.run(command, cwd=folder, check=True)


def prepare_small(folder: Path) -> Path:
    """Make a clone's pipeline short, and give it the raw data that this work tree has fetched already."""
    fetched = Path("data", "fetched")
    if (ROOT / fetched).is_dir():
        shutil.copytree(ROOT / fetched, folder / fetched)
    for key, value in SMALL.items():
        change(folder, key, value)
    return folder
