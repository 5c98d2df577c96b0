"""Files of births, local or remote: which ones a path stands for, and how to open them."""

import functools
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from stages.core.errors import InputError
from stages.core.files import digest

_PARAMETER = "babyweight.prepare.source.path"
_BUFFER_BYTES = 16 << 20
"""Read at once from a remote file: few large requests are faster."""

_IN_FOLDER = re.compile(r".*\.(csv|parquet).*", re.IGNORECASE)
"""Names that a folder is searched for."""

_SIDE_FILE = re.compile(
    r"[._~#].*|.*[~#]|.*:zone\.identifier|.*\.(aria2|asc|bak|backup|bkp|crc|crdownload|csvt|download|dvc|etag|filepart"
    r"|gpg|ini|json|lnk|lock|log|md|md5(sum)?|meta|metadata|old|orig|part|partial|rej|save|schema|sha\d+(sum)?|sig|sql"
    r"|sw[a-z]|tmp|temp|url|xml|ya?ml)",
    re.IGNORECASE,
)
"""Names of files that tools put beside data: checksums, locks, backups, unfinished downloads. `_SUCCESS` is Spark's."""

_MAY_BE_EMPTY = 4096
"""Bytes up to which a file may hold no birth: one of many that a query exported, with its header alone."""

_ENDINGS = re.compile(r"(\.(csv|parquet|gz|gzip|zst|zstd|snappy))+$", re.IGNORECASE)


@dataclass(frozen=True)
class File:
    """A file of births.

    Attributes:
        address: its path or URL.
        scheme: of a URL; "" for a local path.
        path: its name in the scheme's file system.
    """

    address: str
    scheme: str
    path: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.path).name if self.scheme else Path(self.path).name

    def open(self) -> IO[bytes]:
        """Open it to read bytes.

        Raises:
            InputError: if a URL cannot be opened, or read later.
        """
        if not self.scheme:
            return Path(self.path).open("rb")
        return io.BufferedReader(_Remote(self), _BUFFER_BYTES)

    def identity(self) -> tuple[int, ...] | None:
        """What tells whether another machine sees the same file: size and, of a local file, time; None if not seen."""
        try:
            if self.scheme:
                return (int(_file_system(self.scheme).info(self.path)["size"]),)
            status = Path(self.path).stat()
            return status.st_size, status.st_mtime_ns
        except Exception:  # each file system raises its own
            return None


