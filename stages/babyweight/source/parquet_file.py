"""Parquet files of births, as BigQuery exports them, in bounded memory."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from stages.babyweight.source import columns
from stages.babyweight.source.births import KEY, REQUIRED
from stages.babyweight.source.encode import Block
from stages.babyweight.source.files import File
from stages.core.errors import InputError

MAGIC = b"PAR1"
BLOCK_ROWS = 1 << 16


def read(file: File) -> Iterator[Block]:
    """Read a file in blocks; a row's line is its number in the file, from 1.

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
                arrays = [_as_text(file, column, batch[name]) for name, column in known.items()]
                rows = pa.RecordBatch.from_arrays(arrays, list(known.values()))
                yield Block(file.name, rows, np.arange(first, first + rows.num_rows), [])
                first += rows.num_rows
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file.address}: damaged Parquet: {' '.join(str(error).split())}") from None


def _is_readable(name: str, kind: pa.DataType) -> bool:
    """Whether a column's values are numbers or text; or truth, where that is asked for."""
    kinds = pa.types
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    is_text = (kinds.is_string, kinds.is_large_string, kinds.is_binary, kinds.is_large_binary, kinds.is_null)
    is_number = (kinds.is_integer, kinds.is_floating, kinds.is_decimal)
    return any(check(kind) for check in is_text + is_number) or (kinds.is_boolean(kind) and name not in REQUIRED)


def _as_text(file: File, name: str, values: pa.Array) -> pa.Array:
    """A column that `encode` can read: dictionary-encoded, or a key, of values that Arrow casts to text."""
    try:
        if name == KEY:
            return values.cast(pa.large_string())
        if not _is_readable(name, values.type):
            raise pa.ArrowTypeError
        if pa.types.is_binary(values.type) or pa.types.is_null(values.type):
            values = values.cast(pa.string())
        encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        encoded.dictionary.cast(pa.string())
        return encoded
    except pa.ArrowException:
        raise InputError(f"{file.address}: column {name!r} is {values.type}; expected numbers or text") from None
