"""Digits from files on this machine: four files in a folder or a zip archive, which an `.npz` is too."""

import gzip
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.core.errors import InputError, one_line
from stages.mnist.source.idx import FILES, Digits, Images, check_counts, pack, parse

NPZ_NAMES = {"train_images": "x_train", "train_labels": "y_train", "test_images": "x_test", "test_labels": "y_test"}
# The names of MNIST, EMNIST (`emnist-digits-test-images-idx3-ubyte.gz`), KMNIST (`kmnist-test-imgs.npz`) and Keras.
NAMES = {
    key: re.compile(rf"([^.].*-)?{split}-{kind}([-.]idx[13]-ubyte(\.gz)?|\.npz)|{NPZ_NAMES[key]}\.npy")
    for key, split, kind in (
        ("train_images", "train", "(images|imgs)"),
        ("train_labels", "train", "labels"),
        ("test_images", "(t10k|test)", "(images|imgs)"),
        ("test_labels", "(t10k|test)", "labels"),
    )
}
_EXPECTED = f"expected a zip archive of four files, or an .npz with {', '.join(NPZ_NAMES.values())}"
Checksums = Mapping[str, str]
Files = Sequence[Path] | Sequence[zipfile.Path]


def _md5(raw: bytes) -> str:
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def _as_idx(raw: bytes, where: str) -> bytes:
    """The IDX file in a gzip file, or that NumPy's file of one array makes; another file as it is."""
    if raw.startswith(b"\x1f\x8b"):
        try:
            return gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{where}: damaged gzip file: {error}") from None
    if raw.startswith((b"PK", b"\x93NUMPY")):
        form = "an .npz with one array" if raw.startswith(b"PK") else "an .npy"
        try:
            loaded = np.load(io.BytesIO(raw), allow_pickle=False)
            (array,) = [loaded] if isinstance(loaded, np.ndarray) else loaded.values()
        except Exception as error:  # NumPy's reader raises errors of many types for a damaged file
            raise InputError(f"{where}: expected {form}: {one_line(error)}") from None
        if array.dtype != np.uint8 or not array.ndim:
            raise InputError(f"{where}: expected an array of uint8, found {array.dtype} {list(array.shape)}")
        return pack(array)
    return raw


def _bytes(path: Path | zipfile.Path) -> bytes:
    if isinstance(path, Path):
        return path.read_bytes()
    try:
        return path.read_bytes()
    except Exception as error:  # zipfile raises errors of many types for a damaged archive
        raise InputError(f"{path}: damaged zip archive: {one_line(error)}") from None


def _read(path: Path | zipfile.Path, key: str, md5: str) -> Images:
    """The array in a file, whose bytes have this MD5 as they are or as an uncompressed IDX file."""
    raw = _bytes(path)
    content = _as_idx(raw, str(path))
    values = parse(key, content, str(path))
    if md5 != _md5(content) and md5 != _md5(raw):
        raise InputError(
            f"{path}: expected MD5 {md5} (mnist.fetch.md5.{key}), found {_md5(content)} as an uncompressed IDX file"
        )
    return values


def _find(files: Files, where: str, key: str, md5: str) -> Images:
    found, problems = [path for path in files if NAMES[key].fullmatch(path.name) and path.is_file()], []
    if len(found) > 1:  # first the one with this checksum as it is: EMNIST's other splits take long to unpack
        found.sort(key=lambda path: (_md5(_bytes(path)) != md5, str(path)))
    for path in found:
        try:
            return _read(path, key, md5)
        except InputError as error:
            problems.append(str(error))
    raise InputError(
        "; ".join(problems) or f"{where}/{FILES[key]}: no such file; expected it and three more, gzip or not"
    )


def _from_files(files: Files, where: str, md5: Checksums) -> Digits:
    return check_counts({key: _find(files, where, key, md5[key]) for key in FILES}, where)


def from_folder(folder: Path, md5: Checksums) -> Digits:
    """Digits of a folder with four files: IDX, gzip or not, or each NumPy's file of one array.

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
    """Digits of a folder, or of a zip archive with such files anywhere in it, as an `.npz` of all four arrays is."""
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
        raise InputError(f"{path}: {_EXPECTED}: {one_line(error)}") from None
    raise InputError(f"{path}: {_EXPECTED}: found {', '.join(member.name for member in members)[:300]!r}")
