"""Lines of CSV text as births: fields are found with NumPy and told apart by Arrow, in pieces that stay in cache.

No field of this format holds a comma, a quote or a line end, so that plain text needs no parser; what is not
plain is looked at line by line.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stages.babyweight.source.births import COLUMNS, KEY, WEIGHT, Bad, Columns
from stages.babyweight.source.fingerprint import Bytes, Strings, Words, fingerprints

_PIECE_BYTES = 1 << 20
"""Looked at at once: few enough to stay in a core's cache, so many that threads seldom wait for Python's lock."""

_LAST_ASCII = 0x7F
_TOGETHER = 4
"""Adjacent columns that are told apart together: of four, few combinations occur, of eight, too many."""

_QUOTED = re.compile(rb'(?<![^,\n])"([^",\n]*)"(?=[,\n])')


@dataclass(frozen=True)
class Block:
    """Births as raw text, and the lines that are none.

    Attributes:
        columns: the columns that the file has.
        keys: the births' keys, in order.
        fingerprints: [n], the keys'.
        lines: [n], each birth's line in the file, from 1.
        bad: lines that are no row, by line instead of row.
    """

    columns: list[Columns]
    keys: list[Strings]
    fingerprints: Words
    lines: npt.NDArray[np.int64]
    bad: list[Bad]


def parse(text: Bytes, name: str, first: int, columns: list[str]) -> Block:
    """The births of whole lines.

    Args:
        text: the lines, each ended by `\n`.
        name: the file's name, for keys if it has none.
        first: the first line's number in the file.
        columns: the names of the file's columns.
    """
    runs, keys, bad = _runs(columns), list[Strings](), list[Bad]()
    hashed, lines = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    fields: dict[tuple[str, ...], list[pa.Array]] = {run: [] for run in runs if run[0] in COLUMNS and run[0] != KEY}
    for piece in _pieces(text):
        rows = _rows(piece, first, len(columns))
        edges = _edges(rows, runs)
        strings = pa.StringArray.from_buffers(len(edges) - 1, pa.py_buffer(edges), pa.py_buffer(rows.text))
        for run, found in fields.items():
            found.append(strings[runs.index(run) :: len(runs)])
        if (KEY,) in runs:
            at = runs.index((KEY,))
            keys.append(Strings(rows.text, edges[at : -1 : len(runs)], edges[at + 1 :: len(runs)] - 1))
        else:
            keys.append(Strings.of([f"{name}:{line}".encode() for line in rows.lines]))
        hashed.append(fingerprints(keys[-1]))
        lines.append(rows.lines)
        bad += rows.bad
        first += rows.count
    parts = [_distinct(run, found) for run, found in fields.items()]
    return Block(parts, keys, np.concatenate(hashed), np.concatenate(lines), bad)


def _pieces(text: Bytes) -> Iterator[Bytes]:
    """The text in pieces of whole lines."""
    start = 0
    while start < len(text):
        stop = start + _PIECE_BYTES
        if stop < len(text):  # goes on to the end of the line, which is near
            near = (text[stop - 1 : stop + reach].tobytes().find(b"\n") for reach in (1 << 12, len(text)))
            stop += next(found for found in near if found >= 0)
        yield text[start:stop]
        start = stop


@dataclass(frozen=True)
class _Rows:
    """The rows among some lines.

    Attributes:
        text: the rows' text, each ended by `\n`.
        ends: [n, width], where each field ends.
        lines: [n], their numbers.
        bad: the other lines.
        count: how many lines all are.
    """

    text: Bytes
    ends: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    bad: list[Bad]
    count: int


def _rows(text: Bytes, first: int, width: int) -> _Rows:
    ends = _ends(text, width)
    if ends is None:  # many a file has quotes, or ends lines by two characters
        text = np.frombuffer(_QUOTED.sub(rb"\1", text.tobytes().replace(b"\r\n", b"\n")), np.uint8)
        ends = _ends(text, width)
    if ends is not None:
        return _Rows(text, ends, np.arange(first, first + len(ends)), [], len(ends))
    raw = text.tobytes()
    picked, lines, bad = _pick(raw, first, width)
    text = np.frombuffer(picked, np.uint8)
    ends = _ends(text, width)
    assert ends is not None, "picked lines are plain"
    return _Rows(text, ends, lines, bad, raw.count(b"\n"))


def _ends(text: Bytes, width: int) -> npt.NDArray[np.int64] | None:
    """Where each field ends, [lines, width]; None if a line has another number of fields, or is not plain."""
    if not _is_plain(text):
        return None
    is_newline = text == ord("\n")
    lines = np.count_nonzero(is_newline)
    ends = np.flatnonzero(is_newline | (text == ord(",")))
    if len(ends) != lines * width or not is_newline[ends[width - 1 :: width]].all():
        return None
    return ends.reshape(lines, width)


def _runs(columns: list[str]) -> list[tuple[str, ...]]:
    """All columns in runs of adjacent ones; for itself, one of many values, or that is none of births."""
    runs: list[tuple[str, ...]] = []
    is_alone = True
    for column in columns:
        was_alone, is_alone = is_alone, column in (KEY, WEIGHT) or column not in COLUMNS
        if is_alone or was_alone or len(runs[-1]) == _TOGETHER:
            runs.append((column,))
        else:
            runs[-1] += (column,)
    return runs


def _edges(rows: _Rows, runs: list[tuple[str, ...]]) -> npt.NDArray[np.int32]:
    """Where each row's runs begin, one after another, and where the last ends. [rows * runs + 1]."""
    edges = np.empty(len(rows.ends) * len(runs) + 1, np.int32)
    starts = edges[:-1].reshape(-1, len(runs))
    starts[:1, 0], starts[1:, 0] = 0, rows.ends[:-1, -1] + 1
    for i, stop in enumerate(itertools.accumulate(map(len, runs[:-1])), 1):
        np.add(rows.ends[:, stop - 1], 1, out=starts[:, i])
    edges[-1] = len(rows.text)
    return edges


