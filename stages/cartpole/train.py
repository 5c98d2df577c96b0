"""Train a DQN in a Gymnasium environment until it is solved; write its weights and learning curve."""

import argparse
import math
import sys
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from stages import runtime, weights
from stages.cartpole import model
from stages.cartpole.dqn.agent import Exploration, Learner, Policy, environments
from stages.cartpole.dqn.replay import Replay, Steps
from stages.cartpole.dqn.trial import Trial
from stages.cartpole.params import TrainParams
from stages.core.errors import InputError, run
from stages.core.files import significant, write_json
from stages.training.checkpoint import Arrays, Checkpoints, run_digest
from stages.training.progress import Interrupt, bar
from stages.training.provenance import describe

IRRELEVANT = tuple(f"cartpole.train.{key}" for key in ("checkpoint_every", "max_to_keep", "max_steps"))
COLUMNS = ("steps", "episode", "return", "exploration")
# What the seed is for: each purpose has a stream of its own.
ENVIRONMENT, ACTING, REPLAY, WEIGHTS, TRIAL = range(5)


def stream(seed: int, *purpose: int) -> np.random.Generator:
    """The random generator of one purpose."""
    return np.random.default_rng([seed, *purpose])


def environment_seed(seed: int, *purpose: int) -> int:
    """A seed for environments, below 2**31; evaluation uses those from 2**32 on."""
    return int(stream(seed, *purpose).integers(2**31))


