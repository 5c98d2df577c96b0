"""Replay buffer: transitions in a preallocated array, n-step returns, sampling by priority."""

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.cartpole import params
from stages.core.errors import InputError
from stages.training.checkpoint import Arrays

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Transitions = npt.NDArray[np.void]


def transition_type(observations: int, frames: bool = False) -> np.dtype[np.void]:
    """The fields of a transition, all float32, so that a batch is a matrix as it lies in memory.

    Args:
        observations: size of an observation.
        frames: whether `Frames` keeps the observations, so that a transition holds their places.
    """
    numbers = ("action", "return", "discount")
    vector = (np.int64, (1,)) if frames else (np.float32, (observations,))
    return np.dtype([("observation", *vector), *((name, np.float32) for name in numbers), ("next", *vector)])


def check_memory(size: int, bytes_each: int) -> None:
    """Raise an `InputError` if so many transitions are larger than the machine's memory."""
    needed, found = size * bytes_each, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > found:
        most = f"expected at most {found // bytes_each}, for this machine's {found / 1e9:.0f} GB"
        raise InputError(f"cartpole.train.buffer_size: {size}: needs {needed / 1e9:.0f} GB; {most}")


class NStep:
    """Turns single steps of several environments into transitions over `n_steps` steps.

    A transition ends after `n_steps` steps, or earlier where its episode ends. Its bootstrap value is `discount` times
    the value of the observation at its end; after a termination the discount is zero.

    Source: Sutton and Barto, "Reinforcement Learning" (2nd edition), section 7.1.

    Args:
        n_steps: steps per transition.
        gamma: discount per step.
        n_envs: number of environments.
        kind: what `transition_type` returns.
    """

    def __init__(self, n_steps: int, gamma: float, n_envs: int, kind: np.dtype[np.void]) -> None:
        self.gamma = np.float32(gamma)
        # One row for each of the last n steps, used in turn; `open` marks the transitions that are not complete.
        self.arrays: Arrays = {
            "transitions": np.zeros((n_steps, n_envs), kind),
            "open": np.zeros((n_steps, n_envs), np.bool_),
        }
        self.steps = 0

    def add(
        self,
        observation: Floats | Indices,
        action: Indices,
        reward: Floats,
        next_observation: Floats | Indices,
        terminated: Flags,
        ended: Flags,
        is_reset: Flags,
    ) -> Transitions:
        """Add one step of every environment.

        Args:
            observation: before the step, [n_envs, observations], or its places in `Frames`.
            action: [n_envs].
            reward: [n_envs].
            next_observation: after the step, [n_envs, observations].
            terminated: whether the episode ended in a terminal state [n_envs].
            ended: whether it ended, there or at a time limit [n_envs].
            is_reset: whether the step only reset its environment, after an episode's end [n_envs].

        Returns:
            The transitions that the step completes.
        """
        transitions, is_open = self.arrays["transitions"], self.arrays["open"]
        row, oldest = self.steps % len(transitions), (self.steps + 1) % len(transitions)
        transitions["observation"][row], transitions["action"][row] = observation, action
        transitions["return"][row], transitions["discount"][row], is_open[row] = 0.0, 1.0, ~is_reset
        transitions["return"] += transitions["discount"] * reward
        transitions["discount"] *= self.gamma
        complete = is_open & ended
        complete[oldest] = is_open[oldest]
        is_open &= ~complete
        self.steps += 1
        _, env = np.nonzero(complete)
        completed = transitions[complete]
        completed["discount"] *= ~terminated[env]
        completed["next"] = next_observation[env]
        return completed


