"""This project's training loop: its speed in examples a second, alone or as one process of a `TF_CONFIG`.

It learns from all examples, as the others do, or from the hardest digits, as the pipeline does.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.peers.speed import FROM_ALL, Stopwatch, arguments, examples
from stages import runtime
from stages.babyweight.params import Train as BabyweightTrain
from stages.babyweight.train import BirthWeightTask
from stages.core.params import Runtime, TrainParams
from stages.mnist.params import Train as MnistTrain
from stages.mnist.train import DigitTask
from stages.supervised import cluster
from stages.supervised.trainer import Trainer


def main() -> None:
    """Train for some steps, print the speed; with a seed, the accuracy, too."""
    args = arguments(("chunks", "chunks, hardest"))
    params: Any = (TrainParams[MnistTrain] if args.workload == "mnist" else TrainParams[BabyweightTrain]).read(
        Path("params.yaml")
    )
    recipe = params.train.model_copy(update=FROM_ALL[args.workload] if args.way == "chunks" else {})
    batch = args.batch_size or recipe.batch_size
    micro_batches = max(recipe.micro_batches * batch // recipe.batch_size, 1)  # as large as usual
    changes = {"steps": args.warm_up + args.steps, "batch_size": batch, "micro_batches": micro_batches}
    never = {"evaluate_every": 10**9, "replicas": args.replicas}
    train = recipe.model_copy(update=never | changes)
    params = params.model_copy(update={"train": train, "seed": params.seed if args.seed is None else args.seed})
    runtime.configure(Runtime(threads=args.threads), params.seed, micro_batches)
    data = Path("data") / args.workload
    with cluster.join(args.replicas, 60.0) as joined:
        task: Any = (DigitTask if args.workload == "mnist" else BirthWeightTask)(data, params)
        trainer = Trainer(task, train, params.seed, joined)
        while trainer.step < args.warm_up:
            trainer.advance()
        first, watch = trainer.step, Stopwatch()
        while not trainer.finished():
            trainer.advance()
        result = watch.read((trainer.step - first) * trainer.batch_size)
    if args.seed is not None:
        images, labels = examples(args.workload, "test")
        task.validation_pixels, task.validation_labels = images, labels
        result["accuracy"] = task.evaluate()["validation_accuracy"]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
