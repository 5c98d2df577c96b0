"""Every command of a block that is marked `sh run` does what its page says, in the scratch pipeline."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pipeline.scratch import commit

BLOCK = re.compile(r"^```sh run\n(.*?)^```", re.MULTILINE | re.DOTALL)
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
