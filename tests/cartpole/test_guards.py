"""What environments return in practice, and the line that says what they must return."""

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from stages.cartpole.environments import Environment, Player
from stages.cartpole.guards import refused
from stages.core.errors import InputError
from tests.cartpole.test_environments import named

SPACE = gym.spaces.Box(-1, 1, (2,), np.float32)
ZERO = np.zeros(2, np.float32)


class Plain(gym.Env):  # type: ignore[misc]
    """A correct environment of three steps."""

    observation_space, action_space = SPACE, gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: object = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return ZERO, {}

    def step(self, action: int) -> Any:
        self.count += 1
        return ZERO, 1.0, self.count >= 3, False, {}


class FourValues(Plain):
    def step(self, action: int) -> Any:
        return super().step(action)[:4]


class NoSeed(Plain):
    def reset(self) -> Any:  # type: ignore[override]
        return ZERO, {}


class ObservationAlone(Plain):
    def reset(self, *, seed: int | None = None, options: object = None) -> Any:
        return super().reset(seed=seed)[0]


class NoNotes(Plain):
    def reset(self, *, seed: int | None = None, options: object = None) -> Any:
        return super().reset(seed=seed)[0], None

    def step(self, action: int) -> Any:
        return *super().step(action)[:4], None


class Wide(Plain):
    def step(self, action: int) -> Any:
        return np.zeros(3, np.float32), *super().step(action)[1:]


class Rewards(Plain):
    def step(self, action: int) -> Any:
        observation, _, *rest = super().step(action)
        return observation, [1.0, 2.0], *rest


class NoEnv:
    observation_space, action_space = SPACE, gym.spaces.Discrete(2)


class Silent(Plain):
    def step(self, action: int) -> Any:
        raise AssertionError


class Lists(gym.vector.VectorEnv):  # type: ignore[misc]
    """Vectorised code that returns lists."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012 - as Gymnasium has it
    short = False

    def __init__(self, num_envs: int, max_episode_steps: int) -> None:
        self.num_envs, self.single_observation_space = num_envs, SPACE
        self.single_action_space = gym.spaces.Discrete(2)
        self.observation_space = gym.vector.utils.batch_space(SPACE, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.count, self.limit = 0, max_episode_steps

    def reset(self, *, seed: int | None = None, options: object = None) -> Any:
        self.count = 0
        return [[0.0, 0.0]] * self.num_envs, {}

    def step(self, actions: Any) -> Any:
        self.count += 1
        reward = [1.0] * (self.num_envs - self.short)
        over = [self.count >= self.limit] * self.num_envs
        return [[0.0, 0.0]] * self.num_envs, reward, over, [False] * self.num_envs, {}


class TooFew(Lists):
    short = True


def registered(entry: type | None, vector_entry: type | None = None, **options: Any) -> str:
    name = f"{(entry or vector_entry).__name__}-v0"  # type: ignore[union-attr]
    if name not in gym.registry:
        options = {"max_episode_steps": 5, "reward_threshold": 1.0, **options}
        gym.register(name, entry, vector_entry_point=vector_entry, **options)
    return name


def act(observation: Any) -> Any:
    return np.zeros(len(observation), int)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            FourValues,
            "step() returned 4 values; expected five values: observation, reward, terminated, truncated, info",
        ),
        (NoSeed, "expected reset(self, *, seed=None, options=None)"),
        (ObservationAlone, "reset() returned ndarray; expected two values: observation, info"),
        (Wide, "found the observation [0. 0. 0.]; expected numbers [2]"),
        (Rewards, "found the reward [1.0, 2.0]; expected a finite number"),
        (NoEnv, "expected a gymnasium.Env, found NoEnv"),
        (Silent, "AssertionError in line "),
    ],
)
def test_what_an_environment_must_return_is_said_in_one_line(entry: type, message: str) -> None:
    for play in (lambda e: Player(e).play([0], act), lambda e: stepped(e)):
        with pytest.raises(InputError, match=re.escape(message)) as found:
            play(Environment(named(registered(entry))))
        assert str(found.value).count(f"cartpole.train.env: {entry.__name__}-v0: ") == 1
        assert "\n" not in str(found.value)


def stepped(environment: Environment) -> Any:
    envs = environment.make_vec(2)
    envs.reset(seed=0)
    return envs.step(np.zeros(2, int))


def test_notes_of_none_are_taken() -> None:
    environment = Environment(named(registered(NoNotes)))
    assert Player(environment).play([0, 1], act).tolist() == [3, 3]
    assert stepped(environment)[1].tolist() == [1, 1]


def test_vectorised_code_alone_is_trained_and_played_singly() -> None:
    environment = Environment(named(registered(None, Lists)))
    assert environment.has_vector_code
    observation, reward, terminated, *_ = stepped(environment)
    assert (observation.shape, observation.dtype, reward.tolist()) == ((2, 2), np.float32, [1, 1])
    assert terminated.tolist() == [False, False]
    assert Player(environment).play([0, 1], act).tolist() == [5, 5]


def test_vectorised_code_that_returns_too_little_is_refused() -> None:
    environment = Environment(named(registered(None, TooFew)))
    with pytest.raises(InputError, match=r"TooFew-v0: found the reward \[1\.0\]; expected a finite number"):
        stepped(environment)


class NotThese(Lists):
    """Other observations than the single environment's, as ALE's, which preprocesses."""

    def __init__(self, num_envs: int, max_episode_steps: int) -> None:
        super().__init__(num_envs, max_episode_steps)
        self.single_observation_space = gym.spaces.Box(0, 255, (4,), np.uint8)


class Breaks(Lists):
    def step(self, actions: Any) -> Any:
        raise TypeError("an integer is required")


class First(Plain):
    pass


class Second(Plain):
    pass


@pytest.mark.parametrize(("entry", "vector_entry"), [(First, NotThese), (Second, Breaks)])
def test_copies_are_stepped_where_vectorised_code_fails_or_differs(entry: type, vector_entry: type) -> None:
    environment = Environment(named(registered(entry, vector_entry)))
    assert not environment.has_vector_code
    assert isinstance(environment.make_vec(2).unwrapped, gym.vector.SyncVectorEnv)
    assert stepped(environment)[1].tolist() == [1, 1]


class Few(Plain):
    """At most three copies."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        if self.made > 4:  # the first is closed
            raise RuntimeError("no fourth copy")


