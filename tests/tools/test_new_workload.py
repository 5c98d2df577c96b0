"""A new workload works at once, and no file outside its own has to be edited by hand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.core.files import digest
from tests.conftest import ROOT
from tools.new_workload import create, rows
from tools.scratch import clone, commit, prepare_small

OWN = re.compile(
    r"(stages|tests|data/raw)/birds/.*|data/requests/(expected/)?birds\.json|params\.yaml|dvc\.yaml"
    r"|dvc\.lock|params\.schema\.json|docs/pipeline\.md|results/.*"
)
"""What the command and the pipeline write."""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist", "NAME: mnist: stages/mnist exists"),
        ("export", r"NAME: export: stages/export\.py exists"),
        ("seed", r"NAME: seed: params\.yaml has this section"),
        ("", "expected a lower-case identifier"),
        ("Birds", "expected a lower-case identifier"),
        ("wild-birds", "expected a lower-case identifier"),
        ("../birds", "expected a lower-case identifier"),
        ("class", "expected a lower-case identifier"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(tmp_path: Path, name: str, message: str) -> None:
    root = clone(tmp_path / "clone")
    before = digest(root)
    with pytest.raises(InputError, match=message):
        create(root, name)
    assert digest(root) == before


def test_a_pipeline_of_another_form_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    root = clone(tmp_path / "clone")
    (root / "dvc.yaml").write_text((root / "dvc.yaml").read_text().replace("\nplots:\n", "\ncharts:\n"))
    before = digest(root)
    with pytest.raises(InputError, match=r"dvc\.yaml: expected one line 'plots:'"):
        create(root, "fishes")
    assert digest(root) == before


def test_the_example_table_depends_on_the_seed_alone() -> None:
    assert rows() == rows()
    assert rows(seed=1) != rows()


def test_contributing_names_the_files_that_the_command_writes(tmp_path: Path) -> None:
    root = clone(tmp_path / "clone")
    create(root, "fishes")
    recipe = (ROOT / "CONTRIBUTING.md").read_text().partition("## Add a workload")[2].partition("\n## ")[0]
    named = re.findall(r"`((?:stages|tests|data)/[\w/.]+)`", recipe.replace("wines", "fishes"))
    assert len(named) >= 8
    assert [
        path for path in named if not (root / path).exists() and not path.endswith(("data/fishes", "report.py"))
    ] == []


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_new_workload_runs_lints_and_passes_all_tests_of_its_own_and_of_the_project(tmp_path: Path) -> None:
    """The commands of `make workload`, `make repro`, `make lint` and the tests that read the list of workloads."""
    root = prepare_small(clone(tmp_path / "clone"))
    commit(root, "Start")
    bin = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(root)}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-5000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    run("python", "-m", "tools.new_workload", "birds")
    run("ruff", "check", "--fix-only", "--quiet", "stages/birds", "tests/birds")
    run("ruff", "format", "--quiet", "stages/birds", "tests/birds")
    run("python", "-m", "stages.check_params", "params.schema.json", "data/params.checked")
    (root / "docs/pipeline.md").write_text(run("dvc", "dag", "--md"))
    run("dvc", "repro")
    run("python", "-m", "tools.processor")
    assert "Birds" in (root / "reports/index.html").read_text()
    assert "| birds | accuracy |" in (root / "reports/summary.md").read_text()
    changed = run("git", "status", "--porcelain", "--untracked-files=all").splitlines()
    assert [line for line in changed if not OWN.fullmatch(line[3:])] == []
    commit(root, "Add birds")
    for check in (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), ("lint-imports",)):
        run(*check)
    run("python", "-m", "tools.check_pipeline")
    tests = (
        "tests/birds",
        "tests/test_workloads.py",
        "tests/core",
        "tests/report",
        "tests/test_check_params.py",
        "tests/tools",
        "tests/pipeline/test_dependencies.py",
        "tests/pipeline/test_dvc.py",
        "tests/test_repository.py",
    )
    # The README shows the results of the whole run, which this one is not.
    options = ("-q", "-m", "not slow", "-k", "not readme", "-p", "no:cacheprovider")
    run("python", "-m", "pytest", *options, *tests)
