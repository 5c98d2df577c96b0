"""Test sets of one and of three: evaluation, card and report give a dash where nothing can be said."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard

from stages.core.params import flatten
from stages.workloads import interval
from tests.conftest import run_stage
from tools.scratch import change


@pytest.mark.parametrize("count", [1, 3])
def test_few_instances_break_nothing(pipeline: Path, tmp_path: Path, count: int) -> None:
    root = tmp_path / "project"
    for name in ("benchmarks", "data", "docs", "models", "results", "stages"):
        shutil.copytree(pipeline / name, root / name, copy_function=shutil.copyfile)
    shutil.copyfile(pipeline / "params.yaml", root / "params.yaml")
    change(root, "cartpole.evaluate.episodes", count)
    for path in root.glob("data/*/test/*.npy"):
        np.save(path, np.load(path)[:count])
    for workload in ("babyweight", "mnist", "cartpole"):
        data = [] if workload == "cartpole" else [root / "data" / workload]
        results = root / "results" / workload
        outputs = (results / "evaluate.json", results / "evaluation", results / "examples.csv")
        made = results / ("prepare.json" if data else "train.json")
        commands: tuple[tuple[str | Path, ...], ...] = (
            (f"stages.{workload}.evaluate", root / "models" / workload, *data, *outputs),
            ("stages.card", workload, made, results / "card.md", "--root", root),
        )
        for command in commands:
            done = run_stage(*command, cwd=root)
            assert done.returncode == 0, done.stderr
            assert "Warning" not in done.stderr
    assert run_stage("stages.report.build", root / "reports", "--root", root, cwd=root).returncode == 0

    found: dict[str, dict[str, Any]] = {}
    for path in root.glob("results/*/evaluate.json"):
        found[path.parent.name] = dict(flatten(json.loads(path.read_text(), parse_constant=pytest.fail)))
        card = (path.parent / "card.md").read_text()
        data_of_card: Any = ModelCard(card).data
        assert data_of_card.eval_results
        tables = [table.read_text() for table in (path.parent / "evaluation").glob("*.csv")]
        for text in (card, *tables, (root / "reports/index.html").read_text()):
            assert "NaN" not in text and "nan " not in text and ",nan" not in text
    assert found["babyweight"]["test_births"] == found["mnist"]["test_images"] == count
    known = interval(found["babyweight"], "rmse")
    assert (known is None) is (count == 1), "one birth has no interval"
    assert interval(found["cartpole"], "share_solved"), "a share always has one"
    assert found["babyweight"]["rmse_preterm"] is None or found["babyweight"]["rmse_term"] is None or count > 1
    loss = interval(found["mnist"], "loss")
    assert loss is None if count == 1 else loss and loss[0] >= 0, "no cross entropy is below nothing"
