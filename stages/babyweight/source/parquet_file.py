"""Parquet files of births, as BigQuery exports them, in bounded memory."""

import functools
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import ParquetFile

from stages.babyweight.source import columns
from stages.babyweight.source.births import KEY, REQUIRED
from stages.babyweight.source.encode import Block, BlockTask
from stages.babyweight.source.files import File
from stages.core.errors import InputError, one_line

BLOCK_ROWS = 1 << 16
BLOCK_BYTES = 8 << 20
"""About how much a block takes at most, of births with long texts."""
_PIECE_ROWS = 1 << 11
"""Rows that Arrow decodes at once."""
_BUFFER_BYTES = 1 << 20
"""Read at once of a column on disk, so that a large group of rows does not fill the memory."""
_DICTIONARY_BYTES = 1 << 26
"""What the texts of a piece may take, if each is the longest that the column's dictionary can hold."""
_REMOTE_TIMES = 4
"""For how many times as much a remote file is not asked again how long they are."""
_MOST_BYTES, _MOST_TIMES = 1 << 28, 100
"""What a group's column may take, unpacked, and for how many times its own bytes."""
_DICTIONARY_PAGE = 2


def block_tasks(file: File, stream: Any) -> Iterator[BlockTask]:
    """The task that makes each block of a file; a row's line is its number in the file, from 1.

    Args:
        file: the file.
        stream: it, opened.

    Raises:
        InputError: if the file is damaged, or lacks a required column.
    """
    try:
        source = pa.PythonFile(stream.raw, "r")
        parquet = ParquetFile(
            source,
            buffer_size=0 if file.is_remote else _BUFFER_BYTES,  # a remote column is one request
            page_checksum_verification=True,
        )
        names = parquet.schema_arrow.names
        fields = columns.match(file.address, names, file.in_folder)
        known = {name: column for name, column in zip(names, fields, strict=True) if column}
        first = 1
        longest = _longest_text(file, source, parquet.metadata, known)
        for batch in _batches(parquet, known, longest):
            batch.validate(full=True)  # that text is UTF-8
            # A name with a dot selects members of structs too.
            arrays = [_readable(file, column, batch[name]) for name, column in known.items()]
            rows = pa.RecordBatch.from_arrays(arrays, list(known.values()))
            lines = np.arange(first, first + rows.num_rows)
            yield functools.partial(Block.of, file.label, rows, file.in_folder, lines, [])
            first += rows.num_rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file.address}: damaged Parquet: {one_line(error)}") from None


