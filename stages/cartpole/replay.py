"""Replay memory: transitions in preallocated arrays, n-step returns, priorities in a sum tree."""

import numpy as np
import numpy.typing as npt

from stages.shared.checkpoint import Arrays

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


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
            "observation": np.zeros((n, envs, observations), np.float32),
            "action": np.zeros((n, envs), np.int32),
            "reward": np.zeros((n, envs), np.float32),
            "discount": np.zeros((n, envs), np.float32),
            "open": np.zeros((n, envs), np.bool_),
        }
        self.taken = 0

    def add(
        self, observation: Floats, action: Indices, reward: Floats, terminated: Flags, ended: Flags, counts: Flags
    ) -> tuple[Floats, npt.NDArray[np.int32], Floats, Floats, Indices]:
        """Take one step of every environment; give the transitions that it completes.

        Args:
            observation: before the step, [envs, observations].
            action: [envs].
            reward: [envs].
            terminated: whether the episode ended in a terminal state [envs].
            ended: whether it ended, there or at a time limit [envs].
            counts: whether the step was one: the one after an end only resets [envs].

        Returns:
            Of the completed: observation, action, n-step return, discount, and the environment whose
            observation after this step is the one that the transition leads to.
        """
        known = self.arrays
        rows = len(known["open"])
        row, last = self.taken % rows, (self.taken + 1) % rows
        known["observation"][row], known["action"][row] = observation, action
        known["reward"][row], known["discount"][row], known["open"][row] = 0.0, 1.0, counts
        known["reward"] += known["discount"] * reward
        known["discount"] *= self.gamma
        complete = known["open"] & ended
        complete[last] = known["open"][last]
        known["open"] &= ~complete
        self.taken += 1
        at, env = np.nonzero(complete)
        discount = known["discount"][at, env] * ~terminated[env]
        return known["observation"][at, env], known["action"][at, env], known["reward"][at, env], discount, env


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
        self.arrays: Arrays = {
            "observation": np.zeros((capacity, observations), np.float32),
            "action": np.zeros(capacity, np.int32),
            "reward": np.zeros(capacity, np.float32),
            "discount": np.zeros(capacity, np.float32),
            "next": np.zeros((capacity, observations), np.float32),
        }
        self.added = 0
        self.exponent = exponent
        self.tree = None if exponent is None else SumTree(capacity)
        self.highest = 1.0

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(
        self, observation: Floats, action: npt.NDArray[np.int32], reward: Floats, discount: Floats, after: Floats
    ) -> None:
        """Write transitions over the oldest; a new one has the highest priority seen."""
        places = (self.added + np.arange(len(action))) % self.capacity
        for name, values in zip(self.arrays, (observation, action, reward, discount, after), strict=True):
            self.arrays[name][places] = values
        if self.tree and len(places):
            self.tree.update(places, self.highest)
        self.added += len(action)

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
