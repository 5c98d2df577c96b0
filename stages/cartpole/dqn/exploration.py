"""Random actions while training."""

import numpy as np

from stages.cartpole import params
from stages.cartpole.dqn.replay import Indices
from stages.training.checkpoint import Arrays


class Exploration:
    """Replaces greedy actions by random ones, each repeated for a geometric number of steps.

    With a mean repeat of 1 this is epsilon-greedy; longer ones reach further. New random actions start as often as it
    takes for the share of random actions to be epsilon.

    Source: Dabney et al., "Temporally-extended epsilon-greedy exploration" (2021).

    Args:
        schedule: epsilon over time, and the mean repeat.
        n_envs: number of environments.
        actions: number of actions.
    """

    def __init__(self, schedule: params.Exploration, n_envs: int, actions: int) -> None:
        self.schedule, self.actions = schedule, actions
        self.arrays: Arrays = {"action": np.zeros(n_envs, np.int64), "random": np.zeros(n_envs, np.bool_)}
        self.epsilon = 0.0
        """Probability that an action of the last step was random."""

    def scheduled(self, step: int) -> float:
        """Epsilon at an environment step, as the parameters say."""
        done = min(step / self.schedule.decay_steps, 1.0)
        return self.schedule.initial_eps + (self.schedule.final_eps - self.schedule.initial_eps) * done

    def replace(self, greedy: Indices, step: int, random: np.random.Generator) -> Indices:
        """Actions [n_envs] to take at an environment step where `greedy` are the best."""
        action, is_random = self.arrays["action"], self.arrays["random"]
        repeat = 1 - 1 / self.schedule.mean_repeat
        repeated = repeat * self.epsilon
        # Epsilon cannot fall faster than repeated actions end.
        self.epsilon = max(self.scheduled(step), repeated)
        goes_on, starts, pick = random.random((3, len(greedy)))
        is_random &= goes_on < repeat
        start = ~is_random & (starts < (self.epsilon - repeated) / (1 - repeated))
        np.copyto(action, (pick * self.actions).astype(np.int64), where=start)
        is_random |= start
        return np.where(is_random, action, greedy)