def _batches(parquet: Any, names: Collection[str], longest: int) -> Iterator[pa.RecordBatch]:
    """The columns with these names, in batches of at most `BLOCK_ROWS` rows and about `BLOCK_BYTES`."""
    pieces: list[pa.RecordBatch] = []
    rows = size = 0
    at_once = max(1, min(_rows_at_once(parquet.metadata, names), _DICTIONARY_BYTES // max(longest, 1)))
    for piece in parquet.iter_batches(at_once, columns=list(names)):
        pieces.append(piece)
        rows, size = rows + piece.num_rows, size + piece.nbytes
        if rows >= BLOCK_ROWS or size >= BLOCK_BYTES:
            yield pa.concat_batches(pieces)
            pieces, rows, size = [], 0, 0
    if pieces:
        yield pa.concat_batches(pieces)


def _longest_text(file: File, source: Any, metadata: Any, names: Collection[str]) -> int:
    """Bytes that a text of these columns may take as a dictionary holds it, which rows of a few bits repeat.

    Raises:
        InputError: if a column says that it takes more, unpacked, than a file of this size holds.
    """
    most = 0
    for number, group in enumerate(map(metadata.row_group, range(metadata.num_row_groups))):
        for chunk in map(group.column, range(group.num_columns)):
            if chunk.path_in_schema.split(".")[0] not in names or not chunk.num_values:
                continue
            kind, size = None, chunk.total_uncompressed_size
            few = size * _PIECE_ROWS <= _DICTIONARY_BYTES
            if chunk.physical_type == "BYTE_ARRAY" and not (file.is_remote and few):  # each header is a request there
                source.seek(min(chunk.dictionary_page_offset or chunk.data_page_offset, chunk.data_page_offset))
                kind, page_size = _page(source.read(16))
                size = page_size  # pages are unpacked one by one, so many of them need no more room
            if size > max(_MOST_BYTES, _MOST_TIMES * chunk.total_compressed_size):
                raise InputError(
                    f"{file.address}: column {chunk.path_in_schema!r} says {size:,} bytes, expected at most "
                    f"{max(_MOST_BYTES, _MOST_TIMES * chunk.total_compressed_size):,}"
                )
            if kind == _DICTIONARY_PAGE and page_size > most:
                unknown = page_size * _PIECE_ROWS > _DICTIONARY_BYTES * (_REMOTE_TIMES if file.is_remote else 1)
                most = max(most, _longest_in_dictionary(source, number, chunk.path_in_schema) if unknown else page_size)
    return most


def _longest_in_dictionary(source: Any, group: int, name: str) -> int:
    """Bytes of the longest text in the dictionary of a group's column, which is read with its first row."""
    parquet = ParquetFile(source, read_dictionary=[name], buffer_size=_BUFFER_BYTES, page_checksum_verification=True)
    for batch in parquet.iter_batches(1, row_groups=[group], columns=[name]):
        if batch.num_columns == 1 and pa.types.is_dictionary(batch.column(0).type):
            return int(pc.max(pc.binary_length(batch.column(0).dictionary)).as_py() or 0)
        break
    return int(parquet.metadata.row_group(group).total_byte_size)  # of a struct, say: its longest text is not known


def _page(header: bytes) -> tuple[int, int]:
    """Kind of a page and its bytes when unpacked, the first two fields of its header.

    Format: Thrift's compact protocol, where a field is 0x15 and a number in groups of seven bits.

    Raises:
        ArrowInvalid: if it is no header.
    """
    found, at = [], 0
    try:
        for _ in range(2):
            if header[at] != 0x15:
                raise pa.ArrowInvalid("no header of a page")
            value = shift = 0
            while True:
                at, shift = at + 1, shift + 7
                value |= (header[at] & 0x7F) << (shift - 7)
                if header[at] < 0x80:
                    break
            found.append((value >> 1) ^ -(value & 1))
            at += 1
    except IndexError:
        raise pa.ArrowInvalid("no header of a page") from None
    return found[0], found[1]


def _rows_at_once(metadata: Any, names: Collection[str]) -> int:
    """How many rows take about `BLOCK_BYTES` at most. Texts that a dictionary packs take more than is written down."""
    most = 1.0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns_of_group = map(group.column, range(group.num_columns))
        size = sum(c.total_uncompressed_size for c in columns_of_group if c.path_in_schema.split(".")[0] in names)
        most = max(most, size / max(group.num_rows, 1))
    return max(1, min(_PIECE_ROWS, int(BLOCK_BYTES / most)))


def _readable(file: File, name: str, values: pa.Array) -> pa.Array:
    """A column as `encode` can read it: numbers, and truth where that is asked for, as they are; all else as text."""
    kinds = pa.types
    kind = values.type.value_type if kinds.is_dictionary(values.type) else values.type
    is_number = kinds.is_integer(kind) or kinds.is_floating(kind)
    is_text = (
        *(kinds.is_string, kinds.is_large_string, kinds.is_string_view),
        *(kinds.is_binary, kinds.is_large_binary, kinds.is_binary_view, kinds.is_decimal),
    )
    try:
        if name == KEY:
            return values.cast(pa.large_string())
        if is_number or kinds.is_string(kind) or (kinds.is_boolean(kind) and name not in REQUIRED):
            return values
        if kinds.is_null(kind) or any(check(kind) for check in is_text):
            return values.cast(pa.string())
    except pa.ArrowException:
        pass
    raise InputError(f"{file.address}: column {name!r} is {values.type}; expected numbers or text")
