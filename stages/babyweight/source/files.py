"""Files of births, local or remote: which ones a path stands for, and how to open them."""

import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from stages.babyweight.source import columns
from stages.core.errors import InputError, one_line
from stages.core.files import digest
from stages.core.filesystems import file_system, is_on_web, is_remote, naming

_PARAMETER = "babyweight.prepare.source.path"
_PATTERN = "babyweight.prepare.source.pattern"
_BUFFER_BYTES = 16 << 20
"""Read at once from a remote file: few large requests are faster."""
_START_BYTES = 4

_IN_FOLDER = re.compile(r".*\.(csv|parquet).*", re.IGNORECASE)
"""Names that a folder is searched for."""

_SIDE_FILE = re.compile(
    r"[._~#].*|.*[~#]|.*:zone\.identifier|.*\.(aria2|asc|bak|backup|bkp|crc|crdownload|csvt|download|dvc|etag|filepart"
    r"|gpg|ini|json|lnk|lock|log|md|md5(sum)?|meta|metadata|old|orig|part|partial|rej|save|schema|sha\d+(sum)?|sig|sql"
    r"|sw[a-z]|tmp|temp|url|xml|ya?ml)",
    re.IGNORECASE,
)
"""Names of files that tools put beside data: checksums, locks, backups, unfinished downloads. `_SUCCESS` is Spark's."""

_TABLES = {"_delta_log": "Delta", ".hoodie": "Hudi", "metadata/*.metadata.json": "Iceberg"}
"""What a table's folder holds beside the files of its rows, and the format of the table."""

_VALUE_OF_COLUMN = re.compile(r"[^=]+=.*")
"""A folder's name that gives a column of the files in it."""

_MAY_BE_EMPTY = 4096
"""Bytes up to which a file may hold no birth: one of many that a query exported, with its header alone."""

_ENDINGS = re.compile(r"(\.(csv|parquet|gz|gzip|zst|zstd|snappy))+$", re.IGNORECASE)


@dataclass(frozen=True)
class File:
    """A file of births, by its path or URL.

    Attributes:
        address: the path or URL.
        below: its path below the folder that all files of the source are in; "" for its name.
    """

    address: str
    below: str = ""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.address).name

    @property
    def label(self) -> str:
        """What messages about its rows call it."""
        return self.below or self.name

    @property
    def in_folder(self) -> dict[str, str]:
        """The columns of births that the folders' names give, with their values."""
        return columns.in_folder(self.address)

    @property
    def is_remote(self) -> bool:
        """Whether its address is a URL."""
        return is_remote(self.address)

    def open(self) -> io.BufferedReader:
        """Open it to read bytes. `peek` reads no more of a remote file than its first bytes.

        Raises:
            InputError: if a URL cannot be opened, or read later.
        """
        if not self.is_remote:
            return Path(self.address).open("rb")
        with naming(self.address):
            system, path = file_system(self.address)
            return io.BufferedReader(_Remote(self.address, system.open(path, "rb")), _BUFFER_BYTES)

    def identity(self) -> tuple[int, ...] | str:
        """What tells whether another machine sees the same file: size and, of a local file, time; else the reason."""
        try:
            if self.is_remote:
                system, path = file_system(self.address)
                return (int(system.info(path)["size"]),)
            status = Path(self.address).stat()
            return status.st_size, status.st_mtime_ns
        except Exception as error:  # each file system raises its own
            return f"{type(error).__name__}: {one_line(error)}"


class _Remote(io.RawIOBase):
    """A remote file. Every error names its URL."""

    def __init__(self, address: str, file: Any) -> None:
        self._address, self._file = address, file
        self._start: bytes = file.read(_START_BYTES)
        """The first bytes, if they are to be read next: they tell the format before much is read."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def tell(self) -> int:
        return int(self._file.tell()) - len(self._start)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == io.SEEK_CUR:
            offset, whence = offset + self.tell(), io.SEEK_SET
        self._start = b""
        with naming(self._address):
            return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any, /) -> int:
        if self._start:
            size = min(len(self._start), len(buffer))
            buffer[:size], self._start = self._start[:size], self._start[size:]
            return size
        with naming(self._address):
            return int(self._file.readinto(buffer))

    def close(self) -> None:
        self._file.close()
        super().close()


def find(path: str, pattern: str | None = None) -> list[File]:
    """The files of births that a path or URL stands for, by name.

    A folder stands for the files with `.csv` or `.parquet` in their names, or for those that match a pattern; both
    leave out what tools put beside data. An address of a web server is a file.

    Args:
        path: of a file or folder.
        pattern: a glob of files below the folder.

    Raises:
        InputError: if there is no file, if two files seem to hold the same births, if a folder or a broken link is
            called as a file of births is, or if a URL cannot be listed.
    """
    files = _find_remote(path, pattern) if is_remote(path) else _find_local(path, pattern)
    if not files:
        found = _what_is_there(path, pattern)
        raise InputError(f"{_PARAMETER}: {path}: {found}; expected a CSV or Parquet file, or a folder of them")
    files = sorted(files, key=lambda file: file.address)
    for file in files:
        try:
            file.address.encode()
        except UnicodeEncodeError:
            raise InputError(f"{_PARAMETER}: {file.address!a}: expected a file name in UTF-8") from None
    _refuse_tables(files)
    _refuse_copies([file.address for file in files])
    _refuse_same_bytes([Path(file.address) for file in files if not file.is_remote])
    parts = [file.address.split("/") for file in files]
    shared = takewhile(lambda names: len({*names}) == 1, zip(*(folders for *folders, _ in parts), strict=False))
    common = len(list(shared))
    return [File(file.address, "/".join(names[common:])) for file, names in zip(files, parts, strict=True)]


def _find_local(path: str, pattern: str | None) -> list[File]:
    folder = Path(path)
    if not folder.is_dir():
        if pattern and folder.is_file():
            raise InputError(f"{_PARAMETER}: {path}: expected a folder, whose files {_PATTERN} chooses, found a file")
        return [File(path)] if folder.is_file() else []
    try:
        paths = list(folder.glob(pattern) if pattern else _in_folder(folder))
    except ValueError as error:
        raise InputError(f"{_PATTERN}: {pattern}: {error}") from None
    paths = [p for p in paths if _is_data(p.name, pattern)]
    inside = {parent for p in paths for parent in p.parents}
    for p in paths:
        if not p.is_file() and p not in inside and _IN_FOLDER.fullmatch(p.name):
            found = "a folder; name it, or its files" if p.is_dir() else "a broken link"
            raise InputError(f"{_PARAMETER}: {p}: expected a file, found {found}")
    return [File(str(p)) for p in paths if p.is_file()]


def _in_folder(folder: Path) -> Iterator[Path]:
    """A folder's entries, and those of folders whose names give a column: `mother_race=1`."""
    for entry in folder.iterdir():
        if "=" in entry.name and entry.is_dir():
            yield from _in_folder(entry)
        else:
            yield entry


