"""Observations that are images: which ones are, how their axes lie, and the convolutions that they go through."""

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

LARGE, SMALLEST = 36, 3
"""Pixels of a side from which on an image is large; one with fewer than the smallest is no image."""

# Filters, size and stride of each layer.
LARGE_IMAGES = [[32, 8, 4], [64, 4, 2], [64, 3, 1]]
"""Source: Mnih et al., "Human-level control through deep reinforcement learning" (2015)."""
SMALL_IMAGES = [[16, 3, 1]]
"""Source: Young and Tian, "MinAtar: An Atari-Inspired Testbed" (2019)."""


def axes(shape: Sequence[int]) -> list[int]:
    """An image's axes in the order height, width, channels: the channels are the first axis if that is the smallest.

    Several frames [frames, ...] become channels.
    """
    if len(shape) == 4:
        height, width, *channels = (axis + 1 for axis in axes(shape[1:]))
        return [height, width, 0, *channels]
    if len(shape) == 3 and shape[0] < min(shape[1:]):
        return [1, 2, 0]
    return list(range(len(shape)))


def is_image(space: gym.Space[Any], frames: int) -> bool:
    """Whether observations are images with channels, images of one value a pixel, or several frames of these.

    Args:
        space: of observations.
        frames: how many frames an observation has.
    """
    if not isinstance(space, gym.spaces.Box):
        return False
    shape = space.shape
    has_channels = len(shape) in {3, 4}
    is_grey = len(shape) == 2 and frames == 1 and space.dtype in (np.uint8, np.bool_)
    return (has_channels or is_grey) and min(shape[axis] for axis in axes(shape)[:2]) >= SMALLEST


def configuration(space: gym.Space[Any]) -> dict[str, Any]:
    """How the network takes images.

    Args:
        space: of observations, images.

    Returns:
        `shape` and `dtype` of an observation, the order of its `axes`, the `grid` [height, width, channels] that these
        make, and the `convolutions`.
    """
    shape, order = space.shape or (), axes(space.shape or ())
    height, width, *channels = (shape[axis] for axis in order)
    return {
        "shape": list(shape),
        "dtype": str(space.dtype),
        "axes": order,
        "grid": [height, width, math.prod(channels)],
        "convolutions": LARGE_IMAGES if min(height, width) >= LARGE else SMALL_IMAGES,
    }
