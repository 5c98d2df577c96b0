"""Lines of CSV text as births: fields are found with NumPy and told apart by Arrow, in pieces that stay in cache.

No field of this format holds a comma, a quote or a line end, so that plain text needs no parser; what is not
plain is looked at line by line.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.babyweight.births import COLUMNS, KEY, WEIGHT, Bad, Columns

_TOGETHER = 4
"""Adjacent columns that are told apart together: of four, few combinations occur, of eight, too many."""

_QUOTED = re.compile(rb'(?<![^,\n])"([^",\n]*)"(?=[,\n])')


@dataclass(frozen=True)
class Block:
    """Births as raw text, and the lines that are none.

    Attributes:
        columns: the columns that the file has, as text.
        keys: [n], the births' keys, strings of Arrow's.
        lines: [n], each birth's line in the file, from 1.
        bad: lines that are no row, by line instead of row.
    """

    columns: list[Columns]
    keys: pa.Array
    lines: npt.NDArray[np.int64]
    bad: list[Bad]


def parse(texts: Iterable[bytes], name: str, first: int, columns: list[str]) -> Block:
    """The births of whole lines.

    Args:
        texts: the lines, each ended by `\\n`, in pieces that fit into a core's cache.
        name: the file's name, for keys if it has none.
        first: the first line's number in the file.
        columns: the names of the file's columns.
    """
    runs, pieces = _runs(columns), list[_Piece]()
    for text in texts:
        pieces.append(_fields(text, first, columns, runs))
        first += pieces[-1].count
    numbers = np.concatenate([np.zeros(0, np.int64), *(piece.lines for piece in pieces)])
    strings = {run: pa.chunked_array([piece.strings[i] for piece in pieces], pa.string()) for i, run in enumerate(runs)}
    at = columns.index(KEY) if KEY in columns else -1
    keys = strings.pop(range(at, at + 1), None)
    if keys is None:
        keys = pa.chunked_array([[f"{name}:{number}" for number in numbers]], pa.string())
    parts = [_distinct(columns[run.start : run.stop], texts) for run, texts in strings.items()]
    return Block(parts, keys.combine_chunks(), numbers, [bad for piece in pieces for bad in piece.bad])


@dataclass(frozen=True)
class _Piece:
    """Some lines: of each run of columns the rows' fields, the rows' numbers, other lines, and how many all are."""

    strings: list[pa.Array]
    lines: npt.NDArray[np.int64]
    bad: list[Bad]
    count: int


def _fields(text: bytes, first: int, columns: list[str], runs: list[range]) -> _Piece:
    is_plain = _is_plain(text)
    if not is_plain:
        text = _QUOTED.sub(rb"\1", text.replace(b"\r\n", b"\n"))
        is_plain = _is_plain(text)
    ends = _ends(text, len(columns)) if is_plain else None
    if ends is not None:
        return _Piece(_strings(text, ends, runs), np.arange(first, first + len(ends)), [], len(ends))
    count = text.count(b"\n")
    text, lines, bad = _pick(text, first, len(columns))
    ends = _ends(text, len(columns))
    assert ends is not None, "picked lines have the right number of fields"
    return _Piece(_strings(text, ends, runs), lines, bad, count)


def _ends(text: bytes, width: int) -> npt.NDArray[np.int64] | None:
    """Where each field of plain text ends, [lines, width]; None if a line has another number of fields."""
    characters = np.frombuffer(text, np.uint8)
    is_newline = characters == ord("\n")
    lines = np.count_nonzero(is_newline)
    ends = np.flatnonzero(is_newline | (characters == ord(",")))
    if len(ends) != lines * width or not is_newline[ends[width - 1 :: width]].all():
        return None
    return ends.reshape(lines, width)


def _runs(columns: list[str]) -> list[range]:
    """The columns of births in runs of adjacent ones; key and weight, which have many values, for themselves."""
    runs: list[range] = []
    for at, column in enumerate(columns):
        if column not in COLUMNS:
            continue
        last = runs[-1] if runs else range(-1, -1)
        has_many = {KEY, WEIGHT}.intersection((column, *columns[last.start : last.stop]))
        if last.stop == at and len(last) < _TOGETHER and not has_many:
            runs[-1] = range(last.start, at + 1)
        else:
            runs.append(range(at, at + 1))
    return runs


def _strings(text: bytes, ends: npt.NDArray[np.int64], runs: list[range]) -> list[pa.Array]:
    """Of each run of columns, each line's fields with the commas between them. [lines] each."""
    if not len(ends):
        return [pa.array([], pa.string())] * len(runs)
    edges = np.empty((len(ends), len(runs), 2), np.int32)
    for i, run in enumerate(runs):
        if run.start:
            edges[:, i, 0] = ends[:, run.start - 1]
        else:
            edges[0, i, 0] = -1
            edges[1:, i, 0] = ends[:-1, -1]
        edges[:, i, 1] = ends[:, run.stop - 1]
    edges[..., 0] += 1
    # Strings of Arrow's lie side by side: what lies between two runs is one too.
    strings = pa.StringArray.from_buffers(edges.size - 1, pa.py_buffer(edges), pa.py_buffer(text))
    return [strings[2 * i :: 2 * len(runs)] for i in range(len(runs))]


def _distinct(columns: list[str], strings: pa.ChunkedArray) -> Columns:
    encoded = strings.dictionary_encode().combine_chunks()
    rows = [row.split(",") for row in encoded.dictionary.to_pylist()]
    distinct = {column: [row[i] for row in rows] for i, column in enumerate(columns)}
    return Columns(distinct, encoded.indices.to_numpy().astype(np.intp))


def _is_plain(text: bytes) -> bool:
    """Whether nothing in the text needs a closer look: fast, as nearly all text is so."""
    return (text.isascii() or _is_utf8(text)) and not any(mark in text for mark in (b'"', b"\r", b"\0"))


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
