"""A Gymnasium environment as the agent plays it: flat observations, discrete actions, episodes that end."""

import copy
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import load_env_creator
from gymnasium.wrappers import FlattenObservation, FrameStackObservation, vector

from stages.cartpole import images
from stages.cartpole.guards import ReturnsGuard, VectorGuard, finite, refused
from stages.cartpole.origin import distributions, load
from stages.cartpole.params import MOST_EPISODES, Train
from stages.core.errors import InputError

Act = Callable[[Any], Any]
"""Greedy actions [n] for observations [n, size]."""

LARGEST_OBSERVATION = 131_072
"""Values of an observation: a picture of Atari's in colour, or 18 frames of 84 by 84 pixels."""
COPIES = 32
"""Copies of an environment in which episodes are played side by side."""
EVALUATION_SEEDS = range(2**31 - 2**24, 2**31)
"""Seeds of evaluation; training and trials have lower ones. Many environments take seeds below 2**32 alone."""


def evaluation_seed(seed: int) -> int:
    """Seed of the first evaluated episode of a run with this seed; the next episode has the next one."""
    return EVALUATION_SEEDS[seed * MOST_EPISODES % len(EVALUATION_SEEDS)]


class _Alone(gym.Env):  # type: ignore[misc]
    """A single environment of those that exist as vectorised code alone."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        self.envs, self.spec, self.metadata = envs, envs.spec, envs.metadata
        self.observation_space, self.action_space = envs.single_observation_space, envs.single_action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.envs.reset(seed=seed, options=options)[0][0], {}

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, _ = self.envs.step(np.array([action]))
        return observation[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> Any:
        return self.envs.render()[0]

    def close(self) -> None:
        self.envs.close()


class _Flat(FlattenObservation):  # type: ignore[misc]
    """Made flat here, not by a wrapper of the parameters."""


def _is_vector(space: gym.Space[Any]) -> bool:
    return isinstance(space, gym.spaces.Box) and len(space.shape) == 1


def _wrapper(name: str) -> Callable[..., gym.Env[Any, Any]]:
    """A wrapper by its name in `gymnasium.wrappers`, or as `module:Name`."""
    module, _, attribute = name.rpartition(":")
    try:
        found: Callable[..., gym.Env[Any, Any]] = getattr(
            load(name, module, "wrappers") if module else gym.wrappers, attribute
        )
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise refused(name, error, "wrappers") from error
    return found


class Environment:
    """An environment by its name, as training, trials and evaluation play it.

    Observations are flat: Gymnasium's `FlattenObservation` makes discrete ones one-hot, and vectors of images.

    Args:
        train: the training run's parameters: the environment's name, arguments, wrappers, time limit and threshold.

    Raises:
        InputError: if it does not exist, cannot be made, or is none that a DQN can play.
    """

    def __init__(self, train: Train) -> None:
        gym.logger.min_level = gym.logger.ERROR  # it warns that CartPole-v0 is out of date
        self.name, self.arguments = train.env, train.env_kwargs
        before = set(sys.modules)
        self._wrappers = [(name, _wrapper(name), options) for each in train.wrappers for name, options in each.items()]
        module, _, name = self.name.rpartition(":")
        try:
            register = getattr(load(self.name, module), "register_envs", None) if module else None
            if register and name not in gym.registry:
                register()
            self.spec = copy.deepcopy(gym.spec(name))
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise refused(self.name, error) from error
        self.spec.disable_env_checker = True
        # Without any limit, an episode lasts at most as long as training does.
        longest = max(1, train.total_timesteps // train.n_envs)
        self.max_episode_steps: int = train.max_episode_steps or self.spec.max_episode_steps or longest
        own, given = self.spec.reward_threshold, train.stop.reward_threshold
        self.reward_threshold: float | None = own if given is None else given
        self.has_single_code = self.spec.entry_point is not None
        if not self.has_single_code and self._wrappers:
            raise refused(name, "exists as vectorised code alone, expected no wrappers")
        if self.has_single_code:
            self.spec.entry_point = self._creator(self.spec.entry_point)
        self.has_vector_code = not self.has_single_code or self._takes_vector_code()
        env = self.make()
        self.metadata = env.metadata
        space, action = env.observation_space, env.action_space
        classes = type(env.unwrapped).__mro__[:-1]
        self._modules = (set(sys.modules) - before) | {each.__module__ for each in classes}
        env.close()
        if not isinstance(space, gym.spaces.Box):
            raise refused(name, f"expected observations of one size, found {space}")
        self.observations = math.prod(space.shape)
        if not 0 < self.observations <= LARGEST_OBSERVATION:
            raise refused(name, f"expected 1 to {LARGEST_OBSERVATION} values an observation, found {space}")
        if not isinstance(action, gym.spaces.Discrete):
            raise refused(name, f"expected Discrete actions, found {action}")
        self.actions, self.first_action = int(action.n), int(action.start)
        plain, self.frames = self._as_given(env)
        self.image = images.configuration(plain) if images.is_image(plain, self.frames) else None
        """What the network needs to know of observations that are images; else None."""
        is_small, is_stacked = space.dtype in (np.uint8, np.bool_), self.frames > 1
        self.stored = space.dtype if is_small else np.dtype(np.float32) if self.image or is_stacked else None
        """Type in which frames are kept, each once, as they are; None: observations are kept scaled."""

    def _creator(self, entry: Any) -> Callable[..., gym.Env[Any, Any]]:
        """Makes an environment whose own code is guarded below all wrappers."""
        create = entry if callable(entry) else load_env_creator(entry)

        def guarded(**options: Any) -> gym.Env[Any, Any]:
            env = create(**options)
            if not isinstance(env, gym.Env):
                raise refused(self.name, f"expected a gymnasium.Env, found {type(env).__name__}")
            return ReturnsGuard(env, self.name)

        return guarded

    def _takes_vector_code(self) -> bool:
        """Whether the environment's vectorised code does what its single one does, and can be used."""
        if self.spec.vector_entry_point is None or self._wrappers:
            return False
        single = self._plain()
        single.close()
        try:
            envs = self._make_vec(1, 1, vectorised=True)
            envs.reset(seed=0)
            envs.step(np.full(1, envs.single_action_space.start))
            envs.close()
        except Exception:  # synchronous copies are used instead, and say what is wrong if they fail as well
            return False
        space = single.observation_space
        return bool(envs.single_observation_space == space and envs.single_action_space == single.action_space)

    def _as_given(self, env: gym.Env[Any, Any]) -> tuple[gym.Space[Any], int]:
        """The space of observations before they are flat, and how many frames one is of which the newest is new."""
        if isinstance(env, _Alone):
            envs = env.envs.env  # below the guard
            return (envs.env if isinstance(envs, vector.FlattenObservation) else envs).single_observation_space, 1
        below: Any = env.env if self._wrappers else env
        given = below.env if isinstance(below, _Flat) else below
        stacks = isinstance(given, FrameStackObservation) and given.padding_type == "reset"
        return given.observation_space, given.stack_size if stacks else 1

    def _spec(self, time_limits: int) -> Any:
        spec = copy.deepcopy(self.spec)
        spec.max_episode_steps = time_limits * self.max_episode_steps
        spec.kwargs |= self.arguments
        return spec

    def _plain(self, time_limits: int = 1, render_mode: str | None = None) -> gym.Env[Any, Any]:
        """A single one in its wrappers, its observations as they are."""
        # Not every environment's constructor takes a render mode.
        env = gym.make(self._spec(time_limits), **({} if render_mode is None else {"render_mode": render_mode}))
        for name, wrapper, options in self._wrappers:
            try:
                env = wrapper(env, **options)
            except Exception as error:
                raise refused(name, error, "wrappers") from error
        return env

    def _make_vec(self, n_envs: int, time_limits: int, vectorised: bool) -> gym.vector.VectorEnv:
        if vectorised:
            return gym.make_vec(self._spec(time_limits), n_envs, vectorization_mode="vector_entry_point")
        return gym.vector.SyncVectorEnv([lambda: self._plain(time_limits)] * n_envs)

    def make_vec(self, n_envs: int, time_limits: int = 1) -> gym.vector.VectorEnv:
        """Make copies that are stepped together, by the environment's own vectorised code if it has some.

        After an episode's end the next step resets: it ignores the action and returns the first observation.

        Args:
            n_envs: number of copies.
            time_limits: how many times the time limit an episode lasts.
        """
        try:
            envs = self._make_vec(n_envs, time_limits, self.has_vector_code)
            if not _is_vector(envs.single_observation_space):
                envs = vector.FlattenObservation(envs)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise refused(self.name, error) from error
        mode = envs.metadata.get("autoreset_mode")
        if mode != gym.vector.AutoresetMode.NEXT_STEP:
            raise refused(self.name, f"expected environments that reset on the next step, found {mode}")
        return VectorGuard(envs, self.name)

    def make(self, time_limits: int = 1, render_mode: str | None = None) -> gym.Env[Any, Any]:
        """Make a single one, whose episodes last at most so many time limits."""
        if not self.has_single_code:
            return _Alone(self.make_vec(1, time_limits))
        try:
            env = self._plain(time_limits, render_mode)
            if not _is_vector(env.observation_space):
                env = _Flat(env)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise refused(self.name, error) from error
        return ReturnsGuard(env, self.name) if self._wrappers else env

    @property
    def is_drawn(self) -> bool:
        """Whether it can draw itself as a picture."""
        return "rgb_array" in (self.metadata.get("render_modes") or [])

    def packages(self) -> dict[str, str]:
        """Versions of the distributions that its code comes from: what it is, and what it made Python import."""
        return distributions(self._modules)


