"""CSV files of births as blocks of raw text, in bounded memory, whatever the files hold.

A file is cut at line ends before it is parsed: no field of this format holds one, so a quote that is never
closed spoils its own line and no other.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.babyweight.births import COLUMNS, KEY, REQUIRED, Bad
from stages.shared.errors import InputError

BLOCK_BYTES = 4 << 20
LINE_BYTES = 1 << 20
"""A longer line is no birth."""

_QUOTED = re.compile(rb'(?<![^,\n])"([^",\n]*)"(?=[,\n])')


@dataclass(frozen=True)
class Block:
    """Births as raw text, and the lines that are none.

    Attributes:
        frame: a row a birth; the columns that the file has, and `KEY`.
        lines: each row's line in the file, from 1.
        bad: lines that are no row, by line instead of row.
    """

    frame: pd.DataFrame
    lines: npt.NDArray[np.int64]
    bad: list[Bad]


def find(pattern: str) -> list[Path]:
    """The files of a path, a folder (its `*.csv*`) or a glob, by name.

    Raises:
        InputError: if there is none.
    """
    path = Path(pattern)
    if path.is_file():
        return [path]
    if path.is_dir():
        path /= "*.csv*"
    found = sorted(p for p in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if p.is_file())
    if not found:
        raise InputError(f"babyweight.source.path: {pattern}: no such file; expected a CSV file, a folder or a glob")
    return found


def read(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Read one file, plain or gzip, with a header or not.

    Args:
        path: the file.
        block_bytes: how much text a block holds, about; a row is the same in any.

    Raises:
        InputError: if the file is empty, cut off or no CSV of births.
    """
    columns: list[str] | None = None
    first = 1
    for text in _texts(path, block_bytes):
        if columns is None:
            columns, header = _columns(path, text[: text.index(b"\n")])
            first += header
            text = text[text.index(b"\n") + 1 :] if header else text.removeprefix(b"\xef\xbb\xbf")
        lengths = np.diff(_ends(text), prepend=-1)
        if lengths.max(initial=0) > LINE_BYTES:
            raise _too_long(path, first + int(lengths.argmax()))
        yield _parse(path.name, text, columns, first)
        first += len(lengths)
    if columns is None:
        raise InputError(f"{path}: empty; expected births as CSV")


def _too_long(path: Path, line: int) -> InputError:
    return InputError(f"{path}:{line}: a line of more than {LINE_BYTES} bytes; expected one birth a line")


def _texts(path: Path, size: int) -> Iterator[bytes]:
    """The file's text in pieces of whole lines, each line ended by `\\n`."""
    lines, rest = 0, b""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw
        try:
            while piece := file.read(size):
                text = rest + piece
                end = text.rfind(b"\n") + 1
                rest = text[end:]
                if len(rest) > LINE_BYTES:
                    raise _too_long(path, lines + text.count(b"\n") + 1)
                if end:
                    lines += text.count(b"\n")
                    yield text[:end]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: damaged gzip after line {lines}: {error}") from None
    if rest:
        yield rest + b"\n"


def _columns(path: Path, line: bytes) -> tuple[list[str], bool]:
    """The names of the file's columns, and whether its first line names them."""
    if b"\0" in line:
        raise InputError(f"{path}:1: NUL bytes; expected UTF-8 text")
    fields = line.decode("utf-8-sig", "replace").split(",")
    names = [field.strip().strip('"') for field in fields]
    if not set(names) & set(COLUMNS):
        if len(names) != len(COLUMNS):
            raise InputError(
                f"{path}:1: {len(names)} columns and no header; expected a header that names {', '.join(REQUIRED)}, "
                f"or the {len(COLUMNS)} columns {','.join(COLUMNS)}"
            )
        return list(COLUMNS), False
    for name in COLUMNS:
        if names.count(name) > 1:
            raise InputError(f"{path}:1: column {name!r} {names.count(name)} times; expected it once")
    for name in REQUIRED:
        if name not in names:
            raise InputError(f"{path}:1: no column {name!r}; found {', '.join(names)}")
    return names, True


def _parse(name: str, text: bytes, columns: list[str], first: int) -> Block:
    bad: list[Bad] = []
    if not _is_plain(text):
        text = _QUOTED.sub(rb"\1", text.replace(b"\r\n", b"\n"))
    ends = _ends(text)
    if _is_plain(text) and _is_even(text, ends, len(columns)):
        lines = np.arange(first, first + len(ends))
    else:
        text, lines, bad = _pick(text, first, len(columns))
    frame = _frame(text, columns)
    if KEY not in frame:
        frame[KEY] = np.array([f"{name}:{line}" for line in lines], object)
    return Block(frame, lines, bad)


def _ends(text: bytes) -> npt.NDArray[np.int64]:
    """Where the text's lines end."""
    return np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))


def _is_plain(text: bytes) -> bool:
    """Whether nothing in the text needs a closer look: fast, as nearly every block is so."""
    return (text.isascii() or _is_utf8(text)) and not any(mark in text for mark in (b'"', b"\r", b"\0"))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_even(text: bytes, ends: npt.NDArray[np.int64], width: int) -> bool:
    """Whether every line has `width` fields."""
    commas = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(","))
    if len(commas) != len(ends) * (width - 1):
        return False
    rows = commas.reshape(len(ends), width - 1)
    return bool((rows[:, -1] < ends).all() and (rows[1:, 0] > ends[:-1]).all())


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


def _frame(text: bytes, columns: list[str]) -> pd.DataFrame:
    """Parse lines that are known to be good: text columns, all but the key as categories."""
    wanted = [column for column in columns if column in COLUMNS]
    if not text:
        return pd.DataFrame(columns=wanted, dtype=object)
    # pandas turns categories that are all numbers into numbers, by its own rules; a first row of words stops it.
    words = b",".join([b"?"] * len(columns)) + b"\n"
    frame = pd.read_csv(
        io.BytesIO(words + text),
        header=None,
        names=[name if name in wanted else i for i, name in enumerate(columns)],
        usecols=wanted,
        dtype={column: object if column == KEY else "category" for column in wanted},
        na_filter=False,
        quoting=csv.QUOTE_NONE,
        skip_blank_lines=False,
        low_memory=False,
    )
    return frame.iloc[1:].reset_index(drop=True)
