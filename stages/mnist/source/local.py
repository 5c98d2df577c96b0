"""MNIST from files of the user's: the four IDX files, or an `.npz`."""

import gzip
import zipfile
from pathlib import Path

import numpy as np

from stages.core.errors import InputError
from stages.mnist.source.idx import FILES, Images, pack, parse

Digits = dict[str, Images]


def from_npz(path: Path) -> Digits:
    """Digits of an `.npz` with Keras' names: `x_train`, `y_train`, `x_test`, `y_test`."""
    names = {
        "train_images": "x_train",
        "train_labels": "y_train",
        "test_images": "x_test",
        "test_labels": "y_test",
    }
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {key: parse(key, pack(arrays[name]), f"{path}: {name}") for key, name in names.items()}
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected an .npz with {', '.join(names.values())}, found: {error}") from None


def from_folder(folder: Path) -> Digits:
    """Digits of a folder with the four IDX files, gzip or not, with a dash or a dot before `idx`."""
    return {key: parse(key, *_read(folder, file.name)) for key, file in FILES.items()}


def _read(folder: Path, name: str) -> tuple[bytes, str]:
    for candidate in (name, name.replace("-idx", ".idx")):
        if (path := folder / candidate).is_file():
            return path.read_bytes(), str(path)
        if (path := folder / f"{candidate}.gz").is_file():
            try:
                return gzip.decompress(path.read_bytes()), str(path)
            except (OSError, EOFError) as error:
                raise InputError(f"{path}: expected a whole gzip file, found: {error}") from None
    raise InputError(f"{folder / name}: no such file; expected the four files of MNIST, gzip or not")


def from_path(path: Path) -> Digits:
    """Digits of a folder of IDX files or of an `.npz`."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder (mnist.fetch.path)")
    return from_folder(path) if path.is_dir() else from_npz(path)
