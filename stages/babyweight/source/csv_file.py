"""CSV files of births (RFC 4180), plain or packed, as blocks of whole records, in bounded memory."""

import csv
import functools
import gzip
import io
import re
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import pyarrow as pa

from stages.babyweight.source import columns
from stages.babyweight.source.csv_damage import LINE_BYTES, record_pattern, take_out_damaged
from stages.babyweight.source.csv_text import MARK, parse
from stages.babyweight.source.encode import BlockTask
from stages.babyweight.source.files import File
from stages.core.errors import InputError

BLOCK_BYTES = 4 << 20

_NEWLINE = ord("\n")
_GZIP = b"\x1f\x8b"
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
"""How zstd begins: with a frame of data, or with one to skip, as pzstd writes."""
_OTHERS = {
    b"PK\3\4": "a zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""What else a file may be, by its first bytes."""
_TOO_LONG = f"a line of more than {LINE_BYTES} bytes; expected one birth a line"


def header(file: File, raw: IO[bytes]) -> list[str] | None:
    """The columns that a file's first line names, as `block_tasks` has them; None if it is no header.

    Raises:
        InputError: if the file is empty or damaged, or if the header lacks a required column.
    """
    with _unpacked(raw) as stream:
        _, names = _first_line(file, _read(file, stream, LINE_BYTES, 0))
    return columns.match(f"{file.address}:1", names, file.in_folder) if columns.is_header(names) else None


def block_tasks(
    file: File, raw: IO[bytes], default: Sequence[str], block_bytes: int = BLOCK_BYTES
) -> Generator[BlockTask, None, list[str]]:
    """The task that parses each block of a file, plain, gzip or zstd.

    Args:
        file: the file.
        raw: it, opened.
        default: the columns of a file without a header.
        block_bytes: about how much text a block holds; the rows do not depend on it.

    Returns:
        The columns that its header names, else the default ones.

    Raises:
        InputError: if the file is empty, damaged or no CSV of births.
    """
    where = f"{file.address}:1"
    with _unpacked(raw) as stream:
        head = _read(file, stream, LINE_BYTES + 1, 0)
        first_line, names = _first_line(file, head)
        fields, line, start = list(default), 1, len(MARK) if head.startswith(MARK) else 0
        if columns.is_header(names):
            fields = columns.match(where, names, file.in_folder)
            line, start = 2, len(first_line) + 1 + (head[len(first_line) :][:2] == b"\r\n")
        else:
            fields = [name for name in fields if name not in file.in_folder]
            columns.check_birth(where, names, fields)
        ends_with_return = b"\n" not in head
        record, rest, is_last = record_pattern(len(fields)), b"", False
        while not is_last:
            data = head[start : start + block_bytes] or _read(file, stream, block_bytes, line)
            start += len(data)
            is_last = not data
            buffer = rest + (data or (b"\n" if rest and not rest.endswith(b"\n") else b""))
            if ends_with_return:
                buffer = buffer.replace(b"\r", b"\n")
            _check_lengths(file, buffer, line)
            text, damaged = take_out_damaged(buffer, line, record, is_last)
            rest = buffer[len(text) :]
            count = int(np.count_nonzero(np.frombuffer(text, np.uint8) == _NEWLINE))
            if count:
                yield functools.partial(parse, file.label, fields, file.in_folder, line, count, text, damaged)
            line += count
        return fields


@contextmanager
def _unpacked(raw: Any) -> Iterator[Any]:
    """A file's text as a stream of bytes, whatever it is packed with."""
    start = raw.peek(4)
    if start.startswith(_GZIP):
        yield gzip.GzipFile(fileobj=raw)
    elif _ZSTD.match(start):
        with pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") as stream:
            yield stream
    else:
        yield raw


def _read(file: File, stream: Any, size: int, line: int) -> bytes:
    """The next bytes of the text, at most `size`; none at its end."""
    try:
        data: bytes = stream.read(size)
        return data
    except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
        if isinstance(stream, io.BufferedReader):  # not packed: the disk's error
            raise
        codec = "gzip" if isinstance(stream, gzip.GzipFile) else "zstd"
        raise InputError(f"{file.address}: damaged {codec} after line {max(line - 1, 0)}: {error}") from None


def _first_line(file: File, head: bytes) -> tuple[bytes, list[str]]:
    """A file's first line, and its fields."""
    if not head:
        raise InputError(f"{file.address}: empty; expected births as CSV or Parquet")
    if found := next((name for start, name in _OTHERS.items() if head.startswith(start)), None):
        raise InputError(f"{file.address}: {found}; expected UTF-8 text, plain, gzip or zstd, or Parquet")
    line = re.split(rb"[\r\n]", head, maxsplit=1)[0]
    if b"\0" in line:
        raise InputError(f"{file.address}:1: NUL bytes; expected UTF-8 text")
    if len(line) > LINE_BYTES:
        raise InputError(f"{file.address}:1: {_TOO_LONG}")
    try:
        return line, next(csv.reader([line.decode("utf-8-sig", "replace")], skipinitialspace=True), [])
    except csv.Error as error:
        raise InputError(f"{file.address}:1: {error}; expected births as CSV") from None


def _check_lengths(file: File, text: bytes, line: int) -> None:
    """Refuse a text, whose first line's number is `line`, if one of its lines is too long."""
    start = 0
    while len(text) - start > LINE_BYTES:
        end = text.rfind(b"\n", start, start + LINE_BYTES + 1)
        if end < 0:
            number = line + text.count(b"\n", 0, start)
            raise InputError(f"{file.address}:{number}: {_TOO_LONG}")
        start = end + 1
