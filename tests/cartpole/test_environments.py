import math
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from stages.cartpole.environments import EVALUATION_SEEDS, Environment, Player, evaluation_seed
from stages.cartpole.params import MOST_EPISODES, Train
from stages.core.errors import InputError
from stages.core.params import TrainParams
from tests.cartpole import catch  # noqa: F401  registers Catch-v0
from tests.conftest import ROOT

TRAIN = TrainParams[Train].read(ROOT / "params.yaml").train


def named(env: str, **changes: object) -> Train:
    return TRAIN.model_copy(update={"env": env, **changes})


class Scripted(gym.Env):  # type: ignore[misc]
    """An environment of any spaces that never ends by itself, and breaks at will."""

    def __init__(
        self,
        space: gym.Space,
        action: gym.Space | None = None,
        fails: str = "",
        first: object = None,
        reward: Any = 1.0,
    ):
        self.observation_space, self.action_space, self.fails = space, action or gym.spaces.Discrete(2), fails
        self.first, self.reward = first, reward

    def reset(self, seed: int | None = None, options: object = None) -> tuple[object, dict[str, object]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        if self.fails == "reset":
            raise RuntimeError("the arm\nis broken")
        if self.fails == "exit":
            sys.exit(5)
        return self.observation_space.sample() if self.first is None else self.first, {}

    def close(self) -> None:
        if self.fails == "close":
            raise OSError("the door is stuck")

    def step(self, action: int) -> tuple[object, float, bool, bool, dict[str, object]]:
        if self.fails == "step":
            raise ZeroDivisionError("no ground")
        return self.observation_space.sample(), self.reward, False, False, {}


def register(name: str, space: gym.Space, **options: object) -> str:
    if name not in gym.registry:
        gym.register(name, lambda **keys: Scripted(space, **keys), **options)
    return name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nothing-v0", ["Nothing-v0", "doesn't exist"]),
        ("CartPole", ["CartPole", "No registered env"]),
        ("no_such_module:CartPole-v1", ["no_such_module:CartPole-v1", "No module named 'no_such_module'"]),
        ("Pendulum-v1", ["Pendulum-v1", "expected Discrete actions", "found Box"]),
    ],
)
def test_an_environment_that_a_dqn_cannot_play_is_refused_in_one_line(name: str, words: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        Environment(named(name))
    message = str(refused.value)
    assert message.startswith("cartpole.train.env: ")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("shape", [(0,), (256, 256, 3)])
def test_observations_without_values_or_with_too_many_are_refused(shape: tuple[int, ...]) -> None:
    name = register(f"Shape{len(shape)}-v0", gym.spaces.Box(0, 1, shape, np.float32), reward_threshold=1.0)
    with pytest.raises(InputError, match=r"expected 1 to 131072 values an observation"):
        Environment(named(name))


def test_vectorised_code_is_used_where_there_is_some() -> None:
    cartpole, acrobot = Environment(named("CartPole-v1")), Environment(named("Acrobot-v1"))
    assert type(cartpole.make_vec(2).unwrapped).__name__ == "CartPoleVectorEnv"
    assert isinstance(acrobot.make_vec(2).unwrapped, gym.vector.SyncVectorEnv)
    assert (cartpole.has_vector_code, acrobot.has_vector_code) == (True, False)


def test_a_module_that_registers_the_environment_is_imported() -> None:
    environment = Environment(named("gymnasium.envs.classic_control:MountainCar-v0"))
    assert (environment.observations, environment.actions) == (2, 3)
    assert environment.reward_threshold == -110
    assert environment.max_episode_steps == 200


def test_discrete_observations_are_one_hot() -> None:
    environment = Environment(named("FrozenLake-v1"))
    assert environment.observations == 16
    observation, _ = environment.make_vec(3).reset(seed=0)
    assert observation.tolist() == [[1] + [0] * 15] * 3
    single, _ = environment.make().reset(seed=0)
    assert single.tolist() == observation[0].tolist()


def test_images_are_flattened() -> None:
    name = register("Image-v0", gym.spaces.Box(0, 1, (10, 10, 4), np.bool_), reward_threshold=1.0)
    environment = Environment(named(name))
    assert environment.observations == 400
    assert environment.make_vec(2).reset(seed=0)[0].shape == (2, 400)


def test_how_an_observation_is_kept_and_whether_it_is_convolved_follows_its_space() -> None:
    stack: dict[str, Any] = {"FrameStackObservation": {"stack_size": 3}}
    flat: dict[str, Any] = {"FlattenObservation": {}}
    zeros: dict[str, Any] = {"FrameStackObservation": {"stack_size": 3, "padding_type": "zero"}}
    for dtype, wrappers, shape, stored, frames in (
        ("uint8", [], [6, 6], np.uint8, 1),
        ("bool", [stack], [3, 6, 6], np.bool_, 3),
        ("bool", [zeros], [3, 6, 6], np.bool_, 1),
        ("float32", [stack], [3, 6, 6], np.float32, 3),
        ("uint8", [flat], None, np.uint8, 1),
        ("uint8", [flat, stack], None, np.uint8, 3),
        ("float32", [], None, None, 1),
    ):
        found = Environment(named("Catch-v0", env_kwargs={"dtype": dtype}, wrappers=wrappers))
        assert (found.image and found.image["shape"], found.stored, found.frames) == (shape, stored, frames)


def test_the_time_limit_is_the_environments_or_the_parameters_or_trainings() -> None:
    name = register("Endless-v0", gym.spaces.Box(-1, 1, (2,), np.float32), reward_threshold=5.0)
    assert Environment(named("CartPole-v0")).max_episode_steps == 200
    assert Environment(named("CartPole-v0", max_episode_steps=7)).max_episode_steps == 7
    endless = Environment(named(name, total_timesteps=1000, n_envs=10))
    assert endless.max_episode_steps == 100
    returns = Player(endless).play([0, 1], lambda observation: np.zeros(len(observation), int))
    assert returns.tolist() == [100, 100]


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("reset", "RuntimeError: the arm is broken"),
        ("step", "ZeroDivisionError: no ground"),
        ("exit", "SystemExit: 5"),
    ],
)
def test_an_exception_of_the_environment_is_one_line(fails: str, message: str) -> None:
    space = gym.spaces.Box(-1, 1, (2,), np.float32)
    name = register(f"Fails{fails}-v0", space, kwargs={"fails": fails}, reward_threshold=1.0)
    environment = Environment(named(name))
    with pytest.raises(InputError, match=rf"^cartpole\.train\.env: {name}: {message}$"):
        Player(environment).play([0], lambda observation: np.zeros(1, int))
    envs = environment.make_vec(2)
    with pytest.raises(InputError, match=rf"{name}: {message}$"):
        envs.reset(seed=0)
        envs.step(np.zeros(2, int))


