"""When training ends: the agent plays greedily, and well enough twice."""

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from stages.cartpole.dqn.agent import environments
from stages.cartpole.params import Stop
from stages.core.errors import InputError


class Trial:
    """Two independent sets of greedy episodes, played side by side.

    Args:
        name: the environment.
        stop: sets, threshold and margin.
        longest: steps after which an episode without a time limit of its own is cut.

    Raises:
        InputError: if neither the parameters nor the environment say what solves it.
    """

    def __init__(self, name: str, stop: Stop, longest: int) -> None:
        self.envs = environments(name, 2 * stop.episodes)
        spec = gym.spec(name)
        self.stop, self.longest = stop, spec.max_episode_steps or longest
        threshold = spec.reward_threshold if stop.threshold is None else stop.threshold
        if threshold is None:
            raise InputError(f"cartpole.train.stop.threshold: null: {name} has none of its own, expected a number")
        self.threshold = float(threshold)

    def passed(self, act: Callable[[Any], Any], seed: int, best: float) -> list[float] | None:
        """Play; the two mean returns if both sets pass, else None.

        Args:
            act: greedy actions for observations.
            seed: of the episodes.
            best: the highest reward of a step known, at least 0: a trial that cannot pass any more even so is given up.
        """
        observation, _ = self.envs.reset(seed=seed)
        returns, running = np.zeros(len(observation)), np.ones(len(observation), np.bool_)
        for step in range(self.longest):
            observation, reward, terminated, truncated, _ = self.envs.step(act(observation))
            returns += np.where(running, reward, 0.0)
            running &= ~(terminated | truncated)
            if not running.any():
                break
            rest = best * (self.longest - step - 1)
            if step % 8 == 0 and not self._pass(returns + running * rest):
                return None
        return [float(mean) for mean in returns.reshape(2, -1).mean(axis=1)] if self._pass(returns) else None

    def _pass(self, returns: npt.NDArray[np.float64]) -> bool:
        sets = returns.reshape(2, -1)
        error = sets.std(axis=1, ddof=1) / math.sqrt(self.stop.episodes)
        return bool((sets.mean(axis=1) - self.stop.margin * error >= self.threshold).all())
