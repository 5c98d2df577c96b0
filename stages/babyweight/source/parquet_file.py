"""Parquet files of births, as BigQuery exports them, in bounded memory."""

import functools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from stages.babyweight.source import columns
from stages.babyweight.source.births import KEY, REQUIRED
from stages.babyweight.source.encode import Block, BlockTask
from stages.babyweight.source.files import File
from stages.core.errors import InputError, one_line

MAGIC = b"PAR1"
BLOCK_ROWS = 1 << 16


def block_tasks(file: File) -> Iterator[BlockTask]:
    """The task that makes each block of a file; a row's line is its number in the file, from 1.

    Raises:
        InputError: if the file is damaged, or lacks a required column.
    """
    with file.open() as stream:
        try:
            parquet = pa.parquet.ParquetFile(pa.PythonFile(stream, "r"))
            fields = columns.match(file.address, parquet.schema_arrow.names)
            known = {name: column for name, column in zip(parquet.schema_arrow.names, fields, strict=True) if column}
            first = 1
            for batch in parquet.iter_batches(BLOCK_ROWS, columns=list(known)):
                batch.validate(full=True)  # that text is UTF-8
                # A name with a dot selects members of structs too.
                arrays = [_readable(file, column, batch[name]) for name, column in known.items()]
                rows = pa.RecordBatch.from_arrays(arrays, list(known.values()))
                yield functools.partial(Block, file.name, rows, np.arange(first, first + rows.num_rows), [])
                first += rows.num_rows
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file.address}: damaged Parquet: {one_line(error)}") from None


def _readable(file: File, name: str, values: pa.Array) -> pa.Array:
    """A column as `encode` can read it: numbers, and truth where that is asked for, as they are; all else as text."""
    kinds = pa.types
    kind = values.type.value_type if kinds.is_dictionary(values.type) else values.type
    is_number = kinds.is_integer(kind) or kinds.is_floating(kind)
    is_text = (kinds.is_string, kinds.is_large_string, kinds.is_binary, kinds.is_large_binary, kinds.is_decimal)
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
