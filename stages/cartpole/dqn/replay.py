"""Replay memory: transitions in a preallocated array, n-step returns, priorities in a sum tree."""

from typing import Any

import numpy as np
import numpy.typing as npt

from stages.training.checkpoint import Arrays

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Transitions = npt.NDArray[np.void]


def transition(observations: int) -> np.dtype[np.void]:
    """What one transition consists of, all float32: a batch is a matrix as it lies in memory.

    Args:
        observations: size of an observation.
    """
    numbers = ("action", "return", "discount")
    vector = (np.float32, (observations,))
    return np.dtype([("observation", *vector), *((name, np.float32) for name in numbers), ("next", *vector)])


class Steps:
    """Makes transitions over `n` steps out of single steps of several environments.

    A transition ends after n steps, or earlier where its episode ends; what it leads to is worth
    `discount` times the value of the observation then, and nothing after a termination.

    Source: Sutton and Barto, "Reinforcement Learning" (2nd edition), section 7.1.

    Args:
        n: steps a transition.
        gamma: discount a step.
        envs: number of environments.
        observations: size of an observation.
    """

    def __init__(self, n: int, gamma: float, envs: int, observations: int) -> None:
        self.gamma = np.float32(gamma)
        # One row for each of the last n steps, used in turn; `open` marks the transitions not yet given out.
        self.arrays: Arrays = {
            "transitions": np.zeros((n, envs), transition(observations)),
            "open": np.zeros((n, envs), np.bool_),
        }
        self.taken = 0

    def add(
        self,
        observation: Floats,
        action: Indices,
        reward: Floats,
        after: Floats,
        terminated: Flags,
        ended: Flags,
        counts: Flags,
    ) -> Transitions:
        """Take one step of every environment.

        Args:
            observation: before the step, [envs, observations].
            action: [envs].
            reward: [envs].
            after: the observation after the step, [envs, observations].
            terminated: whether the episode ended in a terminal state [envs].
            ended: whether it ended, there or at a time limit [envs].
            counts: whether the step was one: the one after an end only resets [envs].

        Returns:
            The transitions that it completes.
        """
        known, still = self.arrays["transitions"], self.arrays["open"]
        row, last = self.taken % len(known), (self.taken + 1) % len(known)
        known["observation"][row], known["action"][row] = observation, action
        known["return"][row], known["discount"][row], still[row] = 0.0, 1.0, counts
        known["return"] += known["discount"] * reward
        known["discount"] *= self.gamma
        complete = still & ended
        complete[last] = still[last]
        still &= ~complete
        self.taken += 1
        _, env = np.nonzero(complete)
        given = known[complete]
        given["discount"] *= ~terminated[env]
        given["next"] = after[env]
        return given


class SumTree:
    """Priorities whose sums are kept in a binary tree: sampling and changing take log2(size) steps.

    Node 1 is the root, node i has the children 2i and 2i + 1, the leaves hold the priorities.

    Args:
        size: number of leaves, a power of two.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.nodes = np.zeros(2 * size)

    def update(self, places: Indices, priorities: npt.ArrayLike) -> None:
        """Set leaves; a place named twice keeps its last priority."""
        nodes = places + self.size
        self.nodes[nodes] = priorities
        while nodes[0] > 1:
            nodes = nodes >> 1
            self.nodes[nodes] = self.nodes[2 * nodes] + self.nodes[2 * nodes + 1]

    def find(self, mass: npt.NDArray[np.float64]) -> Indices:
        """The leaf at which the running sum of priorities passes each mass, from 0 to below the total."""
        nodes = np.ones(len(mass), np.int64)
        mass = mass.copy()
        while nodes[0] < self.size:
            nodes = 2 * nodes
            left = self.nodes[nodes]
            # An empty right half is never entered, whatever rounding says.
            right = (mass >= left) & (self.nodes[nodes + 1] > 0)
            mass -= np.where(right, left, 0.0)
            nodes += right
        return nodes - self.size


class Replay:
    """The newest `capacity` transitions, drawn uniformly or by priority.

    Args:
        capacity: a power of two.
        observations: size of an observation.
        exponent: of the priorities; None draws uniformly.
    """

    def __init__(self, capacity: int, observations: int, exponent: float | None) -> None:
        self.capacity = capacity
        self.transitions = np.zeros(capacity, transition(observations))
        self.added = 0
        self.exponent = exponent
        self.tree = None if exponent is None else SumTree(capacity)
        self.highest = 1.0

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, transitions: Transitions) -> None:
        """Write transitions over the oldest; a new one has the highest priority seen."""
        first, after = self.added % self.capacity, self.added % self.capacity + len(transitions)
        places: Any = slice(first, after) if after <= self.capacity else np.arange(first, after) % self.capacity
        self.transitions[places] = transitions
        if self.tree and len(transitions):
            self.tree.update(np.arange(first, after) % self.capacity, self.highest)
        self.added += len(transitions)

    def sample(self, shape: tuple[int, int], random: np.random.Generator, correction: float) -> tuple[Indices, Floats]:
        """Draw transitions, with replacement.

        Source of the priorities: Schaul et al., "Prioritized Experience Replay" (2016), the proportional
        variant, stratified.

        Args:
            shape: updates, and transitions an update.
            random: what draws.
            correction: exponent of the importance weights.

        Returns:
            Places int64 [updates, batch] and weights float32 [updates, batch], at most 1.
        """
        if self.tree is None:
            return random.integers(0, len(self), shape), np.ones(shape, np.float32)
        total = self.tree.nodes[1]
        strata = (np.arange(shape[1]) + random.random(shape)) / shape[1]
        places = self.tree.find(strata.ravel() * total).reshape(shape)
        weights = (len(self) * self.tree.nodes[places + self.capacity] / total) ** -correction
        return places, (weights / weights.max(axis=1, keepdims=True)).astype(np.float32)

    def prioritise(self, places: Indices, errors: Floats) -> None:
        """Set the priorities of drawn transitions [updates, batch] to their errors, raised to the exponent."""
        if self.tree and self.exponent is not None:
            priorities = (np.abs(errors.ravel()).astype(np.float64) + 1e-6) ** self.exponent
            self.highest = max(self.highest, float(priorities.max()))
            self.tree.update(places.ravel(), priorities)
