from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

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
        """Balance in the first set of episodes, the smallest, alone."""
        played.append(len(observation))
        return balance(observation) if len(played) <= 200 else left(observation)

    played.clear()
    assert play(worse, env=name) is None
    assert max(played) == 6
