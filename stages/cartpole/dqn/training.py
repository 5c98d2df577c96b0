"""A training run: everything that changes while the agent learns, and one round of it."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.cartpole import model
from stages.cartpole.dqn.exploration import Exploration
from stages.cartpole.dqn.learner import QLearner
from stages.cartpole.dqn.policy import Policy
from stages.cartpole.dqn.replay import NStep, ReplayBuffer
from stages.cartpole.dqn.trial import Trial
from stages.cartpole.environments import Environment
from stages.cartpole.params import TrainParams
from stages.core.errors import InputError
from stages.training.checkpoint import Arrays

# Each purpose of the seed has a random generator of its own.
ENVIRONMENT, ACTING, REPLAY, WEIGHTS, TRIAL = range(5)


def generator(seed: int, *purpose: int) -> np.random.Generator:
    """The random generator of one purpose."""
    return np.random.default_rng([seed, *purpose])


def environment_seed(seed: int, *purpose: int) -> int:
    """A seed for environments, below 2**31; evaluation uses those from 2**32 on."""
    return int(generator(seed, *purpose).integers(2**31))


class Training:
    """A training run.

    Args:
        params: the stage's parameters.

    Raises:
        InputError: if the environment cannot be used, `observation_scale` does not fit it, or nothing says what
            solves it.
    """

    def __init__(self, params: TrainParams) -> None:
        self.train, self.seed = params.train, params.seed
        self.environment = environment = Environment(params.train)
        train, size, actions = params.train, environment.observations, environment.actions
        if len(train.network.observation_scale) not in {1, size}:
            raise InputError(f"cartpole.train.network.observation_scale: expected 1 number or {size} for {train.env}")
        self.config = model.configuration(train.network, size, actions)
        self.trial = Trial(environment, train.stop)
        self.envs = environment.make_vec(train.n_envs)
        self.policy, self.saved_policy = Policy(self.config), Policy(self.config)
        self.learner = QLearner(self.config, train, generator(params.seed, WEIGHTS))
        self.exploration = Exploration(train.exploration, train.n_envs, actions)
        self.n_step = NStep(train.n_steps, train.gamma, train.n_envs, size)
        self.replay = ReplayBuffer(train.buffer_size, size, train.prioritized_replay)
        self.random = {"acting": generator(params.seed, ACTING), "replay": generator(params.seed, REPLAY)}
        self._set_policies()
        self.observation = self._reset()
        self.episodes: Arrays = {"return": np.zeros(train.n_envs), "ended": np.zeros(train.n_envs, np.bool_)}
        self.action_type = np.min_scalar_type(actions)
        self.actions_taken: list[npt.NDArray[np.unsignedinteger[Any]]] = []
        self.steps, self.highest_reward, self.loss = 0, 0.0, math.nan
        self.history: list[list[float]] = []
        """For each episode: environment steps, its number, its return, the share of random actions."""
        self.trials: list[list[float]] = []
        """For each trial: environment steps, the mean return, whether it was complete, the mean return to reach."""

    def _reset(self) -> npt.NDArray[np.float32]:
        return self._scaled(self.envs.reset(seed=environment_seed(self.seed, ENVIRONMENT))[0])

    def _scaled(self, observation: Any) -> npt.NDArray[np.float32]:
        return np.asarray(observation / self.policy.scale, np.float32)

    def _set_policies(self) -> None:
        self.policy.set_weights(self.learner.online)
        self.saved_policy.set_weights(self.learner.saved)

    def act(self, observation: Any) -> Any:
        """Greedy actions, by the network that is saved, of the environment for its observations."""
        return self.saved_policy(self._scaled(observation)) + self.environment.first_action

    def _step(self) -> None:
        """Step every environment once; store the transitions, record the episodes that ended."""
        action = self.exploration.replace(self.policy(self.observation), self.steps, self.random["acting"])
        self.actions_taken.append(action.astype(self.action_type))
        observation, reward, terminated, truncated, _ = self.envs.step(action + self.environment.first_action)
        after, was_ended, ended = self._scaled(observation), self.episodes["ended"], terminated | truncated
        form = self.train.reward
        learned = form.scale * reward + form.shift + form.terminal * terminated
        self.replay.add(self.n_step.add(self.observation, action, learned, after, terminated, ended, was_ended))
        self.steps += int(np.count_nonzero(~was_ended))
        self.observation, self.episodes["ended"] = after, ended
        self.episodes["return"] += reward
        self.highest_reward = max(self.highest_reward, float(reward.max()))
        if ended.any():
            for value in self.episodes["return"][ended].tolist():
                self.history.append([self.steps, len(self.history) + 1, value, self.exploration.epsilon])
            self.episodes["return"][ended] = 0.0

    def _learn(self) -> None:
        """Make the updates of one round."""
        shape = (self.train.gradient_steps, self.train.batch_size)
        places, weights = self.replay.sample(shape, self.random["replay"])
        errors = self.learner.learn(self.replay.arrays["transitions"][places], weights)
        self.replay.update_priorities(places, errors)
        self._set_policies()
        self.loss = float(np.mean(errors**2))

    def round(self) -> list[float] | None:
        """Collect, learn, and hold a trial where one is due; the mean returns of a passed trial, else None."""
        before = self.steps
        for _ in range(self.train.train_freq):
            self._step()
        if self.steps < self.train.learning_starts or not len(self.replay):
            return None
        self._learn()
        if self.steps // self.train.stop.eval_freq == before // self.train.stop.eval_freq:
            return None
        trial = self.trial.hold(self.act, environment_seed(self.seed, TRIAL, self.steps), self.highest_reward)
        self.trials.append([self.steps, trial.mean_return, int(trial.complete), self.trial.threshold])
        return trial.set_returns

    def _arrays(self) -> dict[str, Any]:
        """Every array that changes, by name; views, so that they can be written to."""
        parts = {
            "learner": self.learner.arrays,
            "exploration": self.exploration.arrays,
            "n_step": self.n_step.arrays,
            "replay": {name: array[: len(self.replay)] for name, array in self.replay.arrays.items()},
            "episodes": self.episodes,
        }
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that the rest of the run depends on, as arrays and as JSON.

        The environments' state is the actions that they took since their reset: any environment can be brought back so,
        while only some can be copied.
        """
        notes = {
            "steps": self.steps,
            "highest_reward": self.highest_reward,
            "history": self.history,
            "trials": self.trials,
            "updates": self.learner.updates,
            "epsilon": self.exploration.epsilon,
            "n_step_steps": self.n_step.steps,
            "added": self.replay.added,
            "max_priority": self.replay.max_priority,
            "random": {name: random.bit_generator.state for name, random in self.random.items()},
        }
        return {**self._arrays(), "actions_taken": np.stack(self.actions_taken)}, notes

    def restore(self, arrays: Arrays, notes: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.actions_taken = list(arrays["actions_taken"])
        self._reset()
        for action in self.actions_taken:
            observation, *_ = self.envs.step(action.astype(np.int64) + self.environment.first_action)
        self.observation = self._scaled(observation)
        self.steps, self.highest_reward = notes["steps"], notes["highest_reward"]
        self.history, self.trials = notes["history"], notes["trials"]
        self.learner.updates, self.exploration.epsilon = notes["updates"], notes["epsilon"]
        self.n_step.steps = notes["n_step_steps"]
        self.replay.added, self.replay.max_priority = notes["added"], notes["max_priority"]
        for name, random in self.random.items():
            random.bit_generator.state = notes["random"][name]
        for name, array in self._arrays().items():
            array[...] = arrays[name]
        self._set_policies()
