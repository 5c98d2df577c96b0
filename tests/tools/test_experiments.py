"""Experiments are judged as a comparison of the same two states judges them."""

import shutil
from pathlib import Path

from stages.evaluation.judge import WORDS
from tests.conftest import run_stage
from tests.tools.test_compare import commit, project, with_examples  # noqa: F401 - a fixture
from tools.compare.changes import metric_changes
from tools.compare.snapshot import Snapshot, git
from tools.experiments import experiments


def test_an_experiment_and_a_comparison_have_the_same_verdict(project: Path, tmp_path: Path) -> None:  # noqa: F811
    copy = shutil.copytree(project, tmp_path / "copy")
    before = [True] * 960 + [False] * 40
    with_examples(copy, before)
    commit(copy, "Before")
    base = git(copy, "rev-parse", "HEAD").strip()
    tries = {"luck": [True] * 962 + [False] * 38, "gain": [True] * 990 + [False] * 10}
    for name, hits in tries.items():
        with_examples(copy, hits)
        commit(copy, name)
        git(copy, "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", "HEAD")
        git(copy, "reset", "--quiet", "--hard", base)
    found = {e.name: e.results for _, listed in experiments(copy) for e in listed}
    assert found.keys() == tries.keys()
    for name, word in (("luck", "chance"), ("gain", "better")):
        (change,) = found[name]
        compared = metric_changes(Snapshot(copy, "HEAD"), Snapshot(copy, name))
        assert change in compared
        assert (change.key, change.verdict) == ("evaluate.accuracy", word)
    listed = run_stage("tools.experiments", "--root", copy, COLUMNS="120")
    assert listed.returncode == 0, listed.stderr
    for words in ("luck", "gain", WORDS["chance"], "▲ better"):
        assert words in listed.stdout
