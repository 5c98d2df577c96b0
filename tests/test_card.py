"""Cards of models, as Hugging Face's own parser reads them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard

from stages.card import card, measured
from stages.core.files import write_json, write_table
from stages.core.params import flatten, workload_names
from stages.evaluation.groups import ErrorGroups
from stages.evaluation.statistics import ErrorSums
from stages.report.run import Run
from stages.workloads import Card, find
from tests.conftest import ROOT, run_stage


@pytest.fixture
def wild(tmp_path: Path) -> Run:
    """A workload that says nothing about itself."""
    return made(tmp_path, "wild", {"mae": 1.25, "mae_low": 1.0, "mae_high": 1.5, "stations": 12})


def made(root: Path, name: str, metrics: dict[str, Any]) -> Run:
    """The results of a workload that a card needs."""
    results = root / "results" / name
    write_json(results / "evaluate.json", metrics)
    tensor = {"dtype": "float32", "shape": [-1], "tensor": "x:0"}
    signature = {"inputs": {"pressure": tensor, "is_male": tensor}, "outputs": {"outputs": tensor}}
    request = {"instances": [{"pressure": 3.5, "is_male": 1.0}]}
    write_json(results / "signature.json", {"signatures": {"serving_default": signature}, "example_request": request})
    write_json(results / "predictions.json", {"model_digest": "abc", "predictions": []})
    provenance = {"inputs": {f"data/{name}": "def"}, "packages": {"keras": "3"}}
    write_json(root / "models" / name / "assets.extra" / "provenance.json", provenance)
    return Run(root, name, {})


def hub(text: str) -> Any:
    """The metadata of a card, as the hub's parser reads them."""
    return ModelCard(text).data


def test_a_workload_that_says_nothing_gets_a_card(wild: Run) -> None:
    text = card(wild, {"rows": {"kept": 10}, "distributions": {"ages": [1, 2]}})
    assert hub(text).library_name == "tensorflow"
    (result,) = hub(text).eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("mae", 1.25, "Wild")
    assert "| mae | 1.25 | 1 to 1.5 |" in text and "- rows, kept: 10" in text and "ages" not in text
    assert "pressure=tf.constant([3.5], tf.float32)" in text
    assert "## Limits" not in text, "nothing to say"
    assert text == card(wild, {"rows": {"kept": 10}}), "the same bytes"


def test_births_have_groups_uses_and_the_source_of_their_data(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    errors, place = random.normal(0, 1, 300), np.repeat([0, 1], 150)
    sums, groups = ErrorSums(), ErrorGroups({"sex": ["girl|x", "boy"]}, "births", {})
    sums.add(errors, np.zeros(300))
    groups.add({"sex": place}, errors, np.zeros(300))
    metrics = {"test_births": 300, "baselines": {"linear": {"rmse": 2.0}}, **sums.rmse().metrics("rmse")}
    run = made(tmp_path, "babyweight", metrics)
    write_table(run.folder / "evaluation/groups.csv", groups.rows(), groups.header)
    text = card(run, {"source": "synthetic"})
    values = {found.metric_type: found.metric_value for found in hub(text).eval_results}
    assert values == {"rmse": metrics["rmse"], "baselines.linear.rmse": 2.0}
    for words in ("No person is behind", "No clinical decision", "race is an input because", "| sex | boy | 150 |"):
        assert words in text
    assert "girl\\|x" in text
    assert "completed weeks" in text or "True, False or Unknown" in text
    assert "not known to the pipeline" in card(run, {"source": "files"})
    assert hub(text).datasets == ["synthetic-us-births"]
    assert "## Limits" in text and "It errs more" not in text, "both sexes alike"


def test_the_limits_name_the_groups_that_fare_worse_and_those_too_small_to_tell(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    place = np.repeat([0, 1, 2], [400, 400, 3])
    errors = random.normal(0, 1, 803) * np.array([1.0, 2.0, 1.0])[place]
    sums, groups = ErrorSums(), ErrorGroups({"race": ["White", "Black", "Samoan"]}, "births", {})
    sums.add(errors, np.zeros(803))
    groups.add({"race": place}, errors, np.zeros(803))
    metrics = {**sums.rmse().metrics("rmse"), "rmse_preterm": 1.29095, "test_births": 803}
    run = made(tmp_path, "babyweight", metrics)
    write_table(run.folder / "evaluation/groups.csv", groups.rows(), groups.header)
    text = card(run, {"source": "synthetic"})
    assert re.search(
        r"- It errs more, beyond chance, than for all others: race: Black \(\d\.\d{3} lb\)\. For all", text
    )
    assert "- Too few births to say how it does: race: Samoan (3)." in text
    assert "| RMSE of preterm births | 1.291 lb |" in text, "with its unit"


def test_an_agents_card_names_its_environment_and_why_a_figure_has_no_interval(tmp_path: Path) -> None:
    metrics = {"mean_return": 200.0, "min_return": 198.0, "share_solved": 0.5, "solved": True, "episodes": 4}
    made(tmp_path, "cartpole", metrics)
    made_of = json.loads((tmp_path / "models/cartpole/assets.extra/provenance.json").read_text())
    train = {"env": "FrozenLake-v1", "env_kwargs": {"map_name": "4x4", "is_slippery": True}, "wrappers": None}
    made_of["parameters"] = {"cartpole": {"train": train}}
    write_json(tmp_path / "models/cartpole/assets.extra/provenance.json", made_of)
    text = card(Run(tmp_path, "cartpole", {}), {"steps": 10})
    assert "environment: FrozenLake-v1; environment's arguments: is_slippery yes, map_name 4x4." in text
    assert "| least return | 198 | \N{EN DASH} (the least of a sample" in text
    assert "| episodes that reach the threshold | 50.0% |" in text


@pytest.mark.parametrize("name", workload_names())
def test_any_workload_says_what_its_model_is_for_and_what_not(name: str) -> None:
    about = find(name).card
    if about == Card():
        pytest.skip("its card tells its numbers alone")
    assert about.data and about.uses and about.misuses and about.limits and about.task != "other"


def test_every_model_of_the_pipeline_has_a_card_with_its_very_numbers(pipeline: Path, tmp_path: Path) -> None:
    for name in workload_names():
        text = (pipeline / f"results/{name}/card.md").read_text()
        run = Run(pipeline, name, {})
        measures = dict(flatten(json.loads((run.folder / "evaluate.json").read_text())))
        values = [found.metric_value for found in hub(text).eval_results]
        assert values == [measures[m.key] for m in measured(run) if not isinstance(measures[m.key], bool)]
        record = "prepare" if find(name).has_data else "train"
        command = ("stages.card", name, run.folder / f"{record}.json", tmp_path / name, "--root", pipeline)
        assert run_stage(*command, cwd=ROOT).returncode == 0
        assert (tmp_path / name).read_text() == text
