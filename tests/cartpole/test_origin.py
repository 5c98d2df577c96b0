"""Environments are the project's own or an installed package's, and what a run depends on says which."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from stages.cartpole.environments import Environment
from stages.cartpole.origin import own_code
from stages.core.errors import InputError
from stages.core.files import digest
from tests.cartpole.test_environments import named
from tests.conftest import ROOT

CODE = """
import gymnasium
gymnasium.register("{name}-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=9)
class Same(gymnasium.Wrapper):
    pass
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, the current folder, which Python's path holds as it does for `python -m`."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "environments").mkdir()
    return tmp_path


def test_an_own_module_is_imported_and_its_bytes_are_known(project: Path) -> None:
    file = project / "environments" / "own_module.py"
    file.write_text(CODE.format(name="Own") + "import own_helper\n")
    (project / "environments" / "own_helper.py").write_text("X = 1\n")
    (project / "environments" / "own_other.py").write_text("X = 1\n")
    environment = Environment(named("own_module:Own-v0", wrappers=[{"own_module:Same": {}}]))
    assert environment.max_episode_steps == 9
    assert environment.packages() == {}
    assert own_code() == {
        "environments/own_helper.py": digest(project / "environments" / "own_helper.py"),
        "environments/own_module.py": digest(file),
    }


@pytest.mark.parametrize("key", ["env", "wrappers"])
@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("beside", "module beside is neither in environments/ nor in an installed package: .*move it to environments/"),
        ("tests.conftest", "module tests is neither in environments/ nor in an installed package"),
        ("nowhere.at_all", "No module named 'nowhere'; expected it in environments/, or a package to install"),
    ],
)
def test_a_module_of_which_a_change_would_go_unnoticed_is_refused(
    project: Path, key: str, module: str, message: str
) -> None:
    (project / "beside.py").write_text(CODE.format(name="Beside"))
    name = f"{module}:Beside-v0"
    changes = {"env": "CartPole-v1", "wrappers": [{name: {}}]} if key == "wrappers" else {"env": name}
    with pytest.raises(InputError, match=rf"^cartpole\.train\.{key}: {name}: {message}") as error:
        Environment(named(**changes))
    assert "\n" not in str(error.value)
    assert "beside" not in sys.modules, "its code did not run"


def test_an_installed_package_is_known_by_its_version(project: Path) -> None:
    information = project / "site" / "some_games-1.2.dist-info"
    information.mkdir(parents=True)
    (project / "site" / "games_of_some.py").write_text(CODE.format(name="Installed"))
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: Some_Games\nVersion: 1.2\n")
    (information / "RECORD").write_text("games_of_some.py,,\nsome_games-1.2.dist-info/METADATA,,\n")
    sys.path.insert(0, str(project / "site"))
    assert Environment(named("games_of_some:Installed-v0")).packages() == {"some-games": "1.2"}
    assert "some-games" not in Environment(named("CartPole-v1")).packages()


@pytest.mark.parametrize(("name", "expected"), [("LunarLander-v3", {"box2d"}), ("CartPole-v1", set())])
def test_the_libraries_of_gymnasiums_own_environments_are_known(
    name: str, expected: set[str], params_file: Callable[..., Path]
) -> None:
    """In a process of its own: what was imported before tells nothing."""
    code = (
        "import sys; from pathlib import Path; from stages.core.params import TrainParams\n"
        "from stages.cartpole.params import Train; from stages.cartpole.environments import Environment\n"
        "print(*Environment(TrainParams[Train].read(Path(sys.argv[1])).train).packages())"
    )
    command = [sys.executable, "-c", code, str(params_file({"cartpole.train.env": name}))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert found >= expected
    assert bool(found) == bool(expected)


def test_the_example_is_an_environment_that_going_right_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    environment = Environment(named("corridor:Corridor-v0"))
    check_env(gym.make("Corridor-v0").unwrapped)
    env = environment.make()
    env.reset(seed=0)
    rewards = [env.step(np.int64(1))[1]]
    while rewards[-1] < 0:
        rewards.append(env.step(np.int64(1))[1])
    assert environment.reward_threshold is not None
    assert sum(rewards) >= environment.reward_threshold - 0.2
