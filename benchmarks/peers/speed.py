"""What every contestant for training speed does alike: its arguments and the data. It imports NumPy alone."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def arguments(ways: Sequence[str]) -> argparse.Namespace:
    """Workload, way, steps, batch size, threads and replicas.

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
    return parser.parse_args()


def examples(workload: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Training inputs and targets: births [n, 8] and pounds [n], or pixels [n, 784] and digits [n]."""
    names = ("features", "weight_pounds") if workload == "babyweight" else ("images", "labels")
    inputs, targets = (np.load(Path("data") / workload / f"train/{name}.npy") for name in names)
    return inputs, targets
