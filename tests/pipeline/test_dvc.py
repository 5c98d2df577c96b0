"""The declared pipeline, asked and run through DVC itself."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.pipeline.scratch import dvc, ran
from tools.scratch import change, clone, commit


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which nothing ran."""
    return clone(tmp_path_factory.mktemp("bare"))


def test_the_committed_lock_is_true_of_the_code(bare: Path) -> None:
    status = json.loads(dvc(bare, "status", "--json").stdout)
    code = {
        f"{stage}: {path}"
        for stage, changes in status.items()
        for change in changes
        if isinstance(change, dict)
        for path, state in change.get("changed deps", {}).items()
        if path.endswith((".py", ".lock", ".yaml"))
    }
    assert code == set()


def test_stages_say_what_they_are_for(bare: Path) -> None:
    for line in dvc(bare, "stage", "list").stdout.splitlines():
        name, _, text = line.partition(" ")
        assert len(text.split()) > 4, name


def test_the_readme_shows_the_graph(bare: Path) -> None:
    assert dvc(bare, "dag", "--collapse-foreach-matrix", "--md").stdout.strip() in (ROOT / "README.md").read_text()


def test_the_graph_of_the_report_is_that_of_the_stages(bare: Path) -> None:
    assert dvc(bare, "dag", "--md").stdout.strip() == (ROOT / "docs" / "pipeline.md").read_text().strip()


def test_a_second_run_runs_nothing(pipeline: Path) -> None:
    assert ran(dvc(pipeline, "repro")) == set()
    assert "up to date" in dvc(pipeline, "status").stdout


def test_one_parameter_reruns_its_stages_and_those_after_and_commits_compare(pipeline_copy: Path) -> None:
    change(pipeline_copy, "cartpole.evaluate.episodes", 20)
    assert ran(dvc(pipeline_copy, "repro")) == {"check", "evaluate-cartpole", "card@cartpole", "report"}
    commit(pipeline_copy, "Play fewer episodes")

    params = json.loads(dvc(pipeline_copy, "params", "diff", "HEAD~1", "HEAD", "--json").stdout)
    assert params == {"params.yaml": {"cartpole.evaluate.episodes": {"old": 100, "new": 20, "diff": -80}}}
    metrics = json.loads(dvc(pipeline_copy, "metrics", "diff", "HEAD~1", "HEAD", "--json").stdout)
    assert metrics["results/cartpole/evaluate.json"]["episodes"] == {"old": 100, "new": 20, "diff": -80}
    table = dvc(pipeline_copy, "exp", "show", "--csv").stdout
    assert "cartpole.evaluate.episodes" in table.splitlines()[0]
    page = dvc(pipeline_copy, "plots", "diff", "HEAD~1", "HEAD", "--out", "plots").stdout.strip()
    html = Path(page.removeprefix("file://")).read_text()
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    titles = [title for plot in declared if isinstance(plot, dict) for title in plot]
    assert len(titles) >= 9
    assert [title for title in titles if title not in html] == []


def test_a_model_is_used_without_the_projects_code(pipeline: Path, tmp_path: Path) -> None:
    script = """
import sys, tensorflow as tf
model = tf.saved_model.load(sys.argv[1] + "/models/mnist")
predict = model.signatures["serving_default"]
print(predict(inputs=tf.zeros([2, 784]))["probabilities"].shape)
assert not any(name.startswith("stages") for name in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(pipeline)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(2, 10)"


def test_the_readmes_example_predicts_a_birth(pipeline: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=pipeline, capture_output=True, text=True, check=True)
    number, unit = done.stdout.split()
    assert unit == "lb"
    assert abs(float(number) - 7.265) < 0.75
