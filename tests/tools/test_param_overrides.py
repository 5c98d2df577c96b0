import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from stages.cartpole.environments import Environment
from stages.cartpole.params import Params, Train
from stages.cartpole.train import DQN
from stages.check_params import schema
from stages.core.errors import InputError
from stages.core.params import TrainParams
from tests.conftest import ROOT, assert_refused, run_stage
from tools.param_overrides import override, read

SETS = sorted((ROOT / "params").glob("*.yaml"))
DEFAULTS = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_a_shipped_set_fits_the_schema(path: Path) -> None:
    schema().model_validate(override(DEFAULTS, read(path)))


@pytest.mark.parametrize("path", [path for path in SETS if "cartpole.train.env" in read(path)], ids=lambda p: p.stem)
def test_an_agents_set_fits_its_environment(path: Path, tmp_path: Path) -> None:
    changes = read(path)
    params = Params.model_validate(override(DEFAULTS, changes)["cartpole"])
    module, _, name = params.train.env.rpartition(":")
    assert name.replace("/", "-") == path.stem
    if module:
        pytest.importorskip(module)
    environment = Environment(params.train)
    if params.evaluate.plane:
        params.evaluate.plane.check(environment.observations)
    unchanged = [key for key, value in changes.items() if override(DEFAULTS, {key: value}) == DEFAULTS]
    assert not unchanged, "keys that the defaults have already"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(override(DEFAULTS, changes)))
    agent = DQN(TrainParams[Train].read(tmp_path / "params.yaml"))
    agent.round()
    assert agent.steps > params.train.n_envs * params.train.train_freq // 2


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_dvc_takes_a_set_as_it_is_printed(path: Path, tmp_path: Path) -> None:
    done = run_stage("tools.param_overrides", path)
    assert done.returncode == 0, done.stderr
    arguments = [word.removeprefix("--set-param=") for word in shlex.split(done.stdout)]
    scratch = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", scratch)
    apply_overrides(scratch, arguments)
    assert yaml.safe_load(scratch.read_text()) == override(DEFAULTS, read(path))


def test_arguments_and_wrappers_of_an_environment_reach_dvc(tmp_path: Path) -> None:
    train = {"env_kwargs": {"map_name": "8x8"}, "wrappers": [{"ClipReward": {"max_reward": 1.0}}, {"TimeLimit": {}}]}
    (tmp_path / "set.yaml").write_text(yaml.safe_dump({"cartpole": {"train": train}}))
    done = run_stage("tools.param_overrides", tmp_path / "set.yaml")
    arguments = [word.removeprefix("--set-param=") for word in shlex.split(done.stdout)]
    shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(tmp_path / "params.yaml", arguments)
    assert yaml.safe_load((tmp_path / "params.yaml").read_text()) == override(DEFAULTS, read(tmp_path / "set.yaml"))


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(InputError, match=r"^cartpole\.train\.n_step: unknown key$"):
        override(DEFAULTS, {"cartpole.train.n_step": 3})
    with pytest.raises(InputError, match=r"^seed\.of: unknown key$"):
        override(DEFAULTS, {"seed.of": 3})


def test_a_missing_or_empty_set_is_refused(tmp_path: Path) -> None:
    assert_refused(run_stage("tools.param_overrides", tmp_path / "none.yaml"), "none.yaml: no such file")
    (tmp_path / "empty.yaml").write_text("")
    assert_refused(run_stage("tools.param_overrides", tmp_path / "empty.yaml"), "expected sections of parameters")
