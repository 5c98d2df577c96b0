"""Whole records of a CSV file, which Arrow splits, unquotes, decodes and converts."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from stages.babyweight.source.births import COLUMNS, KEY, NUMBERS
from stages.babyweight.source.encode import BadRow, Block

MARK = b"\xef\xbb\xbf"
"""UTF-8's byte order mark."""

_TEXT = dict.fromkeys(COLUMNS, pa.dictionary(pa.int32(), pa.string())) | {KEY: pa.string()}
_FAST = _TEXT | dict.fromkeys(NUMBERS, pa.uint8())
"""Types that are faster to convert to, where columns of numbers hold whole ones below 256 alone."""
_NULLS = ["", "NA", "NaN", "None", "null", "Unknown", r"\N"]

_HEXADECIMAL = re.compile(b"0[xX]")
_NEWLINE, _RETURN, _QUOTE = b'\n\r"'


def parse(
    name: str,
    columns: Sequence[str],
    in_folder: Mapping[str, str],
    first: int,
    count: int,
    text: bytes,
    damaged: list[BadRow],
) -> Block:
    """Let Arrow make columns of consecutive whole records.

    Args:
        name: the file's path below the source.
        columns: the columns of births that the fields stand for, "" for others.
        in_folder: the columns that the folder's name gives, with their values.
        first: the first line's number in the file, from 1.
        count: how many lines there are.
        text: the records, each ended by `\\n`; lines that are no CSV are blank.
        damaged: those lines.
    """
    # Arrow takes 0x1A for a whole number.
    has_hexadecimal = (b"x" in text or b"X" in text) and _HEXADECIMAL.search(text)
    try:
        table, invalid = _convert(text, columns, _TEXT if has_hexadecimal else _FAST)
    except pa.ArrowInvalid:
        table, invalid = _convert(text, columns, _TEXT)
    records = table.num_rows + len(invalid)
    lines = first + (np.arange(records) if records == count else _starts(text))
    skipped = np.array([row.number - 1 for row in invalid], np.int64)  # numbers leave out empty lines
    bad_rows = [
        BadRow(int(line), "number_of_fields", row.text)
        for line, row in zip(lines[skipped], invalid, strict=True)
        if row.text.strip()
    ]
    rows = pa.RecordBatch.from_arrays([column.combine_chunks() for column in table.columns], table.column_names)
    return Block.of(name, rows, in_folder, np.delete(lines, skipped), damaged + bad_rows)


def _convert(text: bytes, columns: Sequence[str], types: Mapping[str, pa.DataType]) -> tuple[pa.Table, list[Any]]:
    """The columns of births, and the records that have another number of fields; `ArrowInvalid` if a type is wrong."""
    invalid: list[Any] = []

    def skip(row: Any) -> str:
        invalid.append(row)
        return "skip"

    if text.startswith(MARK):  # part of a field; Arrow takes one off
        text = MARK + text
    has_quotes = b'"' in text
    table = pa.csv.read_csv(
        pa.BufferReader(text),
        pa.csv.ReadOptions(
            use_threads=False,
            block_size=len(text) + 1,
            column_names=[name or f"field {i}" for i, name in enumerate(columns)],
        ),
        pa.csv.ParseOptions(
            quote_char='"' if has_quotes else False,
            newlines_in_values=has_quotes,
            invalid_row_handler=skip,
        ),
        pa.csv.ConvertOptions(
            check_utf8=False,  # `take_out_damaged` has checked it
            column_types=types,
            include_columns=[name for name in columns if name],
            null_values=_NULLS,  # of numbers: text is never null
        ),
    )
    return table, invalid


def _starts(text: bytes) -> npt.NDArray[np.int64]:
    """The lines, from 0, on which the records begin; empty lines are no records."""
    characters = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(characters == _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    is_quoted = np.searchsorted(np.flatnonzero(characters == _QUOTE), starts) % 2 == 1
    is_empty = (starts == ends) | ((starts + 1 == ends) & (characters[starts] == _RETURN))
    return np.flatnonzero(~is_quoted & ~is_empty)
