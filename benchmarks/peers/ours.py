"""This project's agent: the stage's own code, timed in parts."""

import time
from collections.abc import Callable
from typing import Any

from benchmarks.peers.common import arguments, report
from stages import runtime
from stages.cartpole import model
from stages.cartpole.dqn import trial
from stages.cartpole.params import Train
from stages.cartpole.train import DQN
from stages.core.params import TrainParams


class Trial(trial.Trial):
    """The stopping test, its time noted: other agents have none, so that it is kept apart."""

    cpu = wall = 0.0

    def hold(self, act: Callable[[Any], Any], seed: int, highest_reward: float) -> trial.Outcome:
        """Play, and record how long that took."""
        cpu, wall = time.process_time(), time.perf_counter()
        result = super().hold(act, seed, highest_reward)
        self.cpu += time.process_time() - cpu
        self.wall += time.perf_counter() - wall
        return result


def main() -> None:
    """Train, save, report."""
    args = arguments()
    params = TrainParams[Train].read(args.params)
    runtime.configure(params.runtime)
    imported = time.process_time()
    run = DQN(params)
    run.trial = timed = Trial(run.environment, params.train.stop)
    run.learner.compile()
    compiled, wall = time.process_time(), time.perf_counter()
    while run.steps < params.train.total_timesteps and not run.round():
        pass
    looped, wall = time.process_time(), time.perf_counter() - wall
    model.save(run.learner.saved, run.config, args.weights)
    measured = {
        "import_cpu": imported,
        "compile_cpu": compiled - imported,
        "training_cpu": looped - compiled - timed.cpu,
        "training_wall": wall - timed.wall,
        "trials_cpu": timed.cpu,
        "process_cpu": time.process_time(),
        "steps": run.steps,
        "updates": run.learner.updates,
    }
    report(args, run.act, measured)


if __name__ == "__main__":
    main()
