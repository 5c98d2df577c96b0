"""What holds for files of all parts."""

import ast
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_clone_with_autocrlf_has_the_same_bytes(tmp_path: Path) -> None:
    git(ROOT, "clone", "--quiet", "--config", "core.autocrlf=true", str(ROOT), str(tmp_path / "clone"))
    assert git(tmp_path / "clone", "config", "core.autocrlf").strip() == "true"
    lines = git(tmp_path / "clone", "ls-files", "--eol").splitlines()
    assert len(lines) > 100
    assert [line for line in lines if "crlf" in line.split("\t")[0]] == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("stages/*/model.py")), ids=lambda path: path.parent.name)
def test_a_models_file_begins_with_the_network(path: Path) -> None:
    first = next(node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    assert first.name == "build" and (first.end_lineno or 0) <= 60
