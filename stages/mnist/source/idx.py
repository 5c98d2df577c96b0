"""The four files of MNIST in their original form, IDX, checked to the byte.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.core.errors import InputError

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class IdxFile:
    """One of the files: its name, the MD5 of its bytes, the shape of what it holds."""

    name: str
    md5: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole file: magic number, one length a dimension, one byte a value."""
        return 4 + 4 * len(self.shape) + int(np.prod(self.shape))


FILES = {
    "train_images": IdxFile("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", (60000, 28, 28)),
    "train_labels": IdxFile("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", (60000,)),
    "test_images": IdxFile("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", (10000, 28, 28)),
    "test_labels": IdxFile("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637", (10000,)),
}


def pack(values: Images) -> bytes:
    """Bytes of the IDX file that holds an array of bytes: big-endian header, then the values by row."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 0x08, values.ndim, *values.shape)
    return header + np.ascontiguousarray(values).tobytes()


def parse(key: str, raw: bytes, where: str) -> Images:
    """Array of one of the files, after its bytes are checked.

    Args:
        key: a key of `FILES`.
        raw: the file's bytes.
        where: where they come from, for messages.

    Raises:
        InputError: if they are not the file's very bytes.
    """
    expected = FILES[key]
    if len(raw) != expected.size:
        raise InputError(f"{where}: expected the {expected.size:,} bytes of {expected.name}, found {len(raw):,}")
    md5 = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if md5 != expected.md5:
        raise InputError(f"{where}: expected MD5 {expected.md5} ({expected.name}), found {md5}")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(expected.shape)).reshape(expected.shape)
