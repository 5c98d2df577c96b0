"""What every agent in the comparison does alike: when it stops, how it is judged, what it reports.

It imports NumPy and Gymnasium alone, so that it runs in any agent's environment.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

gym.logger.min_level = gym.logger.ERROR  # it says that CartPole-v0 is out of date
MOST_STEPS = 500_000
EPISODES = 100
PROBE = 20
"""Episodes of a first look: an agent that is clearly below the threshold in them is not tried further."""
TRIAL_EVERY = {"Acrobot-v1": 4096, "LunarLander-v3": 8192, "MountainCar-v0": 4096}
"""Environment steps between two trials of an agent that has none; every 1024 in other environments."""

Act = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def arguments() -> argparse.Namespace:
    """Environment, seed, parameters, and where to write weights and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("env")
    parser.add_argument("seed", type=int)
    parser.add_argument("params", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("report", type=Path)
    return parser.parse_args()


def returns(name: str, act: Act, episodes: int, seed: int) -> npt.NDArray[np.float64]:
    """Returns of greedy episodes [episodes]."""
    envs = gym.make_vec(name, episodes)
    observation, _ = envs.reset(seed=seed)
    total, running = np.zeros(episodes), np.ones(episodes, np.bool_)
    while running.any():
        observation, reward, terminated, truncated, _ = envs.step(act(observation))
        total += np.where(running, reward, 0.0)
        running &= ~(terminated | truncated)
    return total


class Judge:
    """The stopping test for agents that have none: two sets of greedy episodes, at no cost to them.

    It is easier than ours: two standard errors above the threshold are enough.

    Args:
        name: the environment.
        seed: the run's.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed, self.trials = name, seed, 0
        self.threshold = float(gym.spec(name).reward_threshold or 0)
        self.cpu, self.wall = 0.0, 0.0

    def solved(self, act: Act) -> bool:
        """Whether both sets pass by two standard errors; the time that this takes is kept apart."""
        cpu, wall = time.process_time(), time.perf_counter()
        self.trials += 1
        seed = 100_000 * self.seed + self.trials
        # A probe has its own seed, so that a set's episodes do not depend on it.
        probe = returns(self.name, act, PROBE, 2**31 + seed)
        passed = False
        if probe.mean() + 2 * probe.std(ddof=1) / math.sqrt(PROBE) >= self.threshold:
            sets = returns(self.name, act, 2 * EPISODES, seed).reshape(2, -1)
            surely = sets.mean(axis=1) - 2 * sets.std(axis=1, ddof=1) / math.sqrt(EPISODES)
            passed = bool((surely >= self.threshold).all())
        self.cpu += time.process_time() - cpu
        self.wall += time.perf_counter() - wall
        return passed


def report(args: argparse.Namespace, act: Act, measured: dict[str, float]) -> None:
    """Write what was measured, and the mean return of fresh episodes."""
    fresh = float(returns(args.env, act, EPISODES, 2**32 + args.seed).mean())
    threshold = float(gym.spec(args.env).reward_threshold or 0)
    args.report.write_text(json.dumps({**measured, "fresh_return": fresh, "solved": fresh >= threshold}))
