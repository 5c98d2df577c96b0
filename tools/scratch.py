"""Scratch clones of the project, in which its pipeline runs on little data."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]

SMALL = {
    "babyweight.prepare.source.rows": 20000,
    "babyweight.train.steps": 600,
    "mnist.train.steps": 300,
    "mnist.train.evaluate_every": 100,
    "cartpole.evaluate.gif.frames": 5,
}


def clone(folder: Path) -> Path:
    """A scratch clone of the project's files as they are in the work tree."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def change(folder: Path, key: str, value: object) -> None:
    """Set a key of a clone's `params.yaml` where it stands, comments and all."""
    sections = key.split(".")
    lines, depth = (folder / "params.yaml").read_text().split("\n"), 0
    for number, line in enumerate(lines):
        name = line.strip().split(":")[0]
        if line.startswith("  " * depth + sections[depth] + ":") and name == sections[depth]:
            depth += 1
            if depth == len(sections):
                _, mark, comment = line.partition("  #")
                lines[number] = f"{'  ' * (depth - 1)}{name}: {value}{mark}{comment}"
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
