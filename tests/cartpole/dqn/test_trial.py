from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from stages.cartpole.dqn.trial import Outcome, Trial
from stages.cartpole.environments import Environment
from stages.cartpole.params import Stop, Train
from stages.core.params import TrainParams
from tests.conftest import ROOT

TRAIN = TrainParams[Train].read(ROOT / "params.yaml").train
STOP = Stop(reward_threshold=None, n_eval_episodes=20, eval_freq=256, margin=2.0, time_limits=1)


def play(act: Callable[[Any], Any], stop: Stop = STOP, env: str = "CartPole-v0") -> list[float] | None:
    environment = Environment(TRAIN.model_copy(update={"env": env, "stop": stop}))
    return Trial(environment, stop).hold(act, 7, 1.0).set_returns


def balance(observation: Any) -> Any:
    """A rule that keeps the pole up: push to where it falls, and back from the edge."""
    return (observation @ np.array([0.05, 0.2, 1.0, 0.5]) > 0).astype(np.int64)


def test_a_trial_passes_a_good_policy_with_the_means_of_two_sets() -> None:
    assert play(balance) == [200.0, 200.0]


def test_returns_exactly_at_the_threshold_pass() -> None:
    assert play(balance, STOP.model_copy(update={"reward_threshold": 200.0})) == [200.0, 200.0]
    trial = Trial(Environment(TRAIN), STOP)
    exact, below = np.full(40, 195.0), np.full(40, np.nextafter(195.0, 0))
    assert trial._can_pass(exact, exact) and not trial._can_pass(below, below)
    assert trial._can_pass(below, exact), "still reachable"
    assert not trial._is_hopeless(exact[:5]) and trial._is_hopeless(below[:5])


def test_a_trial_that_is_given_up_says_what_the_episodes_had_earned() -> None:
    environment = Environment(TRAIN.model_copy(update={"stop": STOP}))
    trial = Trial(environment, STOP)
    left = trial.hold(lambda observation: np.zeros(len(observation), np.int64), 7, 1.0)
    assert (left.complete, left.set_returns) == (False, None)
    assert 8 <= left.mean_return <= 11
    assert trial.hold(balance, 7, 1.0) == Outcome(200.0, True, [200.0, 200.0])


def test_a_trial_fails_a_bad_policy() -> None:
    assert play(lambda observation: np.zeros(len(observation), np.int64)) is None


def mixed(bad_share: float) -> Callable[[Any], Any]:
    """The rule in most episodes of each set, always left in the others."""
    bad = np.arange(40) % 20 < bad_share * 20
    return lambda observation: np.where(bad, 0, balance(observation))


def test_a_trial_asks_for_a_margin_where_episodes_differ() -> None:
    # One episode in twenty ends at about ten steps: a mean of 190.5, a standard error of 9.5.
    easy = {**STOP.model_dump(), "reward_threshold": 185.0}
    means = play(mixed(0.05), Stop(**{**easy, "margin": 0.0}))
    assert means is not None
    assert min(means) > 185
    assert play(mixed(0.05), Stop(**easy)) is None


def test_a_trial_asks_both_sets() -> None:
    half = np.arange(40) < 20
    assert play(lambda observation: np.where(half, 0, balance(observation))) is None
    assert play(lambda observation: np.where(half, balance(observation), 0)) is None


def test_longer_episodes_must_earn_the_threshold_in_every_time_limit() -> None:
    means = play(balance, STOP.model_copy(update={"time_limits": 3}))
    assert means == [600.0, 600.0]
    steps = iter(range(10_000))

    def tires(observation: Any) -> Any:
        """Balance for one time limit, then fall."""
        return balance(observation) if next(steps) < 200 else np.zeros(len(observation), np.int64)

    assert play(tires, STOP.model_copy(update={"time_limits": 3})) is None


def test_a_trial_without_vectorised_code_plays_as_well_and_gives_up_early() -> None:
    name = "CartPoleAlone-v0"
    if name not in gym.registry:
        point = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"
        gym.register(name, point, max_episode_steps=200, reward_threshold=195.0)
    assert play(balance, env=name) == [200.0, 200.0]
    played = []

    def left(observation: Any) -> Any:
        played.append(len(observation))
        return np.zeros(len(observation), np.int64)

    assert play(left, env=name) is None
    assert max(played) == 2

    def worse(observation: Any) -> Any:
        """Balance in the first two episodes alone."""
        played.append(len(observation))
        return balance(observation) if len(played) <= 200 else left(observation)

    played.clear()
    assert play(worse, env=name) is None
    assert max(played) < 10


