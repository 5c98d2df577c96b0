"""This project's training loop: its speed in examples a second, alone or as one process of a `TF_CONFIG`."""

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.speed import arguments
from stages import runtime
from stages.babyweight import train as babyweight
from stages.babyweight.params import TrainParams as TrainBabyweight
from stages.core.params import Runtime
from stages.mnist import train as mnist
from stages.mnist.params import TrainParams as TrainMnist
from stages.supervised import trainer
from stages.supervised.cluster import machines


def main() -> None:
    """Train for some steps, print the speed."""
    args = arguments(("chunks",))
    params: Any = (TrainMnist if args.workload == "mnist" else TrainBabyweight).read(Path("params.yaml"))
    never = {"evaluate_every": 10**9, "checkpoint_every": 10**9, "replicas": args.replicas}
    batch = args.batch_size or params.train.batch_size
    parts = max(params.train.micro_batches * batch // params.train.batch_size, 1)  # as large as usual
    runtime.configure(Runtime(threads=args.threads), params.seed, parts)
    changes = {"steps": args.warm_up + args.steps, "batch_size": batch, "micro_batches": parts}
    schedule = params.train.model_copy(update=never | changes)
    data = Path("data") / args.workload
    with machines(args.replicas, schedule.worker_timeout) as where:
        learner: Any
        if args.workload == "mnist":
            learner = mnist.Learner(data, params.train.network.model_dump(), params.train.augment, params.seed)
            examples = len(learner.labels)
        else:
            learner = babyweight.Learner(data, params)
            examples = len(learner.weights)
        run = trainer.Run(learner, schedule, params.seed, examples)
        while run.step < args.warm_up:
            run.advance()
        first, began = run.step, time.perf_counter()
        while run.step < schedule.steps:
            run.advance()
        seconds = time.perf_counter() - began
        where.trained()
    print(json.dumps({"examples_per_second": (run.step - first) * run.batch_size / seconds}))


if __name__ == "__main__":
    main()
