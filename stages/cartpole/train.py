"""Train a DQN in a Gymnasium environment until it is solved; write its weights, learning curve and trials."""

import argparse
import sys
from functools import partial
from pathlib import Path

from stages import runtime, weights
from stages.cartpole import model
from stages.cartpole.dqn.training import Training
from stages.cartpole.params import TrainParams
from stages.core.errors import run
from stages.core.files import significant, write_json
from stages.training.checkpoint import Checkpoints, run_digest
from stages.training.progress import Interrupt, bar
from stages.training.provenance import collect_provenance

IRRELEVANT = ("checkpoint_every", "max_to_keep", "total_timesteps")
CURVE = ("steps", "episode", "return", "exploration")
TRIALS = ("steps", "return", "complete", "threshold")


def fit(training: Training, checkpoints: Checkpoints) -> list[float] | None:
    """Train until solved or out of steps, from the newest checkpoint on; the mean returns of the passed trial."""
    train = training.train
    if latest := checkpoints.latest(train.total_timesteps):
        training.restore(*latest[1:])
        print(f"resumed at step {training.steps}", file=sys.stderr)
    with bar("cartpole", train.total_timesteps, training.steps) as progress, Interrupt() as interrupt:
        while training.steps < train.total_timesteps:
            before = training.steps
            if solved := training.round():
                return solved
            progress.update(training.steps - before)
            progress.set_postfix(loss=training.loss, episodes=len(training.history), refresh=False)
            due = training.steps // train.checkpoint_every != before // train.checkpoint_every
            if due or interrupt.noticed or training.steps >= train.total_timesteps:
                checkpoints.save(training.steps, *training.state())
            if interrupt.noticed:
                interrupt.leave(training.steps)
    return None


def main() -> None:
    """Train, and write weights, metrics, curve and trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    weights.add_outputs(parser)
    parser.add_argument("trials", type=Path, help="file to write the greedy trials to")
    args = parser.parse_args()
    params = TrainParams.read(args.params)

    runtime.configure(params.runtime, seed=None)
    training = Training(params)
    provenance = collect_provenance(params, device=runtime.device())
    provenance["packages"] |= training.environment.packages()
    provenance["settings"]["max_episode_steps"] = training.environment.max_episode_steps
    run_name = run_digest(provenance, "cartpole", IRRELEVANT)
    with Checkpoints("cartpole", run_name, params.train.max_to_keep) as checkpoints:
        solved = fit(training, checkpoints)
        save = partial(model.save, training.learner.saved, training.config)
        weights.write_weights(args.weights, save, training.config, provenance)
        for path, rows, columns in ((args.curve, training.history, CURVE), (args.trials, training.trials, TRIALS)):
            weights.write_curve(path, [dict(zip(columns, row, strict=True)) for row in rows], columns)
        counts = {"steps": training.steps}
        sets = {f"trial_{number}_return": significant(mean) for number, mean in enumerate(solved or [], 1)}
        write_json(args.metrics, counts | sets | {"stopped_by": "solved" if solved else "total_timesteps"})
        if solved:
            checkpoints.clear()


if __name__ == "__main__":
    run(main)