def _what_is_there(path: str, pattern: str | None) -> str:
    """Why a path stands for no file of births."""
    if pattern and (is_remote(path) or Path(path).is_dir()):
        return f"no file matches {_PATTERN}: {pattern}"
    if not is_remote(path) and Path(path).is_dir():
        names = sorted(entry.name for entry in Path(path).iterdir())
        found = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"no name in this folder has .csv or .parquet in it; found {found or 'nothing'}"
    return "no such file"


def _find_remote(url: str, pattern: str | None) -> list[File]:
    if is_on_web(url):
        if pattern or url.endswith("/"):
            raise InputError(f"{_PARAMETER}: {url}: expected a file: a web server does not say when a folder changes")
        return [File(url)]
    with naming(f"{_PARAMETER}: {url}"):
        system, path = file_system(url)
        if not pattern and not system.isdir(path):
            return [File(url)]
        folder = path.rstrip("/") + "/"
        system.ls(folder)  # says why, where a glob finds nothing
        found = system.glob(re.sub(r"([\[?])", r"[\1]", folder) + (pattern or "*"))
    files = [File(f"{url.partition('://')[0]}://{path}") for path in found]
    return [file for file in files if _is_data(file.name, pattern)]


def _is_data(name: str, pattern: str | None) -> bool:
    """Whether a name is no side file's and, where no pattern chooses, one of a file of births."""
    return not _SIDE_FILE.fullmatch(name) and (pattern is not None or bool(_IN_FOLDER.fullmatch(name)))


def _refuse_tables(files: list[File]) -> None:
    """Refuse files of a table whose log says which of them, and which of their rows, count."""
    for folder in {file.address.rpartition("/")[0] for file in files}:
        if is_on_web(folder):
            continue  # a web server may answer anything
        parents = [folder]
        while _VALUE_OF_COLUMN.fullmatch(parents[-1].rpartition("/")[2]) or parents[-1].endswith("/data"):
            parents.append(parents[-1].rpartition("/")[0])
        for parent in parents:
            if kind := next((kind for log, kind in _TABLES.items() if _exists(f"{parent or '.'}/{log}")), None):
                raise InputError(
                    f"{_PARAMETER}: {parent or '.'}: a table of {kind}, whose log says which rows count; expected "
                    f"plain files: export it, by Spark: spark.read.format({kind.lower()!r}).load(…).write.parquet(…)"
                )


def _exists(path: str) -> bool:
    """Whether a path, or a file that a glob stands for, exists."""
    if not is_remote(path):
        folder, _, pattern = path.rpartition("/")
        return any(Path(folder).glob(pattern)) if "*" in pattern else Path(path).exists()
    with naming(path):
        system, name = file_system(path)
        return bool(system.glob(name)) if "*" in name else bool(system.exists(name))


def _refuse_copies(addresses: list[str]) -> None:
    """Refuse two files that seem to hold the same births, as births.csv and births.csv.gz do."""
    first: dict[tuple[str, str], str] = {}
    known = set(addresses)
    for address in addresses:
        folder, slash, name = address.rpartition("/")
        other = first.setdefault((folder, _ENDINGS.sub("", name).lower()), address)
        if other == address:
            # A file whose name begins with another file's whole name: births.csv.1 beside births.csv.
            begins = (folder + slash + name[:end] for end in range(1, len(name)) if not name[end].isalnum())
            other = next((begin for begin in begins if begin in known), address)
        if other != address:
            raise InputError(
                f"{_PARAMETER}: {other} and {name} seem to hold the same births; remove one of them, "
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
