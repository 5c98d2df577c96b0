import gymnasium as gym
import numpy as np
import pytest

from stages.cartpole import images


@pytest.mark.parametrize(
    ("shape", "axes", "grid"),
    [
        ((10, 10, 4), [0, 1, 2], [10, 10, 4]),
        ((4, 84, 84), [1, 2, 0], [84, 84, 4]),
        ((84, 84, 4), [0, 1, 2], [84, 84, 4]),
        ((84, 60), [0, 1], [84, 60, 1]),
        ((4, 64, 48, 3), [1, 2, 0, 3], [64, 48, 12]),
        ((4, 3, 64, 48), [2, 3, 0, 1], [64, 48, 12]),
    ],
)
def test_channels_are_the_smallest_axis_and_frames_become_channels(
    shape: tuple[int, ...], axes: list[int], grid: list[int]
) -> None:
    image = images.configuration(gym.spaces.Box(0, 255, shape, np.uint8))
    assert image["axes"] == axes
    assert image["grid"] == grid
    assert image["convolutions"] == (images.LARGE_IMAGES if min(grid[:2]) >= 36 else images.SMALL_IMAGES)


@pytest.mark.parametrize(
    ("space", "frames", "is_image"),
    [
        (gym.spaces.Box(0, 1, (10, 10, 4), np.bool_), 1, True),
        (gym.spaces.Box(-1, 1, (10, 10, 4), np.float32), 1, True),
        (gym.spaces.Box(0, 255, (84, 84), np.uint8), 1, True),
        (gym.spaces.Box(0, 255, (4, 84, 84), np.uint8), 4, True),
        (gym.spaces.Box(-1, 1, (4, 4), np.float32), 1, False),  # a matrix
        (gym.spaces.Box(0, 255, (4, 128), np.uint8), 4, False),  # four vectors
        (gym.spaces.Box(0, 255, (128,), np.uint8), 1, False),
        (gym.spaces.Box(0, 255, (2, 2, 3), np.uint8), 1, False),  # smaller than a convolution
        (gym.spaces.Discrete(5), 1, False),
    ],
)
def test_images_are_told_by_shape_and_type(space: gym.Space, frames: int, is_image: bool) -> None:
    assert images.is_image(space, frames) == is_image
