"""The IDX format of MNIST and of the data sets that replace it, such as Fashion-MNIST.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import io
import struct
from math import prod
from typing import IO

import numpy as np
import numpy.typing as npt

from stages.core.errors import InputError

Images = npt.NDArray[np.uint8]
Digits = dict[str, Images]
"""Images uint8 [n, 28, 28] and labels uint8 [n] by the keys of `FILES`."""

SIZE = (28, 28)
_UINT8, _MOST_DIMENSIONS = 0x08, 8
_TYPES = {_UINT8: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
"""The types of values by their byte in the header."""

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def pack(values: Images) -> bytes:
    """IDX file of an array of bytes: a big-endian header, then the values in row-major order."""
    header = struct.pack(f">HBB{values.ndim}I", 0, _UINT8, values.ndim, *values.shape)
    return header + np.ascontiguousarray(values).tobytes()


def read(key: str, file: IO[bytes], where: str, most: int) -> Images:
    """Array of an IDX file, which is read no further than its header says.

    Args:
        key: a key of `FILES`, which says whether images or labels are expected.
        file: the file, opened.
        where: its name, for messages.
        most: bytes that the values may take.

    Raises:
        InputError: if the header or the length is wrong, or the header asks for more bytes.
    """
    size = SIZE if key.endswith("images") else ()
    expected = f"expected an IDX file of bytes in {1 + len(size)} dimensions"
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or not 0 < start[3] <= _MOST_DIMENSIONS:
        raise InputError(f"{where}: {expected}; found a file that begins with {start.hex(' ') or 'nothing'}")
    sizes = file.read(4 * start[3])
    shape = struct.unpack(f">{len(sizes) // 4}I", sizes[: len(sizes) // 4 * 4])
    if len(shape) != 1 + len(size) or start[2] != _UINT8:
        raise InputError(f"{where}: {expected}; found {_TYPES[start[2]]} {list(shape)}")
    if shape[1:] != size or not shape[0]:
        content = f"images of {SIZE[0]} x {SIZE[1]} pixels" if size else "labels"
        raise InputError(f"{where}: expected {content}, found the shape {list(shape)}")
    check_bytes(prod(shape), most, where)
    values = file.read(prod(shape))
    length, header = prod(shape), 4 + len(sizes)
    if len(values) < length or file.read(1):
        found = f"{header + len(values):,}" if len(values) < length else "more"
        raise InputError(f"{where}: expected {header + length:,} bytes as its header says, found {found}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def parse(key: str, raw: bytes, where: str) -> Images:
    """Array of an IDX file's bytes, as `read` gives it."""
    return read(key, io.BytesIO(raw), where, len(raw))


def check_bytes(length: int, most: int, where: str) -> None:
    """Check what a header says before there is room for it.

    Raises:
        InputError: if it is more than a file of this size can hold.
    """
    if length > most:
        raise InputError(f"{where}: its header says {length:,} bytes, expected at most {most:,} in a file of this size")


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
