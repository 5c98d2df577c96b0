"""A Gymnasium environment as the agent plays it: flat observations, discrete actions, episodes that end."""

import copy
import importlib
import math
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.wrappers import FlattenObservation, vector

from stages.cartpole.params import Train
from stages.core.errors import InputError, one_line

Act = Callable[[Any], Any]
"""Greedy actions [n] for observations [n, size]."""

LARGEST_OBSERVATION = 16_384
"""Values of an observation; a replay buffer of larger ones would not fit in memory."""


def refused(name: str, found: str | BaseException) -> InputError:
    """The error to raise for an environment that cannot be used, or whose own code failed."""
    if isinstance(found, gym.error.DependencyNotInstalled):
        found = f'{found}; expected its packages, such as `pip install "gymnasium[box2d]"` installs'
    elif isinstance(found, BaseException) and not isinstance(found, gym.error.Error | ImportError):
        found = f"{type(found).__name__}: {found}"
    return InputError(f"cartpole.train.env: {name}: {one_line(found)}")


def _is_vector(space: gym.Space[Any]) -> bool:
    return isinstance(space, gym.spaces.Box) and len(space.shape) == 1


class _Guard:
    """Reports exceptions of an environment's own code, and numbers that are none, as `InputError`."""

    env: Any

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self.env, method)(*arguments, **options)
        except (Exception, SystemExit) as error:
            raise refused(self.env.spec.id, error) from error

    def _checked(self, observation: Any) -> npt.NDArray[Any]:
        """An observation in the type of its space."""
        space = self.env.observation_space
        try:
            values = np.asarray(observation, space.dtype)
            with np.errstate(over="ignore"):
                if values.shape == space.shape and np.isfinite(values.astype(np.float32, copy=False)).all():
                    return values
        except (TypeError, ValueError):
            pass
        found = one_line(observation)[:100]
        raise refused(self.env.spec.id, f"found the observation {found}; expected finite numbers {list(space.shape)}")

    def reset(self, **options: Any) -> Any:
        observation, notes = self._call("reset", **options)
        return self._checked(observation), notes

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self._call("step", action)
        if not np.isfinite(np.asarray(reward, float)).all():
            raise refused(self.env.spec.id, f"found the reward {reward}; expected a finite number")
        return self._checked(observation), reward, *rest

    def render(self) -> Any:
        return self._call("render")

    def close(self, **options: Any) -> None:
        self._call("close", **options)


class _GuardedEnv(_Guard, gym.Wrapper):  # type: ignore[misc]
    pass


class _GuardedVectorEnv(_Guard, gym.vector.VectorWrapper):  # type: ignore[misc]
    pass


class Environment:
    """An environment by its name, as training, trials and evaluation play it.

    Observations are flat: Gymnasium's `FlattenObservation` makes discrete ones one-hot, and vectors of images.

    Args:
        train: the training run's parameters: the environment's name, time limit and threshold.

    Raises:
        InputError: if it does not exist, cannot be made, or is none that a DQN can play.
    """

    def __init__(self, train: Train) -> None:
        gym.logger.min_level = gym.logger.ERROR  # it warns that CartPole-v0 is out of date
        self.name = train.env
        module, _, name = self.name.rpartition(":")
        try:
            if module:
                importlib.import_module(module)
            self.spec = copy.deepcopy(gym.spec(name))
        except (Exception, SystemExit) as error:
            raise refused(self.name, error) from error
        self.spec.disable_env_checker = True
        # Without any limit, an episode lasts at most as long as training does.
        longest = max(1, train.total_timesteps // train.n_envs)
        self.max_episode_steps: int = train.max_episode_steps or self.spec.max_episode_steps or longest
        own, given = self.spec.reward_threshold, train.stop.reward_threshold
        self.reward_threshold: float | None = own if given is None else given
        envs = self.make_vec(1)
        space, action = envs.single_observation_space, envs.single_action_space
        if not isinstance(space, gym.spaces.Box):
            raise refused(name, f"expected observations of one size, found {space}")
        self.observations = math.prod(space.shape)
        if not 0 < self.observations <= LARGEST_OBSERVATION:
            raise refused(name, f"expected 1 to {LARGEST_OBSERVATION} values an observation, found {space}")
        if not isinstance(action, gym.spaces.Discrete):
            raise refused(name, f"expected Discrete actions, found {action}")
        self.actions, self.first_action = int(action.n), int(action.start)
        self.has_vector_code = not isinstance(envs.unwrapped, gym.vector.SyncVectorEnv)
        envs.close()

    def _spec(self, time_limits: int) -> Any:
        spec = copy.deepcopy(self.spec)
        spec.max_episode_steps = time_limits * self.max_episode_steps
        return spec

    def make_vec(self, n_envs: int, time_limits: int = 1) -> gym.vector.VectorEnv:
        """Make copies that are stepped together, by the environment's own vectorised code if it has some.

        After an episode's end the next step resets: it ignores the action and returns the first observation.

        Args:
            n_envs: number of copies.
            time_limits: how many times the time limit an episode lasts.
        """
        try:
            envs = gym.make_vec(self._spec(time_limits), n_envs)
            if not _is_vector(envs.single_observation_space):
                envs = vector.FlattenObservation(envs)
        except Exception as error:
            raise refused(self.name, error) from error
        mode = envs.metadata.get("autoreset_mode")
        if mode != gym.vector.AutoresetMode.NEXT_STEP:
            raise refused(self.name, f"expected environments that reset on the next step, found {mode}")
        return _GuardedVectorEnv(envs)

    def make(self, time_limits: int = 1, render_mode: str | None = None) -> gym.Env[Any, Any]:
        """Make a single one, whose episodes last at most so many time limits."""
        try:
            # Not every environment's constructor takes a render mode.
            options = {} if render_mode is None else {"render_mode": render_mode}
            env = gym.make(self._spec(time_limits), **options)
            return _GuardedEnv(env if _is_vector(env.observation_space) else FlattenObservation(env))
        except Exception as error:
            raise refused(self.name, error) from error

    @property
    def is_drawn(self) -> bool:
        """Whether it can draw itself as a picture."""
        return "rgb_array" in (self.make().metadata.get("render_modes") or [])

    def packages(self) -> dict[str, str]:
        """Versions of the packages that its code comes from, besides Gymnasium's own."""
        return {package: metadata.version(package) for package in ("box2d",) if "Box2D" in sys.modules}


def play(envs: Sequence[gym.Env[Any, Any]], seeds: Sequence[int], act: Act) -> npt.NDArray[np.float64]:
    """Play an episode in each environment, side by side.

    Args:
        envs: [n].
        seeds: of the episodes [n].
        act: chooses actions.

    Returns:
        The episodes' returns [n].
    """
    observation = np.stack([env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)])
    returns, running = np.zeros(len(envs)), np.arange(len(envs), dtype=int)
    while len(running):
        actions, runs_on = act(observation[running]), np.ones(len(running), np.bool_)
        for place, (index, action) in enumerate(zip(running, actions, strict=True)):
            observation[index], reward, terminated, truncated, _ = envs[int(index)].step(action)
            returns[index] += float(reward)
            runs_on[place] = not (terminated or truncated)
        running = running[runs_on]
    return returns
