"""Digits from files on this machine: four IDX files, or an `.npz`."""

import gzip
import hashlib
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stages.core.errors import InputError
from stages.mnist.source.idx import FILES, Digits, Images, check_counts, pack, parse

NPZ_NAMES = {"train_images": "x_train", "train_labels": "y_train", "test_images": "x_test", "test_labels": "y_test"}
# MNIST's own names, and those of EMNIST's splits: `emnist-digits-test-images-idx3-ubyte.gz`.
IDX_NAMES = {
    key: re.compile(rf"([^.].*-)?{name.replace('t10k', '(t10k|test)').replace('-idx', '[-.]idx')}(\.gz)?")
    for key, name in FILES.items()
}
Checksums = Mapping[str, str]


def _md5(raw: bytes) -> str:
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def read_idx(path: Path, key: str, md5: str | None = None) -> Images:
    """Array of an IDX file, gzip or not.

    Args:
        path: the file.
        key: a key of `FILES`.
        md5: of its bytes as they are or uncompressed; None accepts any.

    Raises:
        InputError: if the file is damaged, or has another checksum.
    """
    raw = content = path.read_bytes()
    if raw.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: damaged gzip file: {error}") from None
    values = parse(key, content, str(path))
    if md5 and md5 not in (_md5(content), _md5(raw)):
        raise InputError(f"{path}: expected MD5 {md5} (mnist.fetch.md5.{key}), found {_md5(content)}")
    return values


def from_npz(path: Path, md5: Checksums) -> Digits:
    """Digits of an `.npz` with Keras' names: `x_train`, `y_train`, `x_test`, `y_test`.

    Args:
        path: the file.
        md5: of the IDX file that each array makes, by the keys of `FILES`.

    Raises:
        InputError: if the file is no such `.npz`, or an array has another checksum.
    """
    expected = f"expected an .npz with {', '.join(NPZ_NAMES.values())}"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # NumPy would leave it open
            values = {key: np.asarray(arrays[name]) for key, name in NPZ_NAMES.items()}
    except Exception as error:  # NumPy's reader raises errors of many types for a damaged file
        raise InputError(f"{path}: {expected}: {' '.join(str(error).split())}") from None
    digits = {}
    for key, array in values.items():
        name = f"{path}: {NPZ_NAMES[key]}"
        if array.dtype != np.uint8 or not array.ndim:
            raise InputError(f"{name}: expected an array of uint8, found {array.dtype} {list(array.shape)}")
        raw = pack(array)
        digits[key] = parse(key, raw, name)
        if _md5(raw) != md5[key]:
            raise InputError(
                f"{name}: expected MD5 {md5[key]} as an IDX file (mnist.fetch.md5.{key}), found {_md5(raw)}"
            )
    return check_counts(digits, str(path))


def _find(folder: Path, key: str, md5: str) -> Images:
    paths = sorted(path for path in folder.iterdir() if IDX_NAMES[key].fullmatch(path.name))
    problems = []
    for path in paths:
        try:
            return read_idx(path, key, md5)
        except InputError as error:
            problems.append(str(error))
    raise InputError(
        "; ".join(problems) or f"{folder / FILES[key]}: no such file; expected it and three more, gzip or not"
    )


def from_folder(folder: Path, md5: Checksums) -> Digits:
    """Digits of a folder with the four IDX files, gzip or not.

    Names may have a prefix (`emnist-digits-train-images-idx3-ubyte.gz`). Of several files that fit, the one with the
    right checksum is read.

    Args:
        folder: the folder.
        md5: of each file as it is or uncompressed, by the keys of `FILES`.

    Raises:
        InputError: if a file is missing or damaged, or has another checksum.
    """
    return check_counts({key: _find(folder, key, md5[key]) for key in FILES}, str(folder))


def from_path(path: Path, md5: Checksums) -> Digits:
    """Digits of a folder of IDX files or of an `.npz`; see `from_folder` and `from_npz`."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder (mnist.fetch.path)")
    return from_folder(path, md5) if path.is_dir() else from_npz(path, md5)
