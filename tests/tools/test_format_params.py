import re
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from stages.core.params import load
from tests.conftest import ROOT, assert_refused, run_stage

CHANGES = {
    "seed=1": 1,
    "cartpole.train.gamma=0.95": 1,
    "predict.tolerance=0.000003": 1,
    "babyweight.operation.dask.scheduler=tcp://host:8786": 1,
    "cartpole.train.stop.reward_threshold=150.0": 1,
    "export.as_text=true": 1,
    "cartpole.train.network.observation_scale=[2.4,3.0,0.5,3.0]": 1,
    "babyweight.train.network.hidden_units=[32]": 1,
}


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


@pytest.mark.parametrize("change", CHANGES)
def test_dvc_changes_one_line_for_one_value(params: Path, change: str) -> None:
    apply_overrides(params, [change])
    before, after = (ROOT / "params.yaml").read_text().splitlines(), params.read_text().splitlines()
    assert len(set(before) ^ set(after)) <= 2 * CHANGES[change]
    assert abs(len(before) - len(after)) <= 1


def test_a_small_number_that_dvc_writes_is_read_as_a_number(params: Path) -> None:
    apply_overrides(params, ["predict.tolerance=0.000003"])
    assert "3e-06" in params.read_text()
    assert load(params)["predict"]["tolerance"] == 3e-6


def test_another_form_is_named_and_rewritten_without_loss(params: Path) -> None:
    wanted = params.read_text()
    text = wanted.replace("scheduler:  #", "scheduler: null      #")
    text, count = re.subn(r"target_clip:  (#.*)\n *- (.*)\n *- (.*)\n", r"target_clip: [\2, \3] \1\n", text)
    assert count == 1
    params.write_text(text)
    assert_refused(run_stage("tools.format_params", "--check", params), "params.yaml: line ", "scheduler")
    assert params.read_text() == text
    assert run_stage("tools.format_params", params).returncode == 0
    assert params.read_text() == wanted


def test_the_projects_file_has_the_form() -> None:
    assert run_stage("tools.format_params", "--check").returncode == 0
