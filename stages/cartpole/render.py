"""A trained agent: an animation of it, and the values of its actions."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from PIL import Image

from stages.cartpole.environments import Act, Environment
from stages.cartpole.guards import refused
from stages.cartpole.params import Gif, Plane
from stages.core.files import significant

COLOURS = 32
GRID = 31  # points in each direction

Answers = dict[str, npt.NDArray[Any]]


def _picture(drawn: Any, name: str) -> Image.Image:
    """What an environment drew, as an RGB picture.

    Raises:
        InputError: if it is none.
    """
    with suppress(TypeError, ValueError):
        picture = Image.fromarray(np.asarray(drawn, np.uint8)).convert("RGB")
        if picture.width and picture.height:
            return picture
    raise refused(name, "expected render() to return a picture [height, width, 3]")


def frames(env: gym.Env[Any, Any], act: Act, seed: int, gif: Gif) -> list[Image.Image]:
    """Pictures of one greedy episode, as the environment draws it."""
    observation, _ = env.reset(seed=seed)
    pictures: list[Image.Image] = []
    for step in range(1 + (gif.frames - 1) * gif.every):
        if step % gif.every == 0:
            picture = _picture(env.render(), env.spec.id if env.spec else "")
            height = max(1, round(picture.height * gif.width / picture.width))
            pictures.append(picture.resize((gif.width, height), Image.Resampling.BOX))
        observation, _, terminated, truncated, _ = env.step(act(observation[None])[0])
        if terminated or truncated:
            break
    return pictures


def write_gif(path: Path, pictures: list[Image.Image], milliseconds: int) -> None:
    """Write an endless animation: all pictures in the colours of the first, so that only what moves is stored."""
    palette = pictures[0].quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    drawn = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    drawn[0].save(path, "GIF", save_all=True, append_images=drawn[1:], duration=milliseconds, loop=0)


def animate(path: Path, environment: Environment, act: Act, seed: int, gif: Gif) -> None:
    """Write a GIF of one greedy episode."""
    env = environment.make(render_mode="rgb_array")
    # GIF counts in hundredths of a second.
    hundredths = max(2, round(100 * gif.every / (env.metadata.get("render_fps") or 30)))
    write_gif(path, frames(env, act, seed, gif), 10 * hundredths)
    env.close()


def plane_values(predict: Callable[[Any], Answers], size: int, plane: Plane) -> list[dict[str, Any]]:
    """Each action's value and the best action over the plane of two observations, the others zero.

    Args:
        predict: `q_values` [n, actions] and `actions` [n] for observations [n, size].
        size: size of an observation.
        plane: the two observations and how far the plane reaches.

    Raises:
        InputError: if there is no such observation.
    """
    plane.check(size)
    x, y = np.meshgrid(*(np.linspace(-limit, limit, GRID) for limit in (plane.x_limit, plane.y_limit)))
    observations = np.zeros((x.size, size), np.float32)
    observations[:, plane.x], observations[:, plane.y] = x.ravel(), y.ravel()
    answers = predict(observations)
    return [
        {
            **{f"observation_{index}": significant(state[index]) for index in (plane.x, plane.y)},
            **{f"value_{action}": significant(value) for action, value in enumerate(values)},
            "action": int(best),
        }
        for state, values, best in zip(observations, answers["q_values"], answers["actions"], strict=True)
    ]
