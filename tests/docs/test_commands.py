"""Every command in the documentation exists, and every block that is marked `sh run` runs in the scratch pipeline.

Of the others, tests of what they are about run the commands: `tests/serving`, `tests/supervised/test_cluster.py`,
`tests/tools`.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.cli import parse_args

from tests.conftest import ROOT
from tools.scratch import commit

BLOCK = re.compile(r"^```sh run\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```sh(?: run)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:make|dvc|python -m) [^`]+)`")
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "data/raw/*/README.md", "params/*.md", "params/*.yaml")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # tells also of commands of former versions
)
PAGES = sorted(page for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")] if BLOCK.search(page.read_text()))


@pytest.fixture
def environment(pipeline_copy: Path, tmp_path: Path) -> dict[str, str]:
    """This environment as the clone's `.venv`, complete as far as `make` sees."""
    venv = pipeline_copy / ".venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')  # a link would lose the installed packages
    python.chmod(0o755)
    for name in (".installed", ".installed-dev", ".installed-report", ".installed-serving"):
        (venv / name).touch()
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **{f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        "STORE": str(tmp_path / "store"),
        "PROJECT": str(pipeline_copy),
    }


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work(page: Path, pipeline_copy: Path, environment: dict[str, str]) -> None:
    for block in BLOCK.findall(page.read_text()):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=pipeline_copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        if "remote add" in block:
            commit(pipeline_copy, "Add a remote")


def test_pages_with_commands_are_found() -> None:
    assert {page.name for page in PAGES} >= {"experiments.md", "remote.md"}


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each call of `make`, `dvc` and `python -m` on a page."""
    text = page.read_text()
    lines = [line for block in SHELL.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *INLINE.findall(text)]:
        if "ssh " in line:
            continue
        for part in line.partition(" #")[0].split(" | "):
            words = [w for w in shlex.split(part) if w not in {"xargs", "&"} and not re.match(r"[A-Z_]+=", w)]
            if words and (words[0] in {"make", "dvc"} or words[:2] == ["python", "-m"]):
                yield words


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(page):
        if words[0] == "make":
            assert len(words) == 1 or words[1] in targets, words
        elif words[0] == "dvc":
            if len(words) > 1:
                parse_args(words[1:])  # exits if DVC has no such command or option
        else:
            spec = importlib.util.find_spec(words[2])
            assert spec, words
            origin = Path(spec.origin or "")
            source = (origin.parent / "__main__.py" if origin.name == "__init__.py" else origin).read_text()
            options = [word.partition("=")[0] for word in words[3:] if word.startswith("--")]
            assert [option for option in options if f'"{option}"' not in source] == [], words


def test_commands_are_found() -> None:
    found = {" ".join(words[:3]) for page in DOCUMENTS for words in commands(page)}
    assert found >= {"make repro", "make serve", "dvc exp run", "python -m serving", "python -m tools.sweep"}
