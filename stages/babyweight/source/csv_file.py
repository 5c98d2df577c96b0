"""CSV files of births (RFC 4180), plain or packed, as blocks of whole records, in bounded memory."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa

from stages.babyweight.source import columns
from stages.babyweight.source.csv_damage import LINE_BYTES, Bytes, record_pattern, take_out_damaged
from stages.babyweight.source.csv_text import MARK, Text
from stages.babyweight.source.encode import BadRow
from stages.babyweight.source.files import File
from stages.core.errors import InputError

BLOCK_BYTES = 4 << 20

_NEWLINE = ord("\n")
_HEXADECIMAL = re.compile(b"0[xX]")
_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_OTHERS = {b"PK\3\4": "a zip archive", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_TOO_LONG = f"a line of more than {LINE_BYTES} bytes; expected one birth a line"


def header(file: File) -> list[str] | None:
    """The columns that a file's first line names, as `read` has them; None if it is no header.

    Raises:
        InputError: if the file is empty or damaged, or if the header lacks a required column.
    """
    with ExitStack() as stack:
        names = _fields(file, _first_line(file, _read(file, _open(file, stack), LINE_BYTES, 0)))
    return columns.match(f"{file.address}:1", names) if columns.is_header(names) else None


def read(file: File, default: Sequence[str], block_bytes: int = BLOCK_BYTES) -> Iterator[Text]:
    """Read a file, plain, gzip or zstd.

    Args:
        file: the file.
        default: the columns of a file without a header.
        block_bytes: about how much text a block holds; the rows do not depend on it.

    Raises:
        InputError: if the file is empty, damaged or no CSV of births.
    """
    with ExitStack() as stack:
        stream = _open(file, stack)
        head = _read(file, stream, LINE_BYTES + 1, 0)
        first_line, where = _first_line(file, head), f"{file.address}:1"
        names, fields = _fields(file, first_line), list(default)
        line, start = 1, len(MARK) if head.startswith(MARK) else 0
        if columns.is_header(names):
            fields = columns.match(where, names)
            line, start = 2, len(first_line) + 1 + (head[len(first_line) :][:2] == b"\r\n")
        else:
            columns.check_birth(where, names, fields)
        ends_with_return = b"\n" not in head
        record, rest, is_last = record_pattern(len(fields)), b"", False
        while not is_last:
            data = head[start : start + block_bytes] or _read(file, stream, block_bytes, line)
            start += len(data)
            is_last = not data
            buffer = rest + (data or (b"\n" if rest and rest[-1] != _NEWLINE else b""))
            if ends_with_return:
                buffer = buffer.replace(b"\r", b"\n")
            text, damaged = take_out_damaged(buffer, record, is_last)
            rest = buffer[len(text) :]
            count = _count_lines(file, text, rest, line)
            if count:
                has_hexadecimal = (b"x" in buffer or b"X" in buffer) and bool(_HEXADECIMAL.search(buffer))
                yield Text(
                    file,
                    fields,
                    line,
                    count,
                    text,
                    b'"' in buffer,
                    has_hexadecimal,
                    [BadRow(line + i, *why) for i, *why in damaged],
                )
            line += count


def _open(file: File, stack: ExitStack) -> Any:
    """The file's text as a stream of bytes, whatever it is packed with."""
    raw: Any = stack.enter_context(file.open())
    start = raw.peek(4)
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(_ZSTD):
        return stack.enter_context(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"))
    return raw


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


def _first_line(file: File, head: bytes) -> bytes:
    if not head:
        raise InputError(f"{file.address}: empty; expected births as CSV or Parquet")
    if found := next((name for start, name in _OTHERS.items() if head.startswith(start)), None):
        raise InputError(f"{file.address}: {found}; expected UTF-8 text, plain, gzip or zstd, or Parquet")
    line = re.split(rb"[\r\n]", head, maxsplit=1)[0]
    if b"\0" in line:
        raise InputError(f"{file.address}:1: NUL bytes; expected UTF-8 text")
    if len(line) > LINE_BYTES:
        raise InputError(f"{file.address}:1: {_TOO_LONG}")
    return line


def _fields(file: File, line: bytes) -> list[str]:
    try:
        return next(csv.reader([line.decode("utf-8-sig", "replace")], skipinitialspace=True), [])
    except csv.Error as error:
        raise InputError(f"{file.address}:1: {error}; expected births as CSV") from None


def _count_lines(file: File, text: Bytes, rest: bytes, line: int) -> int:
    """How many lines the text has.

    Raises:
        InputError: if one of them, or the one that `rest` begins with, is too long.
    """
    half = LINE_BYTES // 2
    counts = [int(np.count_nonzero(text[i : i + half] == _NEWLINE)) for i in range(0, len(text), half)]
    count = sum(counts)
    if 0 in counts:  # a line that is too long fills half of what it may
        lengths = np.diff(np.flatnonzero(text == _NEWLINE), prepend=-1) - 1
        if lengths.max(initial=0) > LINE_BYTES:
            raise InputError(f"{file.address}:{line + int(lengths.argmax())}: {_TOO_LONG}")
    if len(rest) > LINE_BYTES and b"\n" not in rest[: LINE_BYTES + 1]:
        raise InputError(f"{file.address}:{line + count}: {_TOO_LONG}")
    return count
