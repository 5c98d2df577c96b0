"""Digits from files on this machine: four files in a folder or a zip archive, or one `.npz`."""

import gzip
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from stages.core.errors import InputError
from stages.mnist.source.idx import FILES, Digits, Images, check_counts, pack, parse

NPZ_NAMES = {"train_images": "x_train", "train_labels": "y_train", "test_images": "x_test", "test_labels": "y_test"}
# The names of MNIST, EMNIST (`emnist-digits-test-images-idx3-ubyte.gz`) and KMNIST (`kmnist-test-imgs.npz`).
NAMES = {
    key: re.compile(rf"([^.].*-)?{split}-{kind}([-.]idx[13]-ubyte(\.gz)?|\.npz)")
    for key, split, kind in (
        ("train_images", "train", "(images|imgs)"),
        ("train_labels", "train", "labels"),
        ("test_images", "(t10k|test)", "(images|imgs)"),
        ("test_labels", "(t10k|test)", "labels"),
    )
}
_EXPECTED = f"expected a zip archive of four files, or an .npz with {', '.join(NPZ_NAMES.values())}"
Checksums = Mapping[str, str]


def _md5(raw: bytes) -> str:
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def _packed(array: Images, where: str) -> bytes:
    if array.dtype != np.uint8 or not array.ndim:
        raise InputError(f"{where}: expected an array of uint8, found {array.dtype} {list(array.shape)}")
    return pack(array)


def _as_idx(raw: bytes, where: str) -> bytes:
    """The IDX file in a gzip file, or that an `.npz` with one array makes; another file as it is."""
    if raw.startswith(b"\x1f\x8b"):
        try:
            return gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{where}: damaged gzip file: {error}") from None
    if raw.startswith(b"PK"):
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                (array,) = arrays.values()
        except Exception as error:  # NumPy's reader raises errors of many types for a damaged file
            raise InputError(f"{where}: expected an .npz with one array: {' '.join(str(error).split())}") from None
        return _packed(array, where)
    return raw


def _bytes(path: Path | zipfile.Path) -> bytes:
    if isinstance(path, Path):
        return path.read_bytes()
    try:
        return path.read_bytes()
    except Exception as error:  # zipfile raises errors of many types for a damaged archive
        raise InputError(f"{path}: damaged zip archive: {' '.join(str(error).split())}") from None


def read_idx(path: Path | zipfile.Path, key: str, md5: str | None = None) -> Images:
    """Array of an IDX file, gzip or not, or of an `.npz` with one array.

    Args:
        path: the file.
        key: a key of `FILES`.
        md5: of its bytes as they are, or as an uncompressed IDX file; None accepts any.

    Raises:
        InputError: if the file is damaged, or has another checksum.
    """
    raw = _bytes(path)
    content = _as_idx(raw, str(path))
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
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # NumPy would leave it open
            values = {key: np.asarray(arrays[name]) for key, name in NPZ_NAMES.items()}
    except Exception as error:  # as above
        raise InputError(f"{path}: {_EXPECTED}: {' '.join(str(error).split())}") from None
    digits = {}
    for key, array in values.items():
        name = f"{path}: {NPZ_NAMES[key]}"
        raw = _packed(array, name)
        digits[key] = parse(key, raw, name)
        if _md5(raw) != md5[key]:
            raise InputError(
                f"{name}: expected MD5 {md5[key]} as an IDX file (mnist.fetch.md5.{key}), found {_md5(raw)}"
            )
    return check_counts(digits, str(path))


def _find(paths: Iterable[Path | zipfile.Path], where: str, key: str, md5: str) -> Images:
    paths, problems = [path for path in paths if NAMES[key].fullmatch(path.name) and path.is_file()], []
    # First the one with this checksum as it is: EMNIST's other splits take long to unpack.
    for path in sorted(paths, key=lambda path: (_md5(_bytes(path)) != md5, str(path))):
        try:
            return read_idx(path, key, md5)
        except InputError as error:
            problems.append(str(error))
    raise InputError(
        "; ".join(problems) or f"{where}/{FILES[key]}: no such file; expected it and three more, gzip or not"
    )


def _from_files(paths: list[Path] | list[zipfile.Path], where: str, md5: Checksums) -> Digits:
    return check_counts({key: _find(paths, where, key, md5[key]) for key in FILES}, where)


def from_folder(folder: Path, md5: Checksums) -> Digits:
    """Digits of a folder with four files: IDX, gzip or not, or each an `.npz` with one array.

    Names may have a prefix (`emnist-digits-train-images-idx3-ubyte.gz`). Of several files that fit, the one with the
    right checksum is read.

    Args:
        folder: the folder.
        md5: of each file as it is or as an uncompressed IDX file, by the keys of `FILES`.

    Raises:
        InputError: if a file is missing or damaged, or has another checksum.
    """
    return _from_files(list(folder.iterdir()), str(folder), md5)


def from_path(path: Path, md5: Checksums) -> Digits:
    """Digits of a folder, of a zip archive with such files anywhere in it, or of an `.npz` with all four arrays."""
    if path.is_dir():
        return from_folder(path, md5)
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder (mnist.fetch.path)")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [zipfile.Path(archive, name) for name in archive.namelist()]
            if any(name.fullmatch(member.name) for name in NAMES.values() for member in members):
                return _from_files(members, str(path), md5)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError(f"{path}: {_EXPECTED}: {' '.join(str(error).split())}") from None
    return from_npz(path, md5)
