"""Files of births in either format, as tasks that make their blocks."""

from collections.abc import Iterator, Sequence

from stages.babyweight.source import csv_file, parquet_file
from stages.babyweight.source.births import COLUMNS
from stages.babyweight.source.encode import BlockTask
from stages.babyweight.source.files import File


def default_columns(files: Sequence[File]) -> list[str]:
    """The columns of files without a header: those that the first file names, as of one that was split, or `COLUMNS`.

    Raises:
        InputError: if the first file cannot be used.
    """
    named = None if _is_parquet(files[0]) else csv_file.header(files[0])
    return named or list(COLUMNS)


def block_tasks(file: File, default: Sequence[str]) -> Iterator[BlockTask]:
    """The task that makes each block of a file, in order.

    Args:
        file: a CSV file, plain, gzip or zstd, or a Parquet file.
        default: the columns of a CSV file without a header.

    Raises:
        InputError: if the file cannot be used.
    """
    return parquet_file.block_tasks(file) if _is_parquet(file) else csv_file.block_tasks(file, default)


def _is_parquet(file: File) -> bool:
    with file.open() as stream:
        return stream.read(4) == parquet_file.MAGIC
