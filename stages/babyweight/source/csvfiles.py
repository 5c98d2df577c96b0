"""CSV files of births, here or far away, as blocks of raw text, in bounded memory, whatever the files hold.

A file is cut at line ends before it is parsed: no field of this format holds one, so a quote that is never
closed spoils its own line and no other.
"""

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa

from stages.babyweight.source import lines
from stages.babyweight.source.births import COLUMNS, REQUIRED
from stages.babyweight.source.fingerprint import Bytes
from stages.core.errors import InputError

BLOCK_BYTES = 16 << 20
_STEP_BYTES = 1 << 19
"""Read at once, at most half of a line that is too long."""
LINE_BYTES = 1 << 20
"""A longer line is no birth."""

_NEWLINE = ord("\n")
_MARK = b"\xef\xbb\xbf"
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class File:
    """A file: its name, where it is for people, and how to open it.

    Attributes:
        where: its path or URL.
        system: the fsspec file system of a URL; None for a path.
        path: how the file system calls it.
    """

    where: str
    system: Any
    path: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return Path(self.path).name

    def open(self) -> IO[bytes]:
        """Open it to read bytes.

        Raises:
            InputError: if a URL cannot be opened, or later read.
        """
        if self.system is None:
            return Path(self.path).open("rb")
        return io.BufferedReader(_Remote(self), BLOCK_BYTES)  # far away, few large reads are faster


class _Remote(io.RawIOBase):
    """A remote file; whatever goes wrong names its URL."""

    def __init__(self, file: File) -> None:
        self._where = file.where
        try:
            self._file = file.system.open(file.path, "rb")
        except Exception as error:  # each file system raises its own
            raise _unreadable(self._where, error) from None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        try:
            data = self._file.read(len(view))
        except Exception as error:
            raise _unreadable(self._where, error) from None
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()


def _unreadable(where: str, error: Exception) -> InputError:
    reason = error.__cause__ or error
    return InputError(f"{where}: cannot be read: {type(reason).__name__}: {' '.join(str(reason).split())}")


def find(pattern: str) -> list[File]:
    """The files of a path, a folder (its `*.csv*`) or a glob, by name; likewise of a URL.

    A URL with a `*` is a glob, one that ends in `/` a folder; s3:// and gs:// are asked which it is.

    Raises:
        InputError: if there is none, or a URL's place cannot be listed.
    """
    if "://" in pattern:
        return _find_remote(pattern)
    path = Path(pattern)
    if path.is_file():
        return [File(pattern, None, pattern)]
    if path.is_dir():
        path /= "*.csv*"
    found = sorted(p for p in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if p.is_file())
    return [File(str(p), None, str(p)) for p in found] or _none(pattern)


def _none(pattern: str) -> list[File]:
    raise InputError(
        f"babyweight.prepare.source.path: {pattern}: no such file; expected a CSV file, a folder or a glob"
    )


def _find_remote(url: str) -> list[File]:
    scheme, _, path = url.partition("://")
    try:
        system = _file_system(scheme)
        if scheme.startswith("http"):  # names its files by whole URLs
            path = url
        elif "*" not in path and system.isdir(path):
            path = path.rstrip("/") + "/"
        if path.endswith("/"):
            path += "*.csv*"
        if "*" not in path:
            return [File(url, system, path)]
        system.ls(path.partition("*")[0].rpartition("/")[0] + "/")  # says why, where a glob finds nothing
        found = sorted(system.glob(path))
    except Exception as error:  # each file system raises its own
        raise InputError(f"babyweight.prepare.source.path: {_unreadable(url, error)}") from None
    return [File(p if "://" in p else f"{scheme}://{p}", system, p) for p in found] or _none(url)


def _file_system(scheme: str) -> Any:
    """The fsspec file system of a scheme; Arrow's own for the two clouds, with their usual credentials."""
    import fsspec  # only who reads from far pays for it

    if scheme not in ("s3", "gs"):
        return fsspec.filesystem(scheme)
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    if scheme == "gs":
        return ArrowFSWrapper(fs.GcsFileSystem())
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return ArrowFSWrapper(fs.S3FileSystem(endpoint_override=endpoint))


@dataclass(frozen=True)
class Text:
    """Whole lines of a file, not yet looked at.

    Attributes:
        name: the file's name.
        columns: the names of the file's columns.
        first: the first line's number in the file, from 1.
        text: uint8, the lines, each ended by `\n`.
    """

    name: str
    columns: list[str]
    first: int
    text: Bytes

    def parse(self) -> lines.Block:
        """Find the births among the lines."""
        return lines.parse(self.text, self.name, self.first, self.columns)


