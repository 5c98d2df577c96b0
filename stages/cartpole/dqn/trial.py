"""The trial that ends training: the agent plays greedily, and well enough twice."""

import math

import numpy as np
import numpy.typing as npt

from stages.cartpole.environments import Act, Environment, play
from stages.cartpole.params import Stop
from stages.core.errors import InputError

Returns = npt.NDArray[np.float64]


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

    def passed(self, act: Act, seed: int, highest_reward: float) -> list[float] | None:
        """Play; the two mean returns if both sets pass, else None.

        Args:
            act: chooses the greedy actions.
            seed: of the episodes.
            highest_reward: of a step so far, at least 0.
        """
        play_all = self._play if self.vector_env is None else self._play_vector
        returns = play_all(act, seed, highest_reward)
        if returns is None or not self._pass(returns):
            return None
        return [float(mean) for mean in returns.reshape(2, -1).mean(axis=1)]

    def _play(self, act: Act, seed: int, _: float) -> Returns | None:
        """Returns of all episodes; None if the first of them fail, which saves the others."""
        first, seeds = max(1, len(self.envs) // 20), range(seed, seed + len(self.envs))
        returns = play(self.envs[:first], seeds[:first], act)
        if returns.mean() < self.threshold:
            return None
        return np.concatenate([returns, play(self.envs[first:], seeds[first:], act)])

    def _play_vector(self, act: Act, seed: int, highest_reward: float) -> Returns | None:
        """Returns of all episodes; None once not even the highest reward in all steps left makes them pass."""
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
                return None
        return returns

    def _pass(self, returns: Returns) -> bool:
        sets = returns.reshape(2, -1)
        error = sets.std(axis=1, ddof=1) / math.sqrt(self.stop.n_eval_episodes)
        return bool((sets.mean(axis=1) - self.stop.margin * error >= self.threshold).all())
