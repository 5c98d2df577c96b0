"""The IDX format of MNIST and of the data sets that replace it, such as Fashion-MNIST.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import struct
from math import prod

import numpy as np
import numpy.typing as npt

from stages.core.errors import InputError

Images = npt.NDArray[np.uint8]
Digits = dict[str, Images]
"""Images uint8 [n, 28, 28] and labels uint8 [n] by the keys of `FILES`."""

SIZE = (28, 28)
FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def pack(values: Images) -> bytes:
    """IDX file of an array of bytes: a big-endian header, then the values in row-major order."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 0x08, values.ndim, *values.shape)
    return header + np.ascontiguousarray(values).tobytes()


def parse(key: str, raw: bytes, where: str) -> Images:
    """Array of an IDX file.

    Args:
        key: a key of `FILES`, which says whether images or labels are expected.
        raw: the file's bytes.
        where: the file's name, for messages.

    Raises:
        InputError: if the header or the length is wrong.
    """
    size = SIZE if key.endswith("images") else ()
    dimensions = 1 + len(size)
    start = 4 + 4 * dimensions
    if len(raw) < start or raw[:4] != bytes([0, 0, 0x08, dimensions]):
        raise InputError(f"{where}: expected an IDX file of bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", raw[4:start])
    if shape[1:] != size or not shape[0]:
        expected = f"images of {SIZE[0]} x {SIZE[1]} pixels" if size else "labels"
        raise InputError(f"{where}: expected {expected}, found the shape {list(shape)}")
    if len(raw) != start + prod(shape):
        raise InputError(f"{where}: expected {start + prod(shape):,} bytes as its header says, found {len(raw):,}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def check_counts(digits: Digits, where: str) -> Digits:
    """Return the digits if each image has its label.

    Raises:
        InputError: if their numbers differ.
    """
    for split in ("train", "test"):
        images, labels = len(digits[f"{split}_images"]), len(digits[f"{split}_labels"])
        if images != labels:
            raise InputError(f"{where}: expected as many {split} labels as images, found {labels:,} and {images:,}")
    return digits
