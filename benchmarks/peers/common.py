"""What every agent in the comparison does alike: when its clock starts, how it is tried and judged, what it reports.

Of the project it imports what plays an environment, which needs no TensorFlow, so that it runs in any agent's
environment.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.cartpole.dqn import trial
from stages.cartpole.environments import Environment, Player, evaluation_seed
from stages.cartpole.params import Train
from stages.core.params import TrainParams

MOST_STEPS = 500_000
EPISODES = 100
MARGIN = 2.0
"""Standard errors by which the sets of the other agents must exceed the threshold: less than this project asks of its
own, so that they stop sooner."""
TRIAL_EVERY = {"Acrobot-v1": 2048, "LunarLander-v3": 3072, "MountainCar-v0": 4096}
"""Environment steps between two trials of the other agents, never more than between this project's where these cost
time; every 1024 in other environments."""

Act = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def returns(environment: Environment, act: Act, episodes: int, seed: int) -> npt.NDArray[np.float64]:
    """Returns of greedy episodes [episodes]."""
    return Player(environment).play(range(seed, seed + episodes), act)


class Trial(trial.Trial):
    """The stopping test, whose time is noted."""

    cpu = wall = 0.0
    held = 0

    def hold(self, act: Act, seed: int, highest_reward: float) -> trial.Outcome:
        """Play, and record how long that took."""
        cpu, wall = time.process_time(), time.perf_counter()
        result = super().hold(act, seed, highest_reward)
        self.cpu += time.process_time() - cpu
        self.wall += time.perf_counter() - wall
        self.held += 1
        return result


class Contest:
    """One run of a contestant: its arguments, its trials and its clock.

    To be made when all is imported. Set-up is what comes before `start`: the agent is made, and learns once from
    nothing or in a copy that is thrown away, so that nothing is compiled or imported while the clock runs.
    """

    def __init__(self) -> None:
        self._imported = time.process_time()
        parser = argparse.ArgumentParser()
        parser.add_argument("env")
        parser.add_argument("seed", type=int)
        parser.add_argument("params", type=Path, help="this project's parameters")
        parser.add_argument("weights", type=Path, help="file to write weights to")
        parser.add_argument("report", type=Path, help="file to write what was measured to")
        args = parser.parse_args()
        self.env, self.seed, self.weights, self._report = args.env, args.seed, args.weights, args.report
        self.params = TrainParams[Train].read(args.params)
        self._environment = Environment(self.params.train)
        self._own = self.params.train.stop
        self.every = TRIAL_EVERY.get(self.env, 1024)
        self.trial = Trial(self._environment, self._own.model_copy(update={"margin": MARGIN}))

    def own_trial(self) -> Trial:
        """The stopping test as this project's parameters have it, in place of the others'."""
        self.every, self.trial = self._own.eval_freq, Trial(self._environment, self._own)
        return self.trial

    def solved(self, act: Act) -> bool:
        """Whether an agent that has no trial of its own passes one."""
        seed = 1_000_000 * (self.seed + 1) + 1000 * self.trial.held
        return self.trial.hold(act, seed, 0.0).set_returns is not None

    def start(self) -> None:
        """The first step is next."""
        self._modules = set(sys.modules)
        self._ready, self._wall = time.process_time(), time.perf_counter()

    def finish(self, act: Act, steps: int, updates: int) -> None:
        """The last step was made: judge the agent by fresh episodes and write all down.

        Args:
            act: the greedy actions.
            steps: of the environment.
            updates: of the network.
        """
        done, wall = time.process_time(), time.perf_counter() - self._wall
        late = sorted(set(sys.modules) - self._modules)
        fresh = float(returns(self._environment, act, EPISODES, evaluation_seed(self.seed)).mean())
        evaluation = time.process_time() - done
        threshold = self._environment.reward_threshold
        assert threshold is not None
        measured = {
            "import_cpu": self._imported,
            "setup_cpu": self._ready - self._imported,
            "training_cpu": done - self._ready - self.trial.cpu,
            "training_wall": wall - self.trial.wall,
            "trials_cpu": self.trial.cpu,
            "evaluation_cpu": evaluation,
            "trials": self.trial.held,
            "every": self.every,
            "steps": steps,
            "updates": updates,
            "late_modules": len(late),
            "fresh_return": fresh,
            "solved": fresh >= threshold,
        }
        if late:
            print(f"imported while training: {', '.join(late)}", file=sys.stderr)
        self._report.write_text(json.dumps(measured))
