"""The trial that ends training: the agent plays greedily, and well enough twice."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.cartpole.environments import Act, Environment, play
from stages.cartpole.params import Stop
from stages.core.errors import InputError

Returns = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Args:
        mean_return: mean return of the episodes played; a lower bound if the trial was given up.
        complete: whether every episode was played to its end; False: the trial was given up, as it could not be passed.
        set_returns: the two sets' mean returns if both pass, else None.
    """

    mean_return: float
    complete: bool
    set_returns: list[float] | None


class Trial:
    """Two independent sets of greedy episodes, played side by side.

    Args:
        environment: what is played.
        stop: number of episodes, threshold and margin.

    Raises:
        InputError: if neither the parameters nor the environment have a threshold.
    """

    def __init__(self, environment: Environment, stop: Stop) -> None:
        if environment.reward_threshold is None:
            raise InputError(
                f"cartpole.train.stop.reward_threshold: null: {environment.name} has none of its own, expected a number"
            )
        self.stop, self.max_episode_steps = stop, stop.time_limits * environment.max_episode_steps
        self.threshold = stop.time_limits * environment.reward_threshold
        episodes, vectorised = 2 * stop.n_eval_episodes, environment.has_vector_code
        self.vector_env = environment.make_vec(episodes, stop.time_limits) if vectorised else None
        self.envs = [] if vectorised else [environment.make(stop.time_limits) for _ in range(episodes)]

    def hold(self, act: Act, seed: int, highest_reward: float) -> Outcome:
        """Play; give up as soon as the trial cannot be passed.

        Args:
            act: chooses the greedy actions.
            seed: of the episodes.
            highest_reward: of a step so far, at least 0.
        """
        play_all = self._play if self.vector_env is None else self._play_vector
        returns, complete = play_all(act, seed, highest_reward)
        passed = complete and self._pass(returns)
        sets = [float(mean) for mean in returns.reshape(2, -1).mean(axis=1)] if passed else None
        return Outcome(float(returns.mean()), complete, sets)

    def _play(self, act: Act, seed: int, _: float) -> tuple[Returns, bool]:
        """Returns of all episodes, or of the first ones, and False, if these fail; most bad agents fail early."""
        returns, episodes = np.empty(0), len(self.envs)
        for stop in dict.fromkeys(max(1, episodes // part) for part in (20, 5, 2, 1)):
            start = len(returns)
            more = play(self.envs[start:stop], range(seed + start, seed + stop), act)
            returns = np.concatenate([returns, more])
            if returns.mean() < self.threshold:
                break
        return returns, len(returns) == episodes

    def _play_vector(self, act: Act, seed: int, highest_reward: float) -> tuple[Returns, bool]:
        """Returns of all episodes; so far, and False, once the highest reward in all steps left would not pass."""
        assert self.vector_env is not None
        observation, _ = self.vector_env.reset(seed=seed)
        returns, running = np.zeros(len(observation)), np.ones(len(observation), np.bool_)
        for step in range(self.max_episode_steps):
            observation, reward, terminated, truncated, _ = self.vector_env.step(act(observation))
            returns += np.where(running, reward, 0.0)
            running &= ~(terminated | truncated)
            if not running.any():
                break
            possible = highest_reward * (self.max_episode_steps - step - 1)
            if step % 8 == 0 and not self._pass(returns + running * possible):
                return returns, False
        return returns, True

    def _pass(self, returns: Returns) -> bool:
        sets = returns.reshape(2, -1)
        error = sets.std(axis=1, ddof=1) / math.sqrt(self.stop.n_eval_episodes)
        return bool((sets.mean(axis=1) - self.stop.margin * error >= self.threshold).all())
