"""Compute the operations that processors approximate, each in its own way.

python -m tests.processors.approximations approximations
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

NUMBERS = np.random.default_rng(0).uniform(0.01, 0.99, [8, 16]).astype(np.float32)


def adadelta(gradient: tf.Tensor) -> tf.Tensor:
    """A variable after a step of Adadelta."""
    variable, squares, updates = (tf.Variable(NUMBERS) for _ in range(3))
    tf.raw_ops.ResourceApplyAdadelta(
        var=variable.handle,
        accum=squares.handle,
        accum_update=updates.handle,
        lr=0.1,
        rho=0.9,
        epsilon=1e-7,
        grad=gradient,
    )
    return variable.read_value()


APPROXIMATE: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "Atan": lambda x: tf.raw_ops.Atan(x=100 * x),
    "Atan2": lambda x: tf.raw_ops.Atan2(y=x, x=x[::-1]),
    "Erfinv": lambda x: tf.raw_ops.Erfinv(x=x),
    "Inv": lambda x: tf.raw_ops.Inv(x=x),
    "LRN": lambda x: tf.raw_ops.LRN(input=x[:, None, None]),
    "Ndtri": lambda x: tf.raw_ops.Ndtri(x=x),
    "Reciprocal": lambda x: tf.raw_ops.Reciprocal(x=x),
    "ResourceApplyAdadelta": adadelta,
    "Rsqrt": lambda x: tf.raw_ops.Rsqrt(x=x),
}
"""Operations whose CPU kernels start from RSQRTPS or RCPPS, whose results each vendor chooses."""


def main() -> None:
    """Write a file for each operation."""
    folder = Path(sys.argv[1])
    folder.mkdir()
    for name, operation in APPROXIMATE.items():
        np.save(folder / f"{name}.npy", operation(tf.constant(NUMBERS)))


if __name__ == "__main__":
    main()