class Player:
    """Plays whole episodes side by side, in copies of an environment that it makes as it needs them.

    Args:
        environment: what is played.
        time_limits: how many times the time limit an episode lasts.
    """

    def __init__(self, environment: Environment, time_limits: int = 1) -> None:
        self.environment, self.time_limits = environment, time_limits
        self.envs = [environment.make(time_limits)]
        self._most = COPIES

    def _copies(self, episodes: int) -> int:
        """Make enough copies for so many episodes, or as many as can be made; their number."""
        while len(self.envs) < min(episodes, self._most):
            try:
                self.envs.append(self.environment.make(self.time_limits))
            except InputError:  # some environments are limited to a number of copies
                self._most = len(self.envs)
        return min(episodes, self._most)

    def play(self, seeds: Sequence[int], act: Act) -> npt.NDArray[np.float64]:
        """Play an episode with each seed [n]; a copy whose episode has ended begins the next.

        Returns:
            The episodes' returns [n].
        """
        copies = self._copies(len(seeds))
        space = self.envs[0].observation_space
        observation = np.zeros((copies, *space.shape), space.dtype)
        returns, episodes, begun = np.zeros(len(seeds)), list(range(copies)), copies
        running = list(range(copies))
        for index in running:
            observation[index], _ = self.envs[index].reset(seed=seeds[index])
        while running:
            actions, ended = act(finite(self.environment.name, observation[running])), []
            for index, action in zip(running, actions, strict=True):
                observation[index], reward, terminated, truncated, _ = self.envs[index].step(action)
                returns[episodes[index]] += float(reward)
                if (terminated or truncated) and begun < len(seeds):
                    observation[index], _ = self.envs[index].reset(seed=seeds[begun])
                    episodes[index], begun = begun, begun + 1
                elif terminated or truncated:
                    ended.append(index)
            running = [index for index in running if index not in ended] if ended else running
        return returns
