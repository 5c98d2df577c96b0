"""What every contestant for training speed does alike: its arguments, data and clock. It imports NumPy alone."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FROM_ALL = {"mnist": {"batch_size": 64, "learning_rate": 0.004, "micro_batches": 4, "hardest_of": 1}, "babyweight": {}}
"""The recipe by which every contestant learns from all examples: for digits, before the hardest were chosen."""


def arguments(ways: Sequence[str]) -> argparse.Namespace:
    """Workload, way, steps, batch size, threads, replicas and seed.

    Args:
        ways: of feeding or running the network that the contestant knows.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=["babyweight", "mnist"])
    parser.add_argument("way", choices=ways)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warm-up", type=int, default=100, help="steps before the clock starts")
    parser.add_argument("--batch-size", type=int, help="default: that of params.yaml")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--seed", type=int, help="of digits on the recipe's schedule; prints the accuracy, too")
    return parser.parse_args()


def examples(workload: str, split: str = "train") -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Inputs and targets: births [n, 8] and pounds [n], or pixels [n, 784] and digits [n]."""
    names = ("features", "weight_pounds") if workload == "babyweight" else ("images", "labels")
    inputs, targets = (np.load(Path("data") / workload / f"{split}/{name}.npy") for name in names)
    return inputs, targets


class Stopwatch:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def read(self, examples: int) -> dict[str, float]:
        """Seconds so far, those of the processor, and examples per second."""
        seconds = time.perf_counter() - self._began
        cpu_seconds = time.process_time() - self._cpu_began
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "examples_per_second": examples / seconds}