def _distinct(names: tuple[str, ...], strings: list[pa.Array]) -> Columns:
    encoded = pa.chunked_array(strings, pa.string()).dictionary_encode().combine_chunks()
    distinct = pc.binary_slice(encoded.dictionary.cast(pa.binary()), 0, -1).cast(pa.string())
    return Columns(names, distinct, encoded.indices.to_numpy().astype(np.intp))


def _is_plain(text: Bytes) -> bool:
    """Whether nothing in the text needs a closer look: fast, as nearly all text is so."""
    if text.max(initial=0) > _LAST_ASCII and not _is_utf8(text.tobytes()):
        return False
    return text.min(initial=_LAST_ASCII) > 0 and not any((text == mark).any() for mark in b'"\r')


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _pick(text: bytes, first: int, width: int) -> tuple[bytes, npt.NDArray[np.int64], list[Bad]]:
    """The lines that can be parsed, their numbers, and the others; empty lines go."""
    good: list[bytes] = []
    lines: list[int] = []
    bad: list[Bad] = []
    for number, line in enumerate(text.split(b"\n")[:-1], first):
        if reason := _flaw(line, width):
            bad.append(Bad(number, reason, line.decode(errors="backslashreplace")))
        elif line.strip():
            good.append(line + b"\n")
            lines.append(number)
    return b"".join(good), np.array(lines, np.int64), bad


def _flaw(line: bytes, width: int) -> str:
    if not line.strip():
        return ""
    if b"\0" in line:
        return "nul_bytes"
    if not _is_utf8(line):
        return "no_utf8"
    if b'"' in line:
        return "stray_quote"
    if b"\r" in line:
        return "stray_carriage_return"
    return "" if line.count(b",") == width - 1 else "number_of_fields"