def read(file: File, block_bytes: int = BLOCK_BYTES) -> Iterator[Text]:
    """Read one file, plain, gzip or zstd, with a header or not.

    Args:
        file: the file.
        block_bytes: how much text a block holds, about; a row is the same in any.

    Raises:
        InputError: if the file is empty, cut off or no CSV of births.
    """
    columns, first = list[str](), 1
    for text, count in _blocks(file, block_bytes):
        if not columns:
            line, _, _ = text[:LINE_BYTES].tobytes().partition(b"\n")
            columns, has_header = _columns(file.where, line)
            text = text[len(line) + 1 if has_header else len(_MARK) * line.startswith(_MARK) :]
            first, count = first + has_header, count - has_header
        yield Text(file.name, columns, first, text)
        first += count
    if not columns:
        raise InputError(f"{file.where}: empty; expected births as CSV")


def _blocks(file: File, size: int) -> Iterator[tuple[Bytes, int]]:
    """The file's text in blocks of whole lines, each ended by `\n`, and how many they are."""
    before, rest = 0, np.zeros(0, np.uint8)
    with ExitStack() as stack:
        raw = cast(io.BufferedReader, stack.enter_context(file.open()))
        start = raw.peek(4)
        codec = next((codec for mark, codec in _PACKED.items() if start.startswith(mark)), None)
        stream: Any = raw
        if codec:
            stream = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(raw, "r"), codec))
        is_over = False
        while not is_over:
            text = np.empty(len(rest) + size + 1, np.uint8)
            text[: len(rest)] = rest
            filled, count, is_suspect = len(rest), 0, len(rest) > _STEP_BYTES
            while filled < len(text) - 1 and not is_over:
                try:
                    got = stream.readinto(memoryview(text.data)[filled : min(filled + _STEP_BYTES, len(text) - 1)])
                except (OSError, pa.ArrowException) as error:
                    if not codec:
                        raise
                    raise InputError(f"{file.where}: damaged {codec} after line {before + count}: {error}") from None
                newlines = _count_lines(text[filled : filled + got])
                filled, count = filled + got, count + newlines
                is_over, is_suspect = not got, is_suspect or not newlines
            if is_over and filled and text[filled - 1] != _NEWLINE:
                text[filled] = _NEWLINE
                filled, count = filled + 1, count + 1
            tail = text[max(filled - LINE_BYTES - 1, 0) : filled].tobytes()
            end = filled - len(tail) + tail.rfind(b"\n") + 1
            text, rest = text[:end], text[end:filled].copy()
            # A line that is too long fills a step, or what was left and more.
            lengths = np.diff(np.flatnonzero(text == _NEWLINE), prepend=-1) if is_suspect else ()
            too_long = np.flatnonzero(np.append(lengths, len(rest)) > LINE_BYTES)
            if len(too_long):
                where = f"{file.where}:{before + too_long[0] + 1}"
                raise InputError(f"{where}: a line of more than {LINE_BYTES} bytes; expected one birth a line")
            if end:
                yield text, count
            before += count


def _count_lines(text: Bytes) -> int:
    """A third of the time that `bytes.count` takes, and without Python's lock."""
    return int(np.count_nonzero(text == _NEWLINE))


def _columns(where: str, line: bytes) -> tuple[list[str], bool]:
    """The names of the file's columns, and whether its first line names them."""
    if b"\0" in line:
        raise InputError(f"{where}:1: NUL bytes; expected UTF-8 text")
    fields = line.decode("utf-8-sig", "replace").split(",")
    names = [field.strip().strip('"') for field in fields]
    if not set(names) & set(COLUMNS):
        if len(names) != len(COLUMNS):
            raise InputError(
                f"{where}:1: {len(names)} columns and no header; expected a header that names {', '.join(REQUIRED)}, "
                f"or the {len(COLUMNS)} columns {','.join(COLUMNS)}"
            )
        return list(COLUMNS), False
    for name in COLUMNS:
        if names.count(name) > 1:
            raise InputError(f"{where}:1: column {name!r} {names.count(name)} times; expected it once")
    for name in REQUIRED:
        if name not in names:
            raise InputError(f"{where}:1: no column {name!r}; found {', '.join(names)}")
    return names, True
