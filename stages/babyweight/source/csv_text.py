"""Whole records of a CSV file, which Arrow splits, unquotes, decodes and converts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from stages.babyweight.source.births import KEY, NUMBERS, TRUTH
from stages.babyweight.source.encode import BadRow, Block
from stages.babyweight.source.files import File

MARK = b"\xef\xbb\xbf"
"""UTF-8's byte order mark."""

_WORD = pa.dictionary(pa.int32(), pa.binary())
_TYPES = {KEY: pa.binary()}
_TRUTH_TYPES = dict.fromkeys(TRUTH, pa.bool_())
_WHOLE = dict.fromkeys(NUMBERS, pa.uint8()) | _TRUTH_TYPES
_FLOAT = dict.fromkeys(NUMBERS, pa.float64()) | _TRUTH_TYPES
"""Types that are faster to convert than text, where the columns hold nothing else."""
_NULLS = ["", "NA", "NaN", "None", "null", "Unknown", r"\N"]

_NEWLINE, _RETURN, _QUOTE = b'\n\r"'


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
    text: npt.NDArray[np.uint8]
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
        if text[: len(MARK)].tobytes() == MARK:  # part of a field; Arrow takes one off
            text = np.concatenate([text[: len(MARK)], text])
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
                check_utf8=False,  # `take_out_damaged` has checked it
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
