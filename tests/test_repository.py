"""What holds for files of all parts."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

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


WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
COMMIT = re.compile("[0-9a-f]{40}")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_job_runs_the_checkouts_code_beside_a_token_that_writes(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    for name, job in workflow["jobs"].items():
        permissions = job.get("permissions", workflow.get("permissions"))
        assert isinstance(permissions, dict), f"{name}: expected permissions one by one"
        used = [step.get("uses", "") for step in job["steps"]]
        assert "write" not in permissions.values() or not [use for use in used if use.startswith("actions/checkout")]
        assert all(COMMIT.fullmatch(use.partition("@")[2]) for use in used if use), used


def test_hooks_of_others_are_pinned_by_their_commit() -> None:
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert all(repo["repo"] == "local" or COMMIT.fullmatch(repo["rev"]) for repo in repos)
