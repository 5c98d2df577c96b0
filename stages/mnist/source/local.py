"""Digits from files on this machine: four files in a folder or a zip archive, which an `.npz` is too."""

import gzip
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from stages.core.errors import InputError, one_line
from stages.mnist.source.idx import FILES, SIZE, Digits, Images, check_bytes, check_counts, pack, read

NPZ_NAMES = {"train_images": "x_train", "train_labels": "y_train", "test_images": "x_test", "test_labels": "y_test"}
# The names of MNIST, EMNIST (`emnist-digits-test-images-idx3-ubyte.gz`), KMNIST (`kmnist-test-imgs.npz`) and Keras.
NAMES = {
    key: re.compile(rf"([^.].*-)?{split}-{kind}([-.]idx[0-9]-(ubyte|int)(\.gz)?|\.npz)|{NPZ_NAMES[key]}\.npy")
    for key, split, kind in (
        ("train_images", "train", "(images|imgs)"),
        ("train_labels", "train", "labels"),
        ("test_images", "(t10k|test)", "(images|imgs)"),
        ("test_labels", "(t10k|test)", "labels"),
    )
}
_PIECE_BYTES = 1 << 20
_MOST_BYTES, _MOST_TIMES = 1 << 26, 100
"""What any file may hold, unpacked, and for how many times its own bytes; digits take five to ten times theirs."""
_HEADER_BYTES = 10_000
"""Longest header of an .npy file that NumPy's reader takes, after it has read it."""
_EXPECTED = f"expected a zip archive of four files, or an .npz with {', '.join(NPZ_NAMES.values())}"
Checksums = Mapping[str, str]
Files = Sequence[Path] | Sequence[zipfile.Path]


def _md5(raw: bytes) -> str:
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def _md5_as_it_is(path: Path | zipfile.Path) -> str:
    """MD5 of a file as it is, read in pieces."""
    md5 = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                md5.update(piece)
    except Exception as error:  # zipfile raises errors of many types for a damaged archive
        if isinstance(path, Path):
            raise
        raise InputError(f"{path}: damaged zip archive: {one_line(error)}") from None
    return md5.hexdigest()


def _most_bytes(path: Path | zipfile.Path) -> int:
    """How many bytes the values in a file, or in a member of an archive, may take."""
    file = path if isinstance(path, Path) else Path(cast(str, path.root.filename))
    return max(_MOST_BYTES, _MOST_TIMES * file.stat().st_size)


def _array(file: IO[bytes], key: str, where: str, most: int) -> Images:
    """The array of an IDX file, gzip or not, or of NumPy's file of one array."""
    start = file.read(4)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        try:
            return read(key, cast(IO[bytes], gzip.GzipFile(fileobj=file)), where, most)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{where}: damaged gzip file: {error}") from None
    if start.startswith((b"PK", b"\x93NUM")):
        return _array_of_numpy(
            file, where, "an .npz with one array" if start.startswith(b"PK") else "an .npy", key, most
        )
    return read(key, file, where, most)


def _array_of_numpy(file: IO[bytes], where: str, form: str, key: str, most: int) -> Images:
    """The array of an .npy file, or of an .npz file that has one alone, whose header is looked at first."""
    try:
        if form.startswith("an .npy"):
            _check(*_header(file), where, key, most)
            file.seek(0)
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            (name,) = loaded.files
            with loaded.zip.open(f"{name}.npy") as member:
                _check(*_header(member), where, key, most)
            loaded = loaded[name]
    except InputError:
        raise
    except Exception as error:  # NumPy's reader raises errors of many types for a damaged file
        raise InputError(f"{where}: expected {form}: {one_line(error)}") from None
    return cast(Images, loaded)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that the header of an .npy file gives."""
    version = np.lib.format.read_magic(file)
    start = file.read(4)
    if version != (1, 0) and int.from_bytes(start, "little") > _HEADER_BYTES:
        raise ValueError(f"a header of more than {_HEADER_BYTES:,} bytes")
    file.seek(-len(start), io.SEEK_CUR)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    return shape, dtype


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], where: str, key: str, most: int) -> None:
    """Refuse an array that is none of images or labels; one of objects is left to NumPy to refuse."""
    size = SIZE if key.endswith("images") else ()
    if not dtype.hasobject and (dtype != np.uint8 or shape[1:] != size or not shape or not shape[0]):
        wanted = ", ".join(map(str, ("n", *size)))
        raise InputError(f"{where}: expected an array of uint8, found {dtype} {list(shape)}; expected [{wanted}]")
    check_bytes(prod(shape) * dtype.itemsize, most, where)


def _read(path: Path | zipfile.Path, key: str, md5: str) -> Images:
    """The array in a file, whose bytes have this MD5 as they are or as an uncompressed IDX file."""
    as_it_is = _md5_as_it_is(path)
    with path.open("rb") as file:
        values = _array(file, key, str(path), _most_bytes(path))
    if md5 not in (as_it_is, found := _md5(pack(values))):
        raise InputError(
            f"{path}: expected MD5 {md5} (mnist.fetch.md5.{key}), found {found} as an uncompressed IDX file"
        )
    return values


def _find(files: Files, where: str, key: str, md5: str) -> Images:
    found, problems = [path for path in files if NAMES[key].fullmatch(path.name) and path.is_file()], []
    if len(found) > 1:  # first the one with this checksum as it is: EMNIST's other splits take long to unpack
        found.sort(key=lambda path: (_md5_as_it_is(path) != md5, str(path)))
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


def from_folder(folder: Path, md5: Checksums, pattern: str | None = None) -> Digits:
    """Digits of a folder with four files: IDX, gzip or not, or each NumPy's file of one array.

    Names may have a prefix (`emnist-digits-train-images-idx3-ubyte.gz`). Of several files that fit, the one with the
    right checksum is read.

    Args:
        folder: the folder.
        md5: of each file as it is or as an uncompressed IDX file, by the keys of `FILES`.
        pattern: a glob of the files to choose from; None: all in the folder.

    Raises:
        InputError: if a file is missing or damaged, or has another checksum.
    """
    return _from_files(sorted(folder.glob(pattern or "*")), str(folder), md5)


def from_path(path: Path, md5: Checksums, pattern: str | None = None) -> Digits:
    """Digits of a folder, or of a zip archive with such files anywhere in it, as an `.npz` of all four arrays is."""
    if path.is_dir():
        return from_folder(path, md5, pattern)
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