class Training:
    """A run: all that changes while training, and one round of it.

    Args:
        params: the stage's parameters.
    """

    def __init__(self, params: TrainParams) -> None:
        train, seed = params.train, params.seed
        self.seed, self.train = seed, train
        self.envs = environments(params.train.env, train.envs)
        self.trial = Trial(params.train.env, train.stop, train.max_steps)
        size = int(self.envs.single_observation_space.shape[0])
        actions = int(self.envs.single_action_space.n)
        if len(params.train.network.observation_scale) not in {1, size}:
            raise InputError(
                f"cartpole.train.network.observation_scale: expected 1 number or {size} for {params.train.env}"
            )
        self.config = model.configuration(params.train.network, size, actions)
        self.first_action = int(self.envs.single_action_space.start)
        self.policy = Policy(self.config)
        self.learner = Learner(self.config, train, stream(seed, WEIGHTS))
        self.exploration = Exploration(train.exploration, train.envs, actions)
        self.open = Steps(train.n_step, train.gamma, train.envs, size)
        exponent = train.prioritised.exponent if train.prioritised.enabled else None
        self.replay = Replay(train.buffer, size, exponent)
        self.random = {"acting": stream(seed, ACTING), "replay": stream(seed, REPLAY)}
        self.policy.set(self.learner.online)
        self.observation = self._reset()
        self.ended = np.zeros(train.envs, np.bool_)
        self.returns = np.zeros(train.envs)
        self.action_type = np.min_scalar_type(actions)
        self.taken: list[npt.NDArray[np.unsignedinteger[Any]]] = []
        self.steps, self.best, self.loss = 0, 0.0, math.nan
        self.history: list[list[float]] = []  # of an episode, what COLUMNS says

    def _reset(self) -> npt.NDArray[np.float32]:
        return self._scaled(self.envs.reset(seed=environment_seed(self.seed, ENVIRONMENT))[0])

    def _scaled(self, observation: Any) -> npt.NDArray[np.float32]:
        return np.asarray(observation / self.policy.scale, np.float32)

    def act(self, observation: Any) -> Any:
        """Greedy actions of the environment for its observations."""
        return self.policy(self._scaled(observation)) + self.first_action

    def _step(self) -> None:
        """Step every environment once; remember the transitions, note the episodes that ended."""
        share = self.exploration.share(self.steps)
        action = self.exploration.replace(self.policy(self.observation), self.steps, self.random["acting"])
        self.taken.append(action.astype(self.action_type))
        observation, reward, terminated, truncated, _ = self.envs.step(action + self.first_action)
        after, counts, ended = self._scaled(observation), ~self.ended, terminated | truncated
        form = self.train.reward
        learned = form.scale * reward + form.shift + form.terminal * terminated
        self.replay.add(self.open.add(self.observation, action, learned, after, terminated, ended, counts))
        self.returns += reward
        self.observation, self.ended = after, ended
        self.steps += int(np.count_nonzero(counts))
        self.best = max(self.best, float(reward.max()))
        if ended.any():
            for value in self.returns[ended].tolist():
                self.history.append([self.steps, len(self.history) + 1, value, share])
            self.returns[ended] = 0.0

    def _learn(self) -> None:
        """Make the updates of one call."""
        train = self.train
        shape = (train.updates, train.batch_size)
        places, weights = self.replay.sample(shape, self.random["replay"], train.prioritised.correction)
        errors = self.learner.learn(self.replay.transitions[places], weights)
        self.replay.prioritise(places, errors)
        self.policy.set(self.learner.online)
        self.loss = float(np.mean(errors**2))

    def round(self) -> list[float] | None:
        """Collect, learn, and try where it is due; the mean returns of a passed trial."""
        before = self.steps
        for _ in range(self.train.collect):
            self._step()
        if self.steps < self.train.learning_starts or not len(self.replay):
            return None
        self._learn()
        if self.steps // self.train.stop.every == before // self.train.stop.every:
            return None
        return self.trial.passed(self.act, environment_seed(self.seed, TRIAL, self.steps), self.best)

    def _parts(self) -> dict[str, Arrays]:
        tree = self.replay.tree
        return {
            "learner": self.learner.arrays,
            "exploration": self.exploration.arrays,
            "open": self.open.arrays,
            "replay": {"transitions": self.replay.transitions[: len(self.replay)]},
            "run": {"returns": self.returns, "ended": self.ended},
            "tree": {} if tree is None else {"nodes": tree.nodes},
        }

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that the rest of the run depends on, as arrays and as JSON.

        The environments are in it as the actions that they took: that holds for any environment, where only
        some can be copied.
        """
        arrays = {f"{part}.{name}": a for part, found in self._parts().items() for name, a in found.items()}
        arrays["taken"] = np.stack(self.taken)
        counts = {"steps": self.steps, "best": self.best, "history": self.history}
        memory = {"added": self.replay.added, "highest": self.replay.highest, "rows": self.open.taken}
        random = {name: generator.bit_generator.state for name, generator in self.random.items()}
        return arrays, {**counts, **memory, "random": random}

    def restore(self, arrays: Arrays, notes: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.taken = list(arrays["taken"])
        self._reset()
        for action in self.taken:
            observation, *_ = self.envs.step(action.astype(np.int64) + self.first_action)
        self.observation = self._scaled(observation)
        self.replay.added, self.replay.highest = notes["added"], notes["highest"]
        self.open.taken = notes["rows"]
        self.steps, self.best = notes["steps"], notes["best"]
        self.history = notes["history"]
        for name, generator in self.random.items():
            generator.bit_generator.state = notes["random"][name]
        for part, found in self._parts().items():
            for name, array in found.items():
                if array.shape:
                    array[...] = arrays[f"{part}.{name}"]
                else:
                    found[name] = arrays[f"{part}.{name}"]
        self.policy.set(self.learner.online)


def fit(training: Training, checkpoints: Checkpoints) -> list[float] | None:
    """Train until solved or out of steps, from the newest checkpoint on; the mean returns of the passed trial."""
    train = training.train
    if found := checkpoints.latest(train.max_steps):
        training.restore(*found[1:])
        print(f"resumed at step {training.steps}", file=sys.stderr)
    with bar("cartpole", train.max_steps, training.steps) as progress, Interrupt() as interrupt:
        while training.steps < train.max_steps:
            before = training.steps
            if solved := training.round():
                return solved
            progress.update(training.steps - before)
            progress.set_postfix(loss=training.loss, episodes=len(training.history), refresh=False)
            due = training.steps // train.checkpoint_every != before // train.checkpoint_every
            if due or interrupt.noticed or training.steps >= train.max_steps:
                checkpoints.save(training.steps, *training.state())
            if interrupt.noticed:
                interrupt.leave(training.steps)
    return None


def main() -> None:
    """Train, and write weights, metrics and curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    weights.add_outputs(parser)
    args = parser.parse_args()
    params = TrainParams.read(args.params)

    runtime.configure(params.runtime, seed=None)
    provenance = describe(params, device=runtime.device())
    name = run_digest(provenance, IRRELEVANT)
    with Checkpoints("cartpole", name, params.train.max_to_keep) as checkpoints:
        training = Training(params)
        solved = fit(training, checkpoints)
        save = partial(model.save, training.learner.online, training.config)
        weights.write_weights(args.weights, save, training.config, provenance)
        history = [dict(zip(COLUMNS, episode, strict=True)) for episode in training.history]
        weights.write_curve(args.curve, history, COLUMNS)
        counts = {"steps": training.steps, "updates": training.learner.updates, "episodes": len(training.history)}
        sets = {f"trial_{number}_return": significant(mean) for number, mean in enumerate(solved or [], 1)}
        write_json(args.metrics, counts | sets | {"stopped_by": "solved" if solved else "max_steps"})
        if solved:
            checkpoints.clear()


if __name__ == "__main__":
    run(main)