class ReplayBuffer:
    """The newest `size` transitions, sampled uniformly or by priority.

    Source of the priorities: Schaul et al., "Prioritized Experience Replay" (2016), the proportional variant,
    stratified.

    Args:
        size: its capacity.
        kind: what `transition_type` returns.
        prioritized: how priorities are used.

    Raises:
        InputError: if the machine's memory is too small for it.
    """

    def __init__(self, size: int, kind: np.dtype[np.void], prioritized: params.PrioritizedReplay) -> None:
        self.prioritized = prioritized
        check_memory(size, kind.itemsize)
        self.arrays: Arrays = {"transitions": np.zeros(size, kind)}
        if prioritized.enabled:
            self.arrays["priorities"] = np.zeros(size)
        self.added, self.dropped, self.max_priority = 0, 0, 1.0

    def __len__(self) -> int:
        return min(self.added - self.dropped, len(self.arrays["transitions"]))

    @property
    def used(self) -> Arrays:
        """The parts of the arrays that hold transitions."""
        return {name: array[: self.added] for name, array in self.arrays.items()}

    def drop_before(self, place: int) -> None:
        """Drop the oldest transitions from observations before a place, which `Frames` has overwritten."""
        transitions = self.arrays["transitions"]
        self.dropped = max(self.dropped, self.added - len(transitions))
        while self.dropped < self.added and transitions["observation"][self.dropped % len(transitions), 0] < place:
            if self.prioritized.enabled:
                self.arrays["priorities"][self.dropped % len(transitions)] = 0.0
            self.dropped += 1

    def add(self, transitions: Transitions) -> None:
        """Write transitions over the oldest; a new one has the highest priority seen."""
        size = len(self.arrays["transitions"])
        start, stop = self.added % size, self.added % size + len(transitions)
        places: Any = slice(start, stop) if stop <= size else np.arange(start, stop) % size
        self.arrays["transitions"][places] = transitions
        if self.prioritized.enabled:
            self.arrays["priorities"][places] = self.max_priority
        self.added += len(transitions)

    def sample(self, shape: tuple[int, int], random: np.random.Generator) -> tuple[Indices, Floats]:
        """Draw transitions, with replacement.

        Args:
            shape: gradient steps, and transitions per step.
            random: the generator to draw with.

        Returns:
            Indices int64 [gradient steps, batch], and importance weights float32 [gradient steps, batch] of at most 1.
        """
        if not self.prioritized.enabled:
            places = random.integers(0, len(self), shape)
            places = (self.dropped + places) % len(self.arrays["transitions"]) if self.dropped else places
            return places, np.ones(shape, np.float32)
        priorities = self.used["priorities"]
        sums = np.cumsum(priorities)
        strata = (np.arange(shape[1]) + random.random(shape)) / shape[1]
        # Rounding can make a stratum's draw equal the whole sum.
        places = np.minimum(np.searchsorted(sums, strata * sums[-1], side="right"), len(priorities) - 1)
        weights = (len(self) * priorities[places] / sums[-1]) ** -self.prioritized.beta
        return places, (weights / weights.max(axis=1, keepdims=True)).astype(np.float32)

    def update_priorities(self, places: Indices, errors: Floats) -> None:
        """Set priorities to the temporal-difference errors [gradient steps, batch] raised to `alpha`."""
        if self.prioritized.enabled:
            priorities = (np.abs(errors).astype(np.float64) + 1e-6) ** self.prioritized.alpha
            self.max_priority = max(self.max_priority, float(priorities.max()))
            self.arrays["priorities"][places] = priorities


class Frames:
    """The newest observations of several environments, each frame once and in its own type.

    An observation is the newest frame and the ones before it, the oldest first; before an episode's first frame that
    frame is repeated, as Gymnasium's `FrameStackObservation` does.

    Args:
        size: number of transitions whose observations are kept.
        n_envs: number of environments.
        frame: values of a frame.
        stack: frames of an observation.
        dtype: of a frame's values.
        n_steps: steps per transition.

    Raises:
        InputError: if the machine's memory is too small for it.
    """

    def __init__(self, size: int, n_envs: int, frame: int, stack: int, dtype: Any, n_steps: int) -> None:
        self.stack, self.reach = stack, stack + n_steps
        # A tenth more, for the observations at the ends of episodes, from which no transition starts.
        rows = math.ceil(1.1 * size / n_envs) + self.reach
        check_memory(size, math.ceil(rows * n_envs / size * frame * np.dtype(dtype).itemsize))
        self.arrays: Arrays = {
            "frames": np.zeros((rows, n_envs, frame), dtype),
            "age": np.zeros((rows, n_envs), np.int64),  # frames since the episode's first
        }
        self.added = 0

    @property
    def used(self) -> Arrays:
        """The parts of the arrays that hold observations."""
        return {name: array[: self.added] for name, array in self.arrays.items()}

    @property
    def oldest(self) -> int:
        """Place before which an observation may be overwritten already, or a frame of it."""
        frames = self.arrays["frames"]
        return max(0, self.added - len(frames) + self.reach) * int(frames.shape[1])

    def add(self, observation: npt.NDArray[Any], is_first: Flags) -> Indices:
        """Keep the newest frames of observations [n_envs, stack * frame]; their places, [n_envs, 1]."""
        frames, age = self.arrays["frames"], self.arrays["age"]
        row = self.added % len(frames)
        frames[row] = observation[:, -frames.shape[2] :]
        age[row] = np.where(is_first, 0, age[row - 1] + 1)
        self.added += 1
        return self.newest

    @property
    def newest(self) -> Indices:
        """Places of the newest observations [n_envs, 1]."""
        n_envs = int(self.arrays["frames"].shape[1])
        return (self.added - 1) * n_envs + np.arange(n_envs)[:, None]

    def observations(self, places: Indices) -> npt.NDArray[Any]:
        """Observations [..., stack * frame] at their places [..., 1]."""
        frames, age = self.arrays["frames"], self.arrays["age"]
        row, env = np.divmod(places, frames.shape[1])
        back = np.minimum(np.arange(self.stack)[::-1], age[row % len(frames), env])
        found: npt.NDArray[Any] = frames[(row - back) % len(frames), env]
        return found.reshape(*places.shape[:-1], -1)