class _Remote(io.RawIOBase):
    """A remote file. Every error names its URL."""

    def __init__(self, file: File) -> None:
        self._address = file.address
        self._file = self._try(lambda: _file_system(file.scheme).open(file.path, "rb"))

    def _try(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:  # each file system raises its own
            raise _unreadable(self._address, error) from None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return int(self._try(lambda: self._file.seek(offset, whence)))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        data = self._try(lambda: self._file.read(len(view)))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()


def _unreadable(address: str, error: Exception) -> InputError:
    reason = error.__cause__ or error
    return InputError(f"{address}: cannot be read: {type(reason).__name__}: {' '.join(str(reason).split())}")


def find(pattern: str) -> list[File]:
    """The files of a path, a folder or a glob, or of such a URL, by name.

    A folder stands for the files with `.csv` or `.parquet` in their names. A URL with a `*` is a glob, one that ends
    in `/` a folder; s3:// and gs:// are asked which it is. Folders and globs leave out what tools put beside data.

    Raises:
        InputError: if there is no file, if two files seem to hold the same births, if a folder or a broken link is
            called as a file of births is, or if a URL cannot be listed.
    """
    files = _find_remote(pattern) if "://" in pattern else _find_local(pattern)
    if not files:
        raise InputError(
            f"{_PARAMETER}: {pattern}: no such file; expected a CSV or Parquet file, a folder of them, or a glob"
        )
    files = sorted(files, key=lambda file: file.address)
    for file in files:
        try:
            file.address.encode()
        except UnicodeEncodeError:
            raise InputError(f"{_PARAMETER}: {file.address!a}: expected a file name in UTF-8") from None
    _refuse_copies([PurePosixPath(file.path) for file in files])
    _refuse_same_bytes([Path(file.path) for file in files if not file.scheme])
    return files


def _find_local(pattern: str) -> list[File]:
    path = Path(pattern)
    if path.is_file():
        return [File(pattern, "", pattern)]
    if path.is_dir():
        paths = _without_side_files(path.iterdir(), _IN_FOLDER)
    else:
        # The part that exists is taken literally, so that a folder's name may hold brackets.
        folder = next(parent for parent in path.parents if parent.is_dir() or parent == parent.parent)
        try:
            paths = _without_side_files(folder.glob(str(path.relative_to(folder))))
        except ValueError as error:
            raise InputError(f"{_PARAMETER}: {pattern}: {error}") from None
    inside = {parent for p in paths for parent in p.parents}
    for p in paths:
        if not p.is_file() and p not in inside and _IN_FOLDER.fullmatch(p.name):
            found = "a folder; name it, or its files" if p.is_dir() else "a broken link"
            raise InputError(f"{_PARAMETER}: {p}: expected a file, found {found}")
    return [File(str(p), "", str(p)) for p in paths if p.is_file()]


def _find_remote(url: str) -> list[File]:
    scheme, _, path = url.partition("://")
    try:
        system = _file_system(scheme)
        if scheme.startswith("http"):  # its files are named by whole URLs
            path = url
        elif "*" not in path and system.isdir(path):
            path = path.rstrip("/") + "/"
        is_folder = path.endswith("/")
        if "*" not in path and not is_folder:
            return [File(url, scheme, path)]
        system.ls(path.partition("*")[0].rpartition("/")[0] + "/")  # says why, where a glob finds nothing
        found = system.glob((path + "*" * is_folder).replace("[", "[[]"))
    except Exception as error:  # each file system raises its own
        raise InputError(f"{_PARAMETER}: {_unreadable(url, error)}") from None
    paths = _without_side_files(map(PurePosixPath, found), _IN_FOLDER if is_folder else None)
    names = {path.name for path in paths}
    return [File(p if "://" in p else f"{scheme}://{p}", scheme, p) for p in found if PurePosixPath(p).name in names]


def _without_side_files(paths: Iterable[Any], pattern: re.Pattern[str] | None = None) -> list[Any]:
    """The paths whose names match the pattern and are not those of side files."""
    return [p for p in paths if not _SIDE_FILE.fullmatch(p.name) and (pattern is None or pattern.fullmatch(p.name))]


def _refuse_copies(paths: list[PurePosixPath]) -> None:
    """Refuse two files that seem to hold the same births, as births.csv and births.csv.gz do."""
    first: dict[tuple[PurePosixPath, str], PurePosixPath] = {}
    names = {(path.parent, path.name) for path in paths}
    for path in paths:
        stem = _ENDINGS.sub("", path.name)
        other = first.setdefault((path.parent, stem.lower()), path)
        if other == path:
            # A file whose name begins with another file's whole name: births.csv.1 beside births.csv.
            begins = (path.name[:end] for end in range(1, len(path.name)) if not path.name[end].isalnum())
            other = next((path.with_name(name) for name in begins if (path.parent, name) in names), path)
        if other != path:
            raise InputError(
                f"{_PARAMETER}: {other} and {path.name} seem to hold the same births; remove one of them, "
                "or name the files to read"
            )


def _refuse_same_bytes(paths: list[Path]) -> None:
    """Refuse a file and its copy, whatever they are called."""
    sizes = {path: path.stat().st_size for path in paths}
    files_of_size = Counter(sizes.values())
    first: dict[str, Path] = {}
    for path, size in sizes.items():
        may_be_copy = size > _MAY_BE_EMPTY and files_of_size[size] > 1
        if may_be_copy and (other := first.setdefault(digest(path), path)) != path:
            raise InputError(f"{_PARAMETER}: {other} and {path.name} hold the same births; remove one of them")


@functools.cache
def _file_system(scheme: str) -> Any:
    """The fsspec file system of a scheme; Arrow's own for the two clouds, with their usual credentials."""
    import fsspec  # slow to import, and only remote files need it

    if scheme not in ("s3", "gs"):
        return fsspec.filesystem(scheme)
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    if scheme == "gs":
        return ArrowFSWrapper(fs.GcsFileSystem())
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return ArrowFSWrapper(fs.S3FileSystem(endpoint_override=endpoint))