def test_episodes_are_played_in_as_few_copies_as_can_be_made() -> None:
    environment = Environment(named(registered(Few)))
    player = Player(environment)
    assert len(player.envs) == 1
    assert player.play([1], act).tolist() == [3]
    assert len(player.envs) == 1
    assert player.play(range(20), act).tolist() == [3] * 20
    assert len(player.envs) == 3


def test_a_hint_at_box2d_follows_its_own_message_alone() -> None:
    missing = gym.error.DependencyNotInstalled
    assert "box2d" in str(refused("A-v0", missing("Box2D is not installed")))
    assert (
        str(refused("A-v0", missing("pygame is not installed"))) == "cartpole.train.env: A-v0: pygame is not installed"
    )


@pytest.mark.parametrize("raised", [ValueError(), gym.error.Error()], ids=lambda error: type(error).__name__)
def test_an_error_without_words_is_called_by_its_type_and_place(raised: Exception) -> None:
    def fail() -> None:
        raise raised

    with pytest.raises(type(raised)) as found:
        fail()
    place = rf"{type(raised).__name__} in line \d+ of .*test_guards\.py"
    assert re.fullmatch(rf"cartpole\.train\.env: A-v0: {place}", str(refused("A-v0", found.value)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_kwargs": {"slippery": False}}, "cartpole.train.env: FrozenLake-v1: TypeError: "),
        ({"wrappers": [{"Nothing": {}}]}, "cartpole.train.wrappers: Nothing: AttributeError: "),
        ({"wrappers": [{"no_such_module:X": {}}]}, "cartpole.train.wrappers: no_such_module:X: No module named"),
        (
            {"wrappers": [{"TimeAwareObservation": {"flat": 1}}]},
            "cartpole.train.wrappers: TimeAwareObservation: ",
        ),
    ],
)
def test_wrong_arguments_and_wrappers_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Environment(named("FrozenLake-v1", **changes))


def test_arguments_and_wrappers_are_applied_in_training_and_evaluation_alike() -> None:
    plain = Environment(named("FrozenLake-v1", env_kwargs={"is_slippery": False, "map_name": "8x8"}))
    assert plain.observations == 64
    wrapped = Environment(
        named("CartPole-v1", wrappers=[{"ClipReward": {"max_reward": 0.5}}, {"TimeAwareObservation": {}}])
    )
    assert (wrapped.observations, wrapped.has_vector_code) == (5, False)
    envs = wrapped.make_vec(2)
    assert envs.reset(seed=0)[0].shape == (2, 5)
    assert envs.step(np.zeros(2, int))[1].tolist() == [0.5, 0.5]
    returns = Player(wrapped).play([0], act)
    assert returns[0] == pytest.approx(0.5 * Player(Environment(named("CartPole-v1"))).play([0], act)[0])
