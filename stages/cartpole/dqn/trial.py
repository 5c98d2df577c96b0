"""The trial that ends training: the agent plays greedily, and well enough twice."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.cartpole.environments import Act, Environment, Player
from stages.cartpole.params import Stop
from stages.core.errors import InputError

Returns = npt.NDArray[np.float64]

LOOKS = (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.7, 1.0, 1.2, 1.5, 2.0)
"""After how many sets of episodes a trial is judged: hopeless agents, by far the most, cost few episodes."""
DOUBT = 2.0
"""Standard errors of a forecast: a trial whose chance is below one in forty is given up."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Args:
        mean_return: mean return of the episodes played, also of those that were not played to their end.
        complete: whether every episode was played to its end; False: the trial was given up.
        set_returns: the two sets' mean returns if both pass, else None.
    """

    mean_return: float
    complete: bool
    set_returns: list[float] | None


class Trial:
    """Two independent sets of greedy episodes, played side by side.

    Args:
        environment: what is played.
        stop: number of episodes, threshold and margin.

    Raises:
        InputError: if neither the parameters nor the environment have a threshold.
    """

    def __init__(self, environment: Environment, stop: Stop) -> None:
        if environment.reward_threshold is None:
            raise InputError(
                f"cartpole.train.stop.reward_threshold: null: {environment.name} has none of its own, expected a number"
            )
        self.stop, self.max_episode_steps = stop, stop.time_limits * environment.max_episode_steps
        self.threshold = stop.time_limits * environment.reward_threshold
        self.episodes, vectorised = 2 * stop.n_eval_episodes, environment.has_vector_code
        self.vector_env = environment.make_vec(self.episodes, stop.time_limits) if vectorised else None
        self.player = None if vectorised else Player(environment, stop.time_limits)

    def hold(self, act: Act, seed: int, highest_reward: float) -> Outcome:
        """Play; give up as soon as the trial cannot be passed, or hardly.

        Args:
            act: chooses the greedy actions.
            seed: of the episodes.
            highest_reward: of a step so far, at least 0.
        """
        returns, complete = self._play(act, seed) if self.player else self._play_vector(act, seed, highest_reward)
        passed = complete and self._can_pass(returns, returns)
        sets = [float(mean) for mean in returns.reshape(2, -1).mean(axis=1)] if passed else None
        return Outcome(float(returns.mean()), complete, sets)

    def _play(self, act: Act, seed: int) -> tuple[Returns, bool]:
        """Returns of all episodes, or of the first ones, and False, if these leave little hope."""
        assert self.player is not None
        returns = np.empty(0)
        for end in dict.fromkeys(max(2, round(look * self.stop.n_eval_episodes)) for look in LOOKS):
            more = self.player.play(range(seed + len(returns), seed + end), act)
            returns = np.concatenate([returns, more])
            if self._is_hopeless(returns):
                break
        return returns, len(returns) == self.episodes

    def _is_hopeless(self, returns: Returns) -> bool:
        """Whether the set that these episodes have reached is expected to fail, or one that they complete does."""
        size = self.stop.n_eval_episodes
        for part in (returns[:size], returns[size:]):
            count = len(part)
            if count < 2:
                continue
            spread = part.std(ddof=1)
            # The mean of the whole set, foretold with Student's t in the expansion by Cornish and Fisher.
            doubt = DOUBT + (DOUBT**3 + DOUBT) / (4 * (count - 1))
            highest = part.mean() + doubt * spread * math.sqrt(1 / count - 1 / size)
            if highest < self.threshold + self.stop.margin * spread / math.sqrt(size):
                return True
        return False

    def _play_vector(self, act: Act, seed: int, highest_reward: float) -> tuple[Returns, bool]:
        """Returns of all episodes; so far, and False, once the highest reward in all steps left would not pass."""
        assert self.vector_env is not None
        observation, _ = self.vector_env.reset(seed=seed)
        returns, running = np.zeros(len(observation)), np.ones(len(observation), np.bool_)
        for step in range(self.max_episode_steps):
            observation, reward, terminated, truncated, _ = self.vector_env.step(act(observation))
            returns += np.where(running, reward, 0.0)
            highest_reward = max(highest_reward, float(reward.max()))
            running &= ~(terminated | truncated)
            if not running.any():
                break
            possible = highest_reward * (self.max_episode_steps - step - 1)
            if step % 8 == 0 and not self._can_pass(returns, returns + running * possible):
                return returns, False
        return returns, True

    def _can_pass(self, lowest: Returns, highest: Returns) -> bool:
        """Whether both sets pass with some returns between these, judged by the highest mean and the least error."""
        low, high = lowest.reshape(2, -1), highest.reshape(2, -1)
        nearest = low
        for _ in range(4):  # the returns that differ least from each other
            nearest = np.clip(nearest.mean(axis=1, keepdims=True), low, high)
        error = nearest.std(axis=1, ddof=1) / math.sqrt(self.stop.n_eval_episodes)
        return bool((high.mean(axis=1) - self.stop.margin * error >= self.threshold).all())
