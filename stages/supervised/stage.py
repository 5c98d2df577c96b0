"""What the training stages of supervised workloads share: provenance, checkpoints and outputs."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from stages import runtime
from stages.core.errors import InputError
from stages.core.files import significant, write_json
from stages.core.params import OperationParams, SupervisedOperation, SupervisedTrain, TrainParams
from stages.supervised import cluster
from stages.supervised.trainer import SupervisedTask, Trainer, fit
from stages.training.checkpoint import Checkpoints, explain_start, note_finished, run_digest
from stages.training.outputs import add_outputs, write_curve
from stages.training.provenance import collect_provenance
from stages.weights import write_weights

Section = TypeVar("Section", bound=SupervisedTrain)
"""A workload's own section `train`."""


def run_name(workload: str, provenance: Mapping[str, Any], params: SupervisedTrain) -> str:
    """Digest that names a run: two runs of one name pass through the same states.

    With a constant rate it ignores the number of steps, so that a longer run resumes where a shorter one ended.
    """
    return run_digest(provenance, workload, ["steps"] if params.schedule == "constant" else [])


def train_and_write(
    workload: str,
    description: str | None,
    schema: type[TrainParams[Section]],
    operations: type[OperationParams[Any]],
    make_task: Callable[[Path, TrainParams[Section]], SupervisedTask],
) -> None:
    """Train a supervised model, from its checkpoint if it has one, and write the stage's outputs.

    Paths come from the command line. Only the chief of a cluster writes.

    Args:
        workload: its name.
        description: of the command.
        schema: of the stage's parameters.
        operations: schema of how it is carried out.
        make_task: makes the task from the prepared folder and the parameters, in the strategy's scope.

    Raises:
        InputError: if this process has other parameters, data or code than the chief.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="prepared folder to read")
    add_outputs(parser)
    args = parser.parse_args()
    params = schema.read(args.params)
    train = params.train
    operation: SupervisedOperation = operations.read(args.params).operation
    runtime.configure(params.runtime, params.seed, train.micro_batches)

    def about() -> dict[str, Any]:
        return collect_provenance(params, [args.data], runtime.device())

    with cluster.join(train.replicas, operation.worker_timeout, about) as joined:
        task = make_task(args.data, params)
        provenance = collect_provenance(params, [args.data], runtime.device())
        name = run_name(workload, provenance, train)
        digest = np.frombuffer(name.encode(), np.int32)
        if (joined.broadcast(digest) != digest).any():
            raise InputError(f"{workload}: expected the chief's parameters, data, code and libraries in every worker")
        trainer = Trainer(task, train, params.seed, joined, operation.checkpoint_every)
        if not joined.is_chief:
            fit(trainer, None, workload)
            joined.wait()  # end together with the chief, so that all are restarted if it cannot write
            joined.leave()
        with Checkpoints(workload, name, operation.max_to_keep) as checkpoints:
            if checkpoints.latest(train.steps) is None and train.schedule == "one_cycle":
                explain_start(workload, provenance)
            history = fit(trainer, checkpoints, workload)
            write_weights(args.weights, task.model.save_weights, task.config, provenance)
            metrics = {metric: significant(value) for metric, value in task.evaluate().items()}
            if history and history[-1]["step"] == train.steps:  # checkpoints keep the sample's: a longer run goes on
                history = [*history[:-1], history[-1] | metrics]
            write_curve(args.curve, history, ["step", "loss", *metrics])
            write_json(args.metrics, metrics | {"parameters": task.model.count_params()})
            joined.wait()
            if train.schedule == "one_cycle":
                checkpoints.clear()
            note_finished(workload, provenance)
    joined.leave()
