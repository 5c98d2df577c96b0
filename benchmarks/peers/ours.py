"""This project's agent: the stage's own code, timed in parts."""

import time

from benchmarks.peers.common import arguments, report
from stages.cartpole import model, train
from stages.shared import runtime
from stages.shared.params import TrainCartpole


def main() -> None:
    """Train, save, report."""
    args = arguments()
    params = TrainCartpole.read(args.params)
    runtime.configure(params.runtime, seed=None)
    imported = time.process_time()
    run = train.Training(params)
    run.learner.compile()
    compiled, wall = time.process_time(), time.perf_counter()
    while run.steps < params.train.max_steps and not run.round():
        pass
    looped, wall = time.process_time(), time.perf_counter() - wall
    model.save(args.weights, run.learner.arrays["online"], run.config)
    measured = {
        "import_cpu": imported,
        "compile_cpu": compiled - imported,
        "loop_cpu": looped - compiled,
        "loop_wall": wall,
        "process_cpu": time.process_time(),
        "steps": run.steps,
        "updates": run.learner.updates,
    }
    report(args, run.act, measured)


if __name__ == "__main__":
    main()
