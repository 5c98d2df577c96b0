"""Files of births in either format, as tasks that make their blocks."""

import io
from collections.abc import Generator, Iterator, Sequence

from stages.babyweight.params import Prepare
from stages.babyweight.source import csv_file
from stages.babyweight.source.births import COLUMNS
from stages.babyweight.source.encode import BlockTask, Encoded, encode
from stages.babyweight.source.files import File

_PARQUET = b"PAR1"


def default_columns(files: Sequence[File]) -> list[str]:
    """The columns of files without a header: those that the first file names, as of one that was split, or `COLUMNS`.

    Raises:
        InputError: if the first file cannot be used.
    """
    with files[0].open() as stream:
        named = None if _is_parquet(stream) else csv_file.header(files[0], stream)
    return named or list(COLUMNS)


def _is_parquet(stream: io.BufferedReader) -> bool:
    """Whether an open file begins as Parquet does."""
    return stream.peek(len(_PARQUET)).startswith(_PARQUET)


def block_tasks(file: File, default: Sequence[str]) -> Iterator[BlockTask]:
    """The task that makes each block of a file, in order. It is opened once.

    Args:
        file: a CSV file, plain, gzip or zstd, or a Parquet file.
        default: the columns of a CSV file without a header.

    Raises:
        InputError: if the file cannot be used.
    """
    yield from _block_tasks(file, list(default))


def all_block_tasks(files: Sequence[File]) -> Iterator[BlockTask]:
    """The task that makes each block of some files, in order; each is opened once.

    A file without a header has the columns that the first file names, or `COLUMNS`.

    Raises:
        InputError: if a file cannot be used.
    """
    named = yield from _block_tasks(files[0], list(COLUMNS))
    for file in files[1:]:
        yield from _block_tasks(file, named)


def _block_tasks(file: File, default: list[str]) -> Generator[BlockTask, None, list[str]]:
    """The tasks of a file's blocks. Returns the columns that its header names, else the default ones."""
    with file.open() as stream:
        if _is_parquet(stream):
            from stages.babyweight.source import parquet_file  # slow to import

            yield from parquet_file.block_tasks(file, stream)
            return default
        return (yield from csv_file.block_tasks(file, stream, default))


def encode_block(task: BlockTask, params: Prepare) -> list[Encoded]:
    """Encode a block. Workers of a cluster find this function by its module, so it is not in the one that is run."""
    return [encode(task(), params.validation_share, params.test_share)]


def encode_file(file: File, default: list[str], params: Prepare) -> list[Encoded]:
    """Encode all blocks of a file, of which the first line is a header, or its columns are the `default`."""
    return [encoded for task in block_tasks(file, default) for encoded in encode_block(task, params)]
