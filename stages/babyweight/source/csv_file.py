"""CSV files of births (RFC 4180), in bounded memory.

Arrow splits, unquotes and decodes the text. This module gives it blocks of whole records, and takes out the lines
that are no CSV, so that a quote that is never closed spoils its own line and no other.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from stages.babyweight.source import columns
from stages.babyweight.source.births import KEY, NUMBERS, TRUTH
from stages.babyweight.source.encode import BadRow, Block
from stages.babyweight.source.files import File
from stages.core.errors import InputError

BLOCK_BYTES = 4 << 20
LINE_BYTES = 1 << 20
"""A file with a longer line is refused. A quoted field may hold line ends, but its record is not longer than this."""

Bytes = npt.NDArray[np.uint8]

_WORD = pa.dictionary(pa.int32(), pa.binary())
_TYPES = {KEY: pa.binary()}
_TRUTH_TYPES = dict.fromkeys(TRUTH, pa.bool_())
_WHOLE = dict.fromkeys(NUMBERS, pa.uint8()) | _TRUTH_TYPES
_FLOAT = dict.fromkeys(NUMBERS, pa.float64()) | _TRUTH_TYPES
"""Types that are faster to convert than text, where the columns hold nothing else."""
_NULLS = ["", "NA", "NaN", "None", "null", "Unknown", r"\N"]

_MARK = b"\xef\xbb\xbf"
_NEWLINE, _RETURN, _QUOTE, _SPACE = b'\n\r" '
_LAST_ASCII = 0x7F
_BEFORE_FIELD, _AFTER_FIELD = (np.isin(np.arange(256), list(marks)) for marks in (b',\n"', b',\r\n"'))
_HEXADECIMAL = re.compile(b"0[xX]")
_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_TOO_LONG = f"a line of more than {LINE_BYTES} bytes; expected one birth a line"


@dataclass(frozen=True)
class Text:
    """Consecutive whole records of a file.

    Attributes:
        file: the file.
        columns: the columns of births that the fields stand for, "" for others.
        first: the first line's number in the file, from 1.
        count: how many lines there are.
        text: the records, each ended by `\n`; lines that are no CSV are blank.
        has_quotes: whether a record may have a quote.
        has_hexadecimal: whether a field may look like 0x1A, which Arrow takes for a whole number.
        bad_rows: those lines.
    """

    file: File
    columns: list[str]
    first: int
    count: int
    text: Bytes
    has_quotes: bool
    has_hexadecimal: bool
    bad_rows: list[BadRow]

    def parse(self) -> Block:
        """Let Arrow make columns of the records."""
        for types in (_FLOAT, {}) if self.has_hexadecimal else (_WHOLE, _FLOAT, {}):
            try:
                table, invalid = self._convert(types)
            except pa.ArrowInvalid:
                continue
            if types is not _FLOAT or all(_are_finite(table[name]) for name in NUMBERS):
                break
        lines = self._lines(table.num_rows + len(invalid))
        skipped = np.array([row.number - 1 for row in invalid], np.int64)  # numbers leave out empty lines
        bad_rows = [
            BadRow(int(line), "number_of_fields", row.text)
            for line, row in zip(lines[skipped], invalid, strict=True)
            if row.text.strip()
        ]
        rows = pa.RecordBatch.from_arrays([column.combine_chunks() for column in table.columns], table.column_names)
        return Block(self.file.name, rows, np.delete(lines, skipped), self.bad_rows + bad_rows)

    def _convert(self, types: Mapping[str, pa.DataType]) -> tuple[pa.Table, list[Any]]:
        """The columns of births, and the records that have another number of fields.

        Args:
            types: of some columns; the others' are text.

        Raises:
            pa.ArrowInvalid: if a value is not of its column's type.
        """
        invalid: list[Any] = []

        def skip(row: Any) -> str:
            invalid.append(row)
            return "skip"

        known = [name for name in self.columns if name]
        text = self.text
        if text[: len(_MARK)].tobytes() == _MARK:  # part of a field; Arrow takes one off
            text = np.concatenate([text[: len(_MARK)], text])
        table = pa.csv.read_csv(
            pa.BufferReader(pa.py_buffer(text)),
            pa.csv.ReadOptions(
                use_threads=False,
                block_size=len(text) + 1,
                column_names=[name or f"field {i}" for i, name in enumerate(self.columns)],
            ),
            pa.csv.ParseOptions(
                quote_char='"' if self.has_quotes else False,
                newlines_in_values=self.has_quotes,
                invalid_row_handler=skip,
            ),
            pa.csv.ConvertOptions(
                check_utf8=False,  # `_take_out_damaged` has checked it
                column_types={name: types.get(name, _TYPES.get(name, _WORD)) for name in known},
                include_columns=known,
                null_values=_NULLS if types else [],
                true_values=["True", "true", "TRUE"],
                false_values=["False", "false", "FALSE"],
            ),
        )
        return table, invalid

    def _lines(self, records: int) -> npt.NDArray[np.int64]:
        """The line on which each record begins; empty lines are no records. [records]."""
        if records == self.count:
            return np.arange(self.first, self.first + records)
        starts = np.flatnonzero(self.text == _NEWLINE) + 1
        starts = np.concatenate([[0], starts[:-1]])
        is_quoted = np.searchsorted(np.flatnonzero(self.text == _QUOTE), starts) % 2 == 1
        first = self.text[starts]
        second = self.text[np.minimum(starts + 1, len(self.text) - 1)]
        is_empty = (first == _NEWLINE) | ((first == _RETURN) & (second == _NEWLINE))
        lines: npt.NDArray[np.int64] = self.first + np.flatnonzero(~is_quoted & ~is_empty)
        return lines


def _are_finite(numbers: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.is_finite(numbers), min_count=0).as_py())


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
        line, start = 1, len(_MARK) if head.startswith(_MARK) else 0
        if columns.is_header(names):
            fields = columns.match(where, names)
            line, start = 2, len(first_line) + 1 + (head[len(first_line) :][:2] == b"\r\n")
        else:
            columns.check_birth(where, names, fields)
        ends_with_return = b"\n" not in head
        record, rest, is_last = _record(len(fields)), b"", False
        while not is_last:
            data = head[start : start + block_bytes] or _read(file, stream, block_bytes, line)
            start += len(data)
            is_last = not data
            buffer = rest + (data or (b"\n" if rest and rest[-1] != _NEWLINE else b""))
            if ends_with_return:
                buffer = buffer.replace(b"\r", b"\n")
            text, damaged = _take_out_damaged(buffer, record, is_last)
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


def _record(width: int) -> re.Pattern[bytes]:
    """A whole record of so many fields, with its line end."""
    field = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\r\n]*+)'
    return re.compile(field + b"(?:," + field + b"){%d}\r?\n" % (width - 1))


def _take_out_damaged(
    buffer: bytes, record: re.Pattern[bytes], is_last: bool
) -> tuple[Bytes, list[tuple[int, str, str]]]:
    """Cut a text after its last whole record, and overwrite the lines that are no CSV with spaces.

    Returns:
        The text, and the lines: each its position, a word for the reason, and what it was.
    """
    text = np.frombuffer(buffer, np.uint8)[: buffer.rfind(b"\n") + 1]
    newlines, suspects = _suspects(buffer, text)
    if not len(suspects):
        return text, []
    text, damaged = text.copy(), list[tuple[int, str, str]]()
    recognized = 0  # all before this is known to be CSV
    for i in suspects:
        start, stop = int(newlines[i - 1]) + 1 if i else 0, int(newlines[i])
        if start < recognized:
            continue
        line = buffer[start:stop]
        reason = _damage(line)
        if not reason:
            limit = start + LINE_BYTES
            match = record.match(buffer, start, limit)
            if match and not _damage(match[0]):
                recognized = match.end()
                continue
            if b'"' in line and limit >= len(buffer) and not is_last:
                return text[:start], damaged  # the next block may end this record
            reason = "stray_quote" if b'"' in line else "stray_carriage_return"
        damaged.append((int(i), reason, line.decode(errors="backslashreplace")))
        text[start:stop] = _SPACE
    return text, damaged


def _damage(line: bytes) -> str:
    if b"\0" in line:
        return "nul_bytes"
    return "" if _is_utf8(line) else "no_utf8"


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _suspects(buffer: bytes, text: Bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where the lines of a text end, and which lines need a closer look. Fast if none does."""
    positions = []
    newlines = np.zeros(0, np.int64)
    if b'"' in buffer:
        newlines = np.flatnonzero(text == _NEWLINE)
        positions.append(_stray_quotes(text, newlines))
    if b"\r" in buffer:
        returns = np.flatnonzero(text == _RETURN)
        positions.append(returns[text[returns + 1] != _NEWLINE])
    # U+FFFD replaces bytes that are not UTF-8. It may also be there; then the lines are looked at in vain.
    if b"\0" in buffer or (not buffer.isascii() and "\ufffd" in text.tobytes().decode(errors="replace")):
        positions.append(np.flatnonzero((text == 0) | (text > _LAST_ASCII)))
    suspects = np.concatenate([*positions, np.zeros(0, np.int64)])
    if len(suspects) and not len(newlines):
        newlines = np.flatnonzero(text == _NEWLINE)
    return newlines, np.unique(np.searchsorted(newlines, suspects))


def _stray_quotes(text: Bytes, newlines: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Positions in the lines whose quotes do not open and close fields of that line."""
    quotes = np.flatnonzero(text == _QUOTE)
    starts = np.concatenate([[0], newlines[:-1] + 1])
    counts = np.diff(np.searchsorted(quotes, starts), append=len(quotes))  # of each line
    is_odd = counts % 2 == 1
    if is_odd.any():
        quotes = quotes[np.repeat(~is_odd, counts)]
    opening, closing = quotes[::2], quotes[1::2]
    # A doubled quote closes its field and opens it again. The text ends with a newline, which the first byte follows.
    stray = opening[~_BEFORE_FIELD[text[opening - 1]]], closing[~_AFTER_FIELD[text[closing + 1]]]
    return np.concatenate([*stray, starts[is_odd]])


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
