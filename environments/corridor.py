"""An environment of your own: `cartpole.train.env: corridor:Corridor-v0` imports this file, which registers it.

A walker starts anywhere in a corridor and earns a coin at its right end. Copy the file, change it, and start from
params/neutral.yaml (docs/agents.md).
"""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

LENGTH = 8

Observation = npt.NDArray[np.float32]


class Corridor(gym.Env[Observation, np.int64]):  # type: ignore[misc]
    """Observes the place from 0 to 1; action 0 goes left, 1 right; each step costs a tenth of the coin."""

    def __init__(self, length: int = LENGTH) -> None:
        self.length = length
        self.observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode. All randomness comes from `self.np_random`, which `super().reset` seeds."""
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(self.length - 1))
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Walk one place: observation, reward, whether the episode is over, and whether it was cut short."""
        self.place = min(max(self.place + (1 if action == 1 else -1), 0), self.length - 1)
        is_over = self.place == self.length - 1
        return self._observe(), 1.0 if is_over else -0.1, is_over, False, {}

    def _observe(self) -> Observation:
        return np.array([self.place / (self.length - 1)], np.float32)


gym.register("Corridor-v0", Corridor, max_episode_steps=50, reward_threshold=0.5)
