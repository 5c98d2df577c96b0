"""An environment of images that a test can solve in seconds: a pixel falls, a paddle of one pixel catches it."""

from typing import Any

import gymnasium as gym
import numpy as np


class Catch(gym.Env):  # type: ignore[misc]
    """One value a pixel: the ball and the paddle are at the type's highest value.

    Args:
        size: height and width.
        dtype: type of an observation, `bool`, `uint8` or `float32`.
        channels: None, or `first` or `last`: ball and paddle are channels of their own, on this axis.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012

    def __init__(
        self, size: int = 6, dtype: str = "uint8", channels: str | None = None, render_mode: str | None = None
    ) -> None:
        self.size, self.channels, self.render_mode = size, channels, render_mode
        shape = {None: (size, size), "first": (2, size, size), "last": (size, size, 2)}[channels]
        self.highest = 255 if dtype == "uint8" else 1
        self.observation_space = gym.spaces.Box(0, self.highest, shape, np.dtype(dtype))
        self.action_space = gym.spaces.Discrete(3)

    def _image(self) -> np.ndarray:
        image = np.zeros((self.size, self.size, 2), np.float32)
        image[(*self.ball, 0)] = image[self.size - 1, self.paddle, 1] = self.highest
        if self.channels is None:
            image = image.max(axis=-1)
        elif self.channels == "first":
            image = np.moveaxis(image, -1, 0)
        return image.astype(self.observation_space.dtype)

    def reset(self, *, seed: int | None = None, options: object = None) -> Any:
        super().reset(seed=seed)
        self.ball, self.paddle = (0, int(self.np_random.integers(self.size))), self.size // 2
        return self._image(), {}

    def step(self, action: int) -> Any:
        self.paddle = int(np.clip(self.paddle + action - 1, 0, self.size - 1))
        self.ball = (self.ball[0] + 1, self.ball[1])
        ended = self.ball[0] == self.size - 1
        return self._image(), float(ended and self.ball[1] == self.paddle), ended, False, {}

    def render(self) -> np.ndarray:
        drawn = np.zeros((self.size, self.size, 3), np.uint8)
        drawn[self.ball] = drawn[self.size - 1, self.paddle] = 255
        return drawn.repeat(8, 0).repeat(8, 1)


gym.register("Catch-v0", Catch, max_episode_steps=50, reward_threshold=0.9)