class Goal(gym.vector.VectorEnv):  # type: ignore[misc]
    """Each episode ends in its own time with a reward of one."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, num_envs: int, max_episode_steps: int) -> None:
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = gym.spaces.Box(0, 1, (1,)), gym.spaces.Discrete(2)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: object = None) -> Any:
        super().reset(seed=seed)
        self.left = self.np_random.integers(1, 90, self.num_envs)
        return np.zeros((self.num_envs, 1), np.float32), {}

    def step(self, actions: Any) -> Any:
        self.left -= 1
        at_goal = self.left == 0
        return np.zeros((self.num_envs, 1), np.float32), 1.0 * at_goal, at_goal, np.zeros_like(at_goal), {}


def test_an_agent_that_always_reaches_a_goal_passes_whenever_its_episodes_end() -> None:
    if "Goal-v0" not in gym.registry:
        gym.register("Goal-v0", vector_entry_point=Goal, max_episode_steps=100, reward_threshold=0.95)
    stop = STOP.model_copy(update={"margin": 4.0})
    trial = Trial(Environment(TRAIN.model_copy(update={"env": "Goal-v0", "stop": stop})), stop)
    for seed in range(20):
        held = trial.hold(lambda observation: np.zeros(len(observation), int), seed, 1.0)
        assert held == Outcome(1.0, True, [1.0, 1.0])


class Lottery(gym.Env):  # type: ignore[misc]
    """One step; the return is drawn from a normal distribution."""

    observation_space, action_space = gym.spaces.Box(0, 1, (1,)), gym.spaces.Discrete(2)

    def __init__(self, mean: float) -> None:
        self.mean = mean

    def reset(self, *, seed: int | None = None, options: object = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> Any:
        return np.zeros(1, np.float32), self.np_random.normal(self.mean, 80), True, False, {}


def lottery(mean: float, trials: int) -> tuple[float, float, float]:
    """Share of trials passed, share that would be if played out, and share of the episodes that were played."""
    if "Lottery-v0" not in gym.registry:
        gym.register("Lottery-v0", Lottery, max_episode_steps=2, reward_threshold=200.0)
    stop = Stop(reward_threshold=None, n_eval_episodes=100, eval_freq=1, margin=3.0, time_limits=1)
    trial = Trial(
        Environment(TRAIN.model_copy(update={"env": "Lottery-v0", "env_kwargs": {"mean": mean}, "stop": stop})), stop
    )
    assert trial.player
    passed, episodes, would = 0, 0, 0

    def act(observation: Any) -> Any:
        nonlocal episodes
        episodes += len(observation)
        return np.zeros(len(observation), int)

    for seed in range(0, trials * 1000, 1000):
        passed += trial.hold(act, seed, 0.0).set_returns is not None
        played = trial.player.play(range(seed, seed + 200), lambda o: np.zeros(len(o), int)).reshape(2, 100)
        would += bool((played.mean(axis=1) - 3 * played.std(axis=1, ddof=1) / 10 >= 200).all())
    return passed / trials, would / trials, episodes / trials / 200


@pytest.mark.parametrize(("count", "doubt"), [(2, 4.5), (6, 2.5)])  # 2 + (2³ + 2) / (4 (count - 1))
def test_a_set_is_hopeless_below_the_forecast_of_its_mean(count: int, doubt: float) -> None:
    trial = Trial(Environment(TRAIN), STOP)
    returns = np.tile([-1.0, 1.0], count // 2)
    returns /= returns.std(ddof=1)
    lowest = 195 + 2 / 20**0.5 - doubt * (1 / count - 1 / 20) ** 0.5
    for full in (np.zeros(0), np.full(20, 300.0)):
        assert not trial._is_hopeless(np.append(full, returns + lowest + 1e-6))
        assert trial._is_hopeless(np.append(full, returns + lowest - 1e-6))


def test_trials_are_judged_often_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    monkeypatch.setattr(Trial, "_is_hopeless", lambda _, returns: judged.append(len(returns)))
    lottery(300.0, 1)
    assert judged == [2, 4, 7, 10, 15, 20, 30, 40, 70, 100, 120, 150, 200]


def test_trials_stop_hopeless_agents_early_and_lose_hardly_any_good_one() -> None:
    passed, would, played = lottery(100.0, 40)
    assert (passed, would) == (0, 0)
    assert played < 0.06
    passed, would, played = lottery(200.0, 60)  # at the threshold
    assert (passed, would) == (0, 0)
    assert played < 0.35
    passed, would, _ = lottery(238.0, 60)
    assert would - 0.1 <= passed <= would
    assert would > 0.7
