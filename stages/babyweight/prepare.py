"""Turn births, synthetic or from CSV files, into arrays of one byte a feature, split by a hash of their keys."""

import argparse
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.babyweight.params import Prepare, PrepareParams, Source
from stages.babyweight.source import csvfiles, workers
from stages.babyweight.source.births import (
    COLUMNS,
    FEATURES,
    KEY,
    NUMBERS,
    SPLITS,
    UNITS,
    VOCABULARIES,
    WEIGHT,
    Bad,
    decode,
    encode,
    spellings,
)
from stages.babyweight.source.fingerprint import Strings
from stages.babyweight.source.lines import Block
from stages.core import files
from stages.core.errors import InputError, run
from stages.core.params import add_params

SAMPLE_ROWS = 1000
_QUOTED_ROWS = 5
_QUOTED_CHARACTERS = 60


@dataclass(frozen=True)
class Encoded:
    """What becomes of a block.

    Attributes:
        name: where it is from.
        splits: features uint8 [n, 8] and weights float32 [n] of the births of each split.
        first: features, weights and keys of the first `SAMPLE_ROWS` births, whatever their split.
        dropped: rows by reason.
        bad: lines that are no births.
        read: how many rows it had.
    """

    name: str
    splits: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]
    first: tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], list[Strings]]
    dropped: dict[str, int]
    bad: list[Bad]
    read: int


@dataclass
class Tally:
    """What became of the rows."""

    read: int = 0
    kept: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    dropped: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    first_bad: list[str] = field(default_factory=list)

    def add(self, block: Encoded) -> None:
        """Count a block's rows; quote the first that cannot be read."""
        self.read += block.read
        for split, (_, weights) in zip(SPLITS, block.splits, strict=True):
            self.kept[split] += len(weights)
        self.dropped.update(block.dropped)
        self.bad.update(b.reason for b in block.bad)
        for b in block.bad[: _QUOTED_ROWS - len(self.first_bad)]:
            found = b.found if len(b.found) <= _QUOTED_CHARACTERS else b.found[:_QUOTED_CHARACTERS] + "…"
            self.first_bad.append(f"{block.name}:{b.row}: {b.reason}: {found!r}")

    def check(self, max_bad_share: float) -> None:
        """Raise InputError if too many rows cannot be read, or if a split has no birth."""
        bad = self.bad.total()
        if bad > max_bad_share * self.read:
            raise InputError(
                f"{bad} of {self.read} rows cannot be read, more than babyweight.prepare.max_bad_share "
                f"({max_bad_share}) allows; the first: {'; '.join(self.first_bad)}"
            )
        for split, count in self.kept.items():
            if not count:
                raise InputError(
                    f"no birth for {split} among {self.read} rows, {self.dropped.total()} of them dropped; "
                    "expected one at least: see babyweight.prepare"
                )

    def metrics(self, kind: str) -> dict[str, Any]:
        """As JSON values."""
        kept, dropped, bad = sum(self.kept.values()), self.dropped.total(), self.bad.total()
        return {
            "source": kind,
            "rows": {"read": self.read, "kept": kept, "dropped": dropped, "bad": bad},
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "bad": dict(self.bad),
            "first_bad": self.first_bad,
        }


def _take(keys: list[Strings], rows: npt.NDArray[np.int64]) -> list[Strings]:
    """The keys of some rows, in ascending order."""
    before, found = 0, []
    for strings in keys:
        first, last = np.searchsorted(rows, (before, before + len(strings)))
        if first < last:
            found.append(strings.take(rows[first:last] - before))
        before += len(strings)
    return found


def _encode(name: str, read: Callable[[], Block], shares: Prepare) -> Encoded:
    """Get a block and encode it: all that a worker does."""
    block = read()
    births = encode(block.columns, block.fingerprints, shares.validation_share, shares.test_share)
    bad = block.bad + [Bad(int(block.lines[b.row]), b.reason, b.found) for b in births.bad]
    rows_of = [np.flatnonzero(births.split == split) for split in range(len(SPLITS))]
    splits = [(births.features.take(rows, axis=0), births.weight_pounds.take(rows)) for rows in rows_of]
    first = (
        births.features[:SAMPLE_ROWS].copy(),
        births.weight_pounds[:SAMPLE_ROWS].copy(),
        _take(block.keys, births.rows[:SAMPLE_ROWS]),
    )
    read_rows = len(block.lines) + len(block.bad)
    return Encoded(name, splits, first, births.dropped, sorted(bad, key=lambda b: b.row), read_rows)