def test_closing_may_fail_too() -> None:
    space = gym.spaces.Box(-1, 1, (2,), np.float32)
    name = register("Stuck-v0", space, kwargs={"fails": "close"}, reward_threshold=1.0)
    with pytest.raises(InputError, match=rf"{name}: OSError: the door is stuck$"):
        Environment(named(name))


@pytest.mark.parametrize(
    ("name", "first", "reward", "message"),
    [
        ("Nan-v0", np.full(2, np.nan), 1.0, r"found the observation \[nan nan\]; expected finite numbers"),
        ("Huge-v0", np.array([1e300, 0]), 1.0, r"found the observation \[1\.e\+300 0\.e\+000\]; expected finite"),
        ("Short-v0", [0.0], 1.0, r"found the observation \[0\.0\]; expected numbers \[2\]"),
        ("Words-v0", "up", 1.0, r"found the observation up; expected numbers"),
        ("NanReward-v0", None, math.nan, r"found the reward nan; expected a finite number"),
        ("NoReward-v0", np.zeros(2), None, r"found the reward None; expected a finite number"),
    ],
)
def test_what_is_no_number_is_refused(name: str, first: object, reward: Any, message: str) -> None:
    """It would end in weights that are none, and an agent that seems to have solved it."""
    space = gym.spaces.Box(-1, 1, (2,), np.float64)
    keys = {"first": first, "reward": reward}
    environment = Environment(named(register(name, space, kwargs=keys, reward_threshold=1.0, max_episode_steps=3)))
    with pytest.raises(InputError, match=rf"^cartpole\.train\.env: {name}: {message}"):
        Player(environment).play([0], lambda observation: np.zeros(1, int))


def test_whole_numbers_at_first_do_not_make_the_others_whole() -> None:
    space = gym.spaces.Box(-1, 1, (2,), np.float32)
    name = register("Whole-v0", space, kwargs={"first": np.array([0, 0])}, reward_threshold=1.0, max_episode_steps=5)
    seen = []

    def act(observation: np.ndarray) -> np.ndarray:
        seen.append(observation.copy())
        return np.zeros(1, int)

    Player(Environment(named(name))).play([0], act)
    assert {values.dtype for values in seen} == {np.dtype(np.float32)}
    assert all(np.any(values % 1) for values in seen[1:])


def test_observations_of_any_length_are_refused() -> None:
    name = register("Sequence-v0", gym.spaces.Sequence(gym.spaces.Discrete(3)), reward_threshold=1.0)
    with pytest.raises(InputError, match=r"Sequence-v0: expected observations of one size, found Sequence"):
        Environment(named(name))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(**_: object) -> gym.Env:
        raise gym.error.DependencyNotInstalled("Box2D is not installed")

    if "NeedsBox2D-v0" not in gym.registry:
        gym.register("NeedsBox2D-v0", entry, reward_threshold=1.0)
    with pytest.raises(InputError, match=r'NeedsBox2D-v0: Box2D is not installed.*pip install "gymnasium\[box2d\]"'):
        Environment(named("NeedsBox2D-v0"))


def test_episodes_played_side_by_side_are_those_played_alone() -> None:
    environment = Environment(named("CartPole-v1"))

    def act(observation: np.ndarray) -> np.ndarray:
        return (observation[:, 2] > 0).astype(int)

    together = Player(environment).play(range(5), act)
    alone = [Player(environment).play([seed], act)[0] for seed in range(5)]
    assert together.tolist() == alone
    assert len(set(alone)) > 1


def test_evaluation_has_seeds_of_its_own_below_the_largest() -> None:
    firsts = [evaluation_seed(seed) - EVALUATION_SEEDS.start for seed in (0, 1, 255, 256)]
    assert firsts == [0, MOST_EPISODES, 255 * MOST_EPISODES, 0]
    assert evaluation_seed(255) + MOST_EPISODES == EVALUATION_SEEDS.stop == 2**31


def test_a_module_may_register_its_environments_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = "gymnasium.envs.classic_control:CartPoleEnv"
    code = f"import gymnasium\ndef register_envs():\n    gymnasium.register('OnDemand-v0', '{point}')\n"
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments/on_demand.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    assert Environment(named("on_demand:OnDemand-v0")).observations == 4
