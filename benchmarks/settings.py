"""What the settings that bytes depend on cost, and which of them change bytes.

Each trial trains the digits' network for some steps under one changed setting, in a process of its own, interleaved
over several rounds. Needs `data/mnist` (`dvc repro prepare@mnist`).
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import stages  # noqa: F401 - the project's own settings come first, a trial's after them

SETTINGS: dict[str, dict[str, Any]] = {
    "the project's": {},
    "one thread": {"threads": 1},
    "op determinism off": {"determinism": False},
    "oneDNN off": {"environment": {"TF_ENABLE_ONEDNN_OPTS": "0"}},
    "oneDNN up to SSE4.1": {"environment": {"ONEDNN_MAX_CPU_ISA": "SSE41"}},
    "oneDNN up to AVX": {"environment": {"ONEDNN_MAX_CPU_ISA": "AVX"}},
    "oneDNN up to AVX-512": {"environment": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}},
    "oneDNN without a limit": {"environment": {"ONEDNN_MAX_CPU_ISA": "DEFAULT"}},
}


def trial(setting: dict[str, Any], steps: int) -> dict[str, Any]:
    """Train under a setting: seconds of wall clock after the first chunk of steps, digest of all variables."""
    os.environ.update(setting.get("environment", {}))
    import tensorflow as tf

    from stages import runtime
    from stages.core.params import Runtime, TrainParams
    from stages.mnist.params import Train as MnistTrain
    from stages.mnist.train import DigitTask
    from stages.supervised.trainer import Trainer

    params = TrainParams[MnistTrain].read(Path("params.yaml"))
    if not setting.get("determinism", True):
        tf.config.experimental.enable_op_determinism = lambda: None
    threads = setting.get("threads", params.runtime.threads)
    runtime.configure(Runtime(threads=threads), params.seed, params.train.micro_batches)
    task = DigitTask(Path("data/mnist"), params)
    never = {"evaluate_every": 10**9}
    trainer = Trainer(task, params.train.model_copy(update={"steps": steps, **never}), params.seed)
    trainer.advance()  # traces and compiles
    began = time.perf_counter()
    while not trainer.finished():
        trainer.advance()
    seconds = time.perf_counter() - began
    weights = b"".join(variable.numpy().tobytes() for variable in task.model.variables)
    return {"seconds": seconds, "bytes": hashlib.sha256(weights).hexdigest()[:12]}


def main() -> None:
    """Print the table, or the result of one trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--trial", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.trial:
        print(json.dumps(trial(SETTINGS[args.trial], args.steps)))
        return

    results: dict[str, list[dict[str, Any]]] = {name: [] for name in SETTINGS}
    for _ in range(args.rounds):
        for name, found in results.items():
            command = [sys.executable, "-m", "benchmarks.settings", "--steps", str(args.steps), "--trial", name]
            found.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    usual = statistics.median(result["seconds"] for result in results["the project's"])
    expected = results["the project's"][0]["bytes"]
    print("| setting | seconds, median (range) | ratio | bytes |\n| --- | ---: | ---: | --- |")
    for name, found in results.items():
        seconds = [result["seconds"] for result in found]
        digests = {result["bytes"] for result in found}
        verdict = "vary from run to run" if len(digests) > 1 else "same" if digests == {expected} else "other"
        middle = statistics.median(seconds)
        print(f"| {name} | {middle:.1f} ({min(seconds):.1f}-{max(seconds):.1f}) | {middle / usual:.2f} | {verdict} |")


if __name__ == "__main__":
    main()
