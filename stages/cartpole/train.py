"""Train a DQN in a Gymnasium environment until it is solved; write its weights, learning curve and trials.

A round is: collect, learn, and, now and then, try; `dqn/` has the parts. They depart from Mnih et al., "Human-level
control through deep reinforcement learning" (2015), as their docstrings say.
"""

import argparse
import math
import sys
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages import runtime, times
from stages.cartpole import model
from stages.cartpole.dqn.exploration import Exploration
from stages.cartpole.dqn.learner import Policy, QLearner
from stages.cartpole.dqn.replay import Frames, NStep, ReplayBuffer, transition_type
from stages.cartpole.dqn.trial import Trial
from stages.cartpole.environments import EVALUATION_SEEDS, Environment
from stages.cartpole.origin import own_code
from stages.cartpole.params import Evaluate, Operation, Train
from stages.core.errors import InputError, run
from stages.core.files import significant, write_json
from stages.core.params import EvaluateParams, OperationParams, TrainParams
from stages.training.checkpoint import Arrays, Checkpoints, run_digest
from stages.training.outputs import add_outputs, write_curve
from stages.training.progress import Interrupt, bar
from stages.training.provenance import collect_provenance
from stages.weights import write_weights

# Each purpose of the seed has a random generator of its own.
ENVIRONMENT, ACTING, REPLAY, WEIGHTS, TRIAL = range(5)

CURVE = ("steps", "episode", "return", "exploration")
TRIALS = ("steps", "return", "complete", "threshold")
IRRELEVANT = ("total_timesteps",)  # parameters that change no step of a run
CHANGING = (
    *("steps", "highest_reward", "history", "trials", "acting.bit_generator.state", "sampling.bit_generator.state"),
    *("learner.updates", "exploration.epsilon", "n_step.steps", "replay.added"),
    *("replay.dropped", "replay.max_priority"),
)
"""What changes while an agent learns, besides arrays."""


