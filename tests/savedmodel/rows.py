"""Count the rows whose answers are other bytes in a call of another size, in both of TensorFlow's loaders.

python -m tests.savedmodel.rows THREADS ROWS MODEL …
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages import runtime
from stages.core.params import Runtime
from stages.rest.requests import Arrays
from stages.savedmodel.graph import Signature
from stages.savedmodel.predictor import Predictor

SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 23, 31, 47, 48, 49, 64, 97, 130, 1000)


def inputs(signature: Signature, rows: int) -> Arrays:
    """Rows of small numbers, and of words of which models know some."""
    random = np.random.default_rng(3)
    arrays: Arrays = {}
    for key, tensor in signature.inputs.items():
        shape = [rows, *(size or 3 for size in tensor.shape[1:])]
        if tensor.numpy_type is str:
            arrays[key] = random.choice(np.array(["True", "False", "None", "Korean"], object), shape)
        else:
            numbers = random.random(shape) * (1 if len(shape) > 1 else 40)
            arrays[key] = numbers.astype(tensor.numpy_type)
    return arrays


def different(answer: Callable[[Arrays], Arrays], rows: Arrays, sizes: Iterable[int]) -> dict[int, int]:
    """How many rows differ in any byte from the same row in a call of all rows, by size of call, where any do."""
    total, found = len(next(iter(rows.values()))), {}
    whole = answer(rows)
    for size in sizes:
        count = 0
        for start in sorted({0, size, total - size} & set(range(total - size + 1))):
            part = answer({key: values[start : start + size] for key, values in rows.items()})
            pairs = [(values, whole[key][start : start + size]) for key, values in part.items()]
            count += len(np.unique(np.concatenate([np.nonzero(_bytes(a) != _bytes(b))[0] for a, b in pairs])))
        if count:
            found[size] = count
    return found


def _bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The bytes of each row."""
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8).reshape(len(values), -1)


def main() -> None:
    """End with an error if a row of a model differs."""
    from stages.predict import tf1_loader

    threads, largest = int(sys.argv[1]), int(sys.argv[2])
    runtime.configure(Runtime(threads=threads), seed=None)
    for model in map(Path, sys.argv[3:]):
        predict = Predictor(model)
        rows = inputs(predict.signature, largest)
        sizes = [size for size in SIZES if size < largest]
        found = different(lambda arrays: predict(**arrays), rows, sizes)  # noqa: B023
        with tf1_loader(model) as by_tf1_loader:
            found_too = different(by_tf1_loader, rows, sizes)
        if found or found_too:
            sys.exit(f"{model}: rows that differ, by size of call: {found}, TF1 loader: {found_too}")


if __name__ == "__main__":
    main()
