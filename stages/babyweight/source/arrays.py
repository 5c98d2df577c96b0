"""NumPy's arrays as Arrow's and back, without a copy.

Arrow's own ways, `pa.array`, `pa.scalar` and `to_numpy`, import pandas, which takes longer than to prepare a million
births.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def to_numpy(array: pa.Array) -> npt.NDArray[Any]:
    """The values of numbers or truths.

    Raises:
        pa.ArrowInvalid: if there are nulls.
    """
    if array.null_count:
        raise pa.ArrowInvalid("expected no nulls")
    if pa.types.is_boolean(array.type):
        return np.from_dlpack(array.cast(pa.uint8())).view(np.bool_)
    return np.from_dlpack(array)


def to_arrow(numbers: npt.NDArray[Any]) -> pa.Array:
    """Numbers as an array without nulls."""
    contiguous = np.ascontiguousarray(numbers)
    return pa.Array.from_buffers(pa.from_numpy_dtype(numbers.dtype), len(numbers), [None, pa.py_buffer(contiguous)])


def text(word: str) -> pa.Array:
    """A word as an array of one text."""
    data = word.encode()
    return pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, len(data)], np.int32)), pa.py_buffer(data))


def edges(texts: pa.Array) -> npt.NDArray[np.int64]:
    """Where each of [n] texts or binaries of a large type begins in the buffer of their bytes, and the end. [n + 1]."""
    if not len(texts):
        return np.zeros(1, np.int64)
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