class DQN:
    """An agent that learns.

    Args:
        params: the stage's parameters.

    Raises:
        InputError: if the environment cannot be used, `observation_scale` does not fit it, or nothing says what
            solves it.
    """

    def __init__(self, params: TrainParams[Train]) -> None:
        self.seed, self.train = params.seed, params.train
        train, self.environment = params.train, Environment(params.train)
        size, actions = self.environment.observations, self.environment.actions
        if len(train.network.observation_scale) not in {1, size}:
            raise InputError(f"cartpole.train.network.observation_scale: expected 1 number or {size} for {train.env}")
        self.config = model.configuration(train.network, size, actions, self.environment.image)
        self.trial = Trial(self.environment, train.stop)
        self.envs = self.environment.make_vec(train.n_envs)
        first = self._environment_seed(train.n_envs, ENVIRONMENT)
        self.seeds = range(first, first + train.n_envs)
        self.learner = QLearner(self.config, train, self._generator(WEIGHTS), self.environment.stored)
        self.policy, self.saved_policy = Policy(self.config), Policy(self.config)
        self._set_policies()
        self.exploration = Exploration(train.exploration, train.n_envs, actions)
        stored, stack = self.environment.stored, self.environment.frames
        kind = transition_type(size, stored is not None)
        self.n_step = NStep(train.n_steps, train.gamma, train.n_envs, kind)
        self.replay = ReplayBuffer(train.buffer_size, kind, train.prioritized_replay)
        sizes = (train.buffer_size, train.n_envs, size // stack, stack)
        self.frames = None if stored is None else Frames(*sizes, stored, train.n_steps)
        self.acting, self.sampling = self._generator(ACTING), self._generator(REPLAY)
        self.observation = self._begin()
        self.episodes: Arrays = {"return": np.zeros(train.n_envs), "ended": np.zeros(train.n_envs, np.bool_)}
        self.actions_taken: list[npt.NDArray[Any]] = []
        self.steps, self.highest_reward, self.loss = 0, 0.0, math.nan
        self.history: list[list[float]] = []
        """For each episode: environment steps, its number, its return, the share of random actions."""
        self.trials: list[list[float]] = []
        """For each trial: environment steps, the mean return, whether it was complete, the mean return to reach."""

    def round(self) -> list[float] | None:
        """Collect, learn, and hold a trial where one is due; the mean returns of a passed trial, else None."""
        before = self.steps
        for _ in range(self.train.train_freq):
            self.collect()
        if self.steps < self.train.learning_starts or not len(self.replay):
            return None
        self.learn()
        due = self.steps // self.train.stop.eval_freq != before // self.train.stop.eval_freq
        return self.hold_trial() if due else None

    def collect(self) -> None:
        """Step every environment once; store the transitions, record the episodes that ended."""
        before = self.observation if self.frames is None else self.frames.newest
        action = self.exploration.replace(self.policy(self.observation), self.steps, self.acting)
        self.actions_taken.append(action.astype(np.min_scalar_type(self.environment.actions)))
        observation, reward, terminated, truncated, _ = self.envs.step(action + self.environment.first_action)
        self.observation, was_ended, ended = self._scaled(observation), self.episodes["ended"], terminated | truncated
        after = self.observation if self.frames is None else self.frames.add(observation, was_ended)
        form = self.train.reward
        learned = form.scale * reward + form.shift + form.terminal * terminated
        self.replay.add(self.n_step.add(before, action, learned, after, terminated, ended, was_ended))
        if self.frames is not None:
            self.replay.drop_before(self.frames.oldest)
        self.steps += int(np.count_nonzero(~was_ended))
        self.episodes["ended"] = ended
        self.episodes["return"] += reward
        self.highest_reward = max(self.highest_reward, float(reward.max()))
        for value in self.episodes["return"][ended].tolist():
            self.history.append([self.steps, len(self.history) + 1, value, self.exploration.epsilon])
        self.episodes["return"][ended] = 0.0

    def learn(self) -> None:
        """Make the updates of one round."""
        shape = (self.train.gradient_steps, self.train.batch_size)
        places, importance = self.replay.sample(shape, self.sampling)
        transitions, images = self.replay.arrays["transitions"][places], []
        if self.frames is not None:
            images = [self.frames.observations(transitions[name]) for name in ("observation", "next")]
        errors = self.learner.learn(transitions, importance, images)
        self.replay.update_priorities(places, errors)
        self._set_policies()
        with np.errstate(over="ignore"):
            self.loss = float(np.mean(errors**2))
        if not (math.isfinite(self.loss) and np.isfinite(self.learner.online).all()):
            raise InputError(
                f"cartpole.train: the loss at step {self.steps} is {self.loss:g}, expected a number: try a smaller "
                "learning_rate or reward.scale, or limits as target_clip"
            )

    def hold_trial(self) -> list[float] | None:
        """Play greedily; the two sets' mean returns if the trial is passed, else None."""
        seed = self._environment_seed(self.trial.episodes, TRIAL, self.steps, others=self.seeds)
        trial = self.trial.hold(self.act, seed, self.highest_reward)
        self.trials.append([self.steps, trial.mean_return, int(trial.complete), self.trial.threshold])
        return trial.set_returns

    def act(self, observation: Any) -> Any:
        """Greedy actions, by the network that is saved, of the environment for its observations."""
        return self.saved_policy(self._scaled(observation)) + self.environment.first_action

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that the rest of the run depends on, as arrays and as JSON.

        The environments' state is the actions that they took since their reset: any environment can be brought back so,
        while only some can be copied.
        """
        names = CHANGING if self.frames is None else (*CHANGING, "frames.added")
        notes = {name: attrgetter(name)(self) for name in names}
        taken = np.array(self.actions_taken).reshape(-1, self.train.n_envs)
        return {**self._arrays(), "actions_taken": taken, "observation": self.observation}, notes

    def restore(self, arrays: Arrays, notes: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.actions_taken = list(arrays["actions_taken"])
        observation, _ = self.envs.reset(seed=self.seeds.start)
        for action in self.actions_taken:
            observation, *_ = self.envs.step(action.astype(np.int64) + self.environment.first_action)
        self.observation = self._scaled(observation)
        for name, value in notes.items():
            part, _, attribute = name.rpartition(".")
            setattr(attrgetter(part)(self) if part else self, attribute, value)
        for name, array in self._arrays().items():
            array[...] = arrays[name]
        if (self.observation != arrays["observation"]).any():
            print(
                f"warning: {self.environment.name} does not repeat itself: its randomness is not from its seed. New "
                "episodes begin here, and the result is not that of an uninterrupted run",
                file=sys.stderr,
            )
            self.observation, self.actions_taken = self._begin(), []
            self.n_step.arrays["open"][...] = False
            for array in self.episodes.values():
                array[...] = 0
        self._set_policies()

    def _arrays(self) -> Arrays:
        """Every array that changes, by name; views, so that they can be written to."""
        parts = {
            "learner": self.learner.arrays,
            "exploration": self.exploration.arrays,
            "n_step": self.n_step.arrays,
            "replay": self.replay.used,
            "frames": {} if self.frames is None else self.frames.used,
            "episodes": self.episodes,
        }
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def _begin(self) -> npt.NDArray[np.float32]:
        """Begin new episodes; their first observations."""
        observation = self.envs.reset(seed=self.seeds.start)[0]
        if self.frames is not None:
            self.frames.add(observation, np.ones(self.train.n_envs, np.bool_))
        return self._scaled(observation)

    def _scaled(self, observation: Any) -> npt.NDArray[np.float32]:
        return np.asarray(observation / self.policy.scale, np.float32)

    def _set_policies(self) -> None:
        self.policy.set_weights(self.learner.online)
        self.saved_policy.set_weights(self.learner.saved)

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose])

    def _environment_seed(self, count: int, *purpose: int, others: range = range(0)) -> int:
        """The first of so many seeds for environments, which are neither evaluation's nor among the others."""
        random = self._generator(*purpose)
        while True:
            first = int(random.integers(2**31))
            after = first + count
            if after <= EVALUATION_SEEDS.start and (after <= others.start or others.stop <= first):
                return first


def train(agent: DQN, checkpoints: Checkpoints, checkpoint_every: int) -> list[float] | None:
    """Train until solved or out of steps, from the newest checkpoint on; the mean returns of the passed trial."""
    last, every = agent.train.total_timesteps, checkpoint_every
    if latest := checkpoints.latest(last):
        agent.restore(*latest[1:])
        print(f"resumed at step {agent.steps}", file=sys.stderr)
        times.note(f"from step {agent.steps:,} on")
    with bar("cartpole", last, agent.steps) as progress, Interrupt() as interrupt:
        while agent.steps < last:
            before = agent.steps
            if solved := agent.round():
                return solved
            progress.update(agent.steps - before)
            progress.set_postfix(loss=agent.loss, episodes=len(agent.history), refresh=False)
            if agent.steps // every != before // every or interrupt.noticed or agent.steps >= last:
                checkpoints.save(agent.steps, *agent.state())
            if interrupt.noticed:
                interrupt.leave(agent.steps)
    return None


def main() -> None:
    """Train, and write weights, metrics, curve and trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_outputs(parser)
    parser.add_argument("trials", type=Path, help="file to write the greedy trials to")
    args = parser.parse_args()
    params = TrainParams[Train].read(args.params)
    operation = OperationParams[Operation].read(args.params).operation
    plane = EvaluateParams[Evaluate].read(args.params).evaluate.plane

    runtime.configure(params.runtime)
    agent = DQN(params)
    if plane and not agent.environment.image:  # what the evaluation would refuse is refused before training
        plane.check(agent.environment.observations)
    provenance = collect_provenance(params, device=runtime.device())
    provenance["packages"] |= agent.environment.packages()
    provenance["code"] |= own_code()
    provenance["settings"]["max_episode_steps"] = agent.environment.max_episode_steps
    run_name = run_digest(provenance, "cartpole", IRRELEVANT)
    with Checkpoints("cartpole", run_name, operation.max_to_keep) as checkpoints:
        solved = train(agent, checkpoints, operation.checkpoint_every)
        save = partial(model.save, agent.learner.saved, agent.config)
        write_weights(args.weights, save, agent.config, provenance)
        for path, rows, columns in ((args.curve, agent.history, CURVE), (args.trials, agent.trials, TRIALS)):
            write_curve(path, [dict(zip(columns, row, strict=True)) for row in rows], columns)
        sets = {f"trial_{number}_return": significant(mean) for number, mean in enumerate(solved or [], 1)}
        stopped_by = "solved" if solved else "total_timesteps"
        write_json(args.metrics, {"steps": agent.steps, **sets, "stopped_by": stopped_by})
        if solved:
            checkpoints.clear()


if __name__ == "__main__":
    run(main)