def tasks(source: Source, shares: Prepare, facts: Path, seed: int) -> Iterator[Callable[[], Encoded]]:
    """What is to be done for each block of the source, in order.

    Raises:
        InputError: if the source cannot be used.
    """
    if source.kind == "synthetic":
        from stages.babyweight.source import synthetic  # with pandas, which takes longer to import than all else here

        for draw in synthetic.read(source.rows, facts, seed):
            yield functools.partial(_encode, "synthetic", draw, shares)
    else:
        for file in csvfiles.find(source.path):
            for text in csvfiles.read(file):
                yield functools.partial(_encode, file.name, text.parse, shares)


def encoded(params: PrepareParams, facts: Path) -> Iterator[Encoded]:
    """The source's blocks, encoded, in order: the same wherever it is done.

    Raises:
        InputError: if source or cluster cannot be used.
    """
    work = tasks(params.prepare.source, params.prepare, facts, params.seed)
    if params.prepare.dask.scheduler is None:
        return workers.on_threads(work)
    return workers.on_cluster(work, params.prepare.dask.scheduler, params.prepare.dask.timeout)


class GrowingArray:
    """Writes an .npy file row by row, in bounded memory; it is whole once closed.

    NumPy pads the header so that it keeps its length when the first dimension grows: it is written again at
    the end, when the number of rows is known.

    Args:
        path: the file to write.
        dtype: the values' type, as the format spells it.
        width: the shape of a row.
    """

    def __init__(self, path: Path, dtype: str, *width: int) -> None:
        path.parent.mkdir(exist_ok=True)
        self._file = path.open("wb")
        self._dtype, self._width, self._rows = dtype, width, 0
        self._write_header()

    def _write_header(self) -> None:
        shape = (self._rows, *self._width)
        header = {"descr": self._dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, values: npt.NDArray[Any]) -> None:
        """Write rows at the end."""
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self._rows += len(values)

    def close(self) -> None:
        """Complete the header."""
        with self._file:
            self._file.seek(0)
            self._write_header()


def schema(kind: str) -> dict[str, Any]:
    """What the arrays' columns and codes mean."""
    return {
        "source": kind,
        "features": list(FEATURES),
        "numbers": list(NUMBERS),
        "vocabularies": {column: list(words) for column, words in VOCABULARIES.items()},
        "spellings": {column: spellings(column) for column in VOCABULARIES},
        "units": UNITS,
    }


def readable(block: Encoded, rows: int) -> list[dict[str, Any]]:
    """The first births of a block, at most `SAMPLE_ROWS`, as rows of the raw format."""
    features, weights, strings = block.first
    values = decode(features)
    values |= {column: values[column].astype(int) for column in NUMBERS}
    columns = values | {WEIGHT: weights, KEY: [key for some in strings for key in some.to_list()]}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)][:rows]


def write_splits(folder: Path, params: PrepareParams, facts: Path) -> tuple[Tally, list[dict[str, Any]]]:
    """Write `features.npy` uint8 [n, 8] and `weight_pounds.npy` float32 [n] for each split.

    Returns:
        The counts, and the first births in the raw format.

    Raises:
        InputError: if the source cannot be used.
    """
    tally, sample = Tally(), list[dict[str, Any]]()
    with ExitStack() as stack:
        arrays = [
            (
                stack.enter_context(closing(GrowingArray(folder / split / "features.npy", "|u1", len(FEATURES)))),
                stack.enter_context(closing(GrowingArray(folder / split / f"{WEIGHT}.npy", "<f4"))),
            )
            for split in SPLITS
        ]
        for block in encoded(params, facts):
            for (features, weights), (features_of_split, weights_of_split) in zip(arrays, block.splits, strict=True):
                features.append(features_of_split)
                weights.append(weights_of_split)
            tally.add(block)
            if len(sample) < SAMPLE_ROWS:
                sample += readable(block, SAMPLE_ROWS - len(sample))
    tally.check(params.prepare.max_bad_share)
    return tally, sample


def main() -> None:
    """Write the splits and their schema, a sample of births and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path, help="folder with facts.yaml, the figures that synthetic births follow")
    parser.add_argument("data", type=Path, help="folder to write the splits to")
    parser.add_argument("sample", type=Path, help=f"CSV file to write the first {SAMPLE_ROWS} births to")
    parser.add_argument("metrics", type=Path, help="file to write the counts to")
    add_params(parser)
    args = parser.parse_args()
    params = PrepareParams.read(args.params)

    with files.whole_folder(args.data) as folder:
        tally, sample = write_splits(folder, params, args.raw / "facts.yaml")
        files.write_json(folder / "schema.json", schema(params.prepare.source.kind))
    files.write_table(args.sample, sample, COLUMNS)
    files.write_json(args.metrics, tally.metrics(params.prepare.source.kind))


if __name__ == "__main__":
    run(main)
