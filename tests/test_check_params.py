import json
from collections.abc import Callable
from pathlib import Path

from stages.check_params import schema
from tests.conftest import ROOT, assert_refused, run_stage


def test_the_committed_json_schema_is_current(tmp_path: Path) -> None:
    done = run_stage("stages.check_params", tmp_path / "schema.json", tmp_path / "checked")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "schema.json").read_text() == (ROOT / "params.schema.json").read_text()
    assert "# yaml-language-server: $schema=params.schema.json" in (ROOT / "params.yaml").read_text()
    assert set(json.loads((tmp_path / "schema.json").read_text())["properties"]) == set(schema().model_fields)


def test_a_wrong_parameter_leaves_the_outputs_alone(tmp_path: Path, params_file: Callable[..., Path]) -> None:
    params = params_file({"mnist.train.learning_rate": -1.0})
    done = run_stage("stages.check_params", tmp_path / "schema.json", tmp_path / "checked", "--params", params)
    assert_refused(done, "mnist.train.learning_rate: -1.0: input should be greater than 0")
    assert list(tmp_path.iterdir()) == [params]
