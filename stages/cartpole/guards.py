"""What an environment must return, checked: one line says what it returned instead."""

import math
import traceback
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from stages.core.errors import InputError, one_line


def refused(name: str, found: str | BaseException, key: str = "env") -> InputError:
    """The error to raise for an environment that cannot be used, or whose own code failed."""
    if isinstance(found, BaseException):
        words, kind = one_line(found), type(found).__name__
        if not str(found).strip():
            *_, frame = traceback.extract_tb(found.__traceback__) or [None]
            words = f"{kind} in line {frame.lineno} of {frame.filename}" if frame else kind
        elif not isinstance(found, gym.error.Error | ImportError):
            words = f"{kind}: {words}"
        if isinstance(found, gym.error.DependencyNotInstalled) and "box2d" in words.lower():
            words += '; expected its packages, such as `pip install "gymnasium[box2d]"` installs'
    else:
        words = one_line(found)
    return InputError(f"cartpole.train.{key}: {name}: {words}")


def finite(name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values, if all are numbers that a float32 can be; else raises an `InputError`."""
    with np.errstate(over="ignore"):
        found = np.isfinite(values.astype(np.float32, copy=False))
    if not found.all():
        wrong = next(row for row, is_number in zip(values, found, strict=True) if not is_number.all())
        raise refused(name, f"found the observation {one_line(wrong)[:100]}; expected finite numbers")
    return values


def shaped(name: str, space: gym.Space[Any], values: Any) -> npt.NDArray[Any]:
    """The values in the type and shape of a space; else raises an `InputError`."""
    with suppress(TypeError, ValueError):
        found = np.asarray(values, space.dtype)
        if found.shape == space.shape:
            return found
    raise refused(name, f"found the observation {one_line(values)[:100]}; expected numbers {list(space.shape or ())}")


class ReturnsGuard(gym.Wrapper):  # type: ignore[misc]
    """Checks what an environment's own code returns, before any other wrapper unpacks it; drops its notes."""

    def __init__(self, env: gym.Env[Any, Any], name: str) -> None:
        super().__init__(env)
        self._name, self._space = name, env.observation_space

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self.env, method)(*arguments, **options)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            # `reset` of the time before seeds.
            if method == "reset" and isinstance(error, TypeError) and "keyword argument" in str(error):
                raise refused(self._name, f"{error}; expected reset(self, *, seed=None, options=None)") from error
            raise refused(self._name, error) from error

    def _observed(self, observation: Any) -> Any:
        if isinstance(self._space, gym.spaces.Box):
            if not isinstance(observation, np.ndarray) or observation.shape != self._space.shape:
                return shaped(self._name, self._space, observation)
        elif isinstance(self._space, gym.spaces.Discrete) and not self._space.contains(observation):
            raise refused(self._name, f"found the observation {observation}; expected one of {self._space}")
        return observation

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """The first observation."""
        found = self._call("reset", seed=seed, options=options)
        if not isinstance(found, tuple) or len(found) != 2:
            raise refused(self._name, f"reset() returned {_kind(found)}; expected two values: observation, info")
        return self._observed(found[0]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The next observation, the reward, whether the episode ended, and how."""
        found = self._call("step", action)
        if not isinstance(found, tuple) or len(found) != 5:
            expected = "expected five values: observation, reward, terminated, truncated, info"
            raise refused(self._name, f"step() returned {_kind(found)}; {expected}")
        observation, reward, terminated, truncated, _ = found
        try:
            reward = float(reward)
        except (TypeError, ValueError):
            reward = math.nan
        if not math.isfinite(reward):
            raise refused(self._name, f"found the reward {found[1]}; expected a finite number")
        return self._observed(observation), reward, bool(terminated), bool(truncated), {}

    def render(self) -> Any:
        """What the environment draws."""
        return self._call("render")

    def close(self) -> None:
        """Close the environment."""
        self._call("close")


def _kind(found: Any) -> str:
    return f"{len(found)} values" if isinstance(found, tuple) else type(found).__name__


class VectorGuard(gym.vector.VectorWrapper):  # type: ignore[misc]
    """Refuses what vectorised code returns and is no finite number, or has another shape than it should."""

    def __init__(self, envs: gym.vector.VectorEnv, name: str) -> None:
        super().__init__(envs)
        self._name = name

    def _call(self, method: str, values: int, *arguments: Any, **options: Any) -> Any:
        try:
            found = getattr(self.env, method)(*arguments, **options)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise refused(self._name, error) from error
        if not isinstance(found, tuple) or len(found) != values:
            raise refused(self._name, f"{method}() returned {_kind(found)}; expected {values} values")
        return finite(self._name, shaped(self._name, self.env.observation_space, found[0])), *found[1:]

    def _each(self, what: str, values: Any, dtype: Any = None) -> npt.NDArray[Any]:
        with suppress(TypeError, ValueError):
            found = np.asarray(values, dtype)
            if found.shape == (self.num_envs,) and np.isfinite(found).all():
                return found
        raise refused(self._name, f"found the {what} {values}; expected a finite number for each environment")

    def reset(self, **options: Any) -> Any:
        """The first observations."""
        return self._call("reset", 2, **options)

    def step(self, action: Any) -> Any:
        """The next observations, the rewards, which episodes ended, and how."""
        observation, reward, terminated, truncated, notes = self._call("step", 5, action)
        flags = (self._each("flag", flag, np.bool_) for flag in (terminated, truncated))
        return observation, self._each("reward", reward), *flags, notes
