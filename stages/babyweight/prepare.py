"""Turn births, synthetic or from CSV files, into arrays of one byte a feature, split by a hash of their keys."""

import argparse
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.babyweight import csvfiles
from stages.babyweight.births import (
    COLUMNS,
    FEATURES,
    KEY,
    NUMBERS,
    SPLITS,
    UNITS,
    VOCABULARIES,
    WEIGHT,
    Bad,
    Births,
    decode,
    encode,
    spellings,
)
from stages.babyweight.synthetic import FACTS, Generator, read_facts
from stages.shared import files
from stages.shared.errors import InputError, run
from stages.shared.params import BabyweightSource, PrepareBabyweight

SAMPLE_ROWS = 1000
_QUOTED_ROWS = 5
_QUOTED_CHARACTERS = 60


@dataclass
class Tally:
    """What became of the rows."""

    read: int = 0
    kept: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    dropped: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    first_bad: list[str] = field(default_factory=list)

    def add(self, name: str, block: csvfiles.Block, births: Births) -> None:
        """Count a block's rows; quote the first that cannot be read."""
        self.read += len(block.frame) + len(block.bad)
        for split, count in zip(SPLITS, np.bincount(births.split, minlength=len(SPLITS)), strict=True):
            self.kept[split] += int(count)
        self.dropped.update(births.dropped)
        bad = block.bad + [Bad(int(block.lines[b.row]), b.reason, b.found) for b in births.bad]
        self.bad.update(b.reason for b in bad)
        for b in sorted(bad, key=lambda b: b.row)[: _QUOTED_ROWS - len(self.first_bad)]:
            found = b.found if len(b.found) <= _QUOTED_CHARACTERS else b.found[:_QUOTED_CHARACTERS] + "…"
            self.first_bad.append(f"{name}:{b.row}: {b.reason}: {found!r}")

    def check(self, max_bad_share: float) -> None:
        """Raise InputError if too many rows cannot be read, or if a split has no birth."""
        bad = self.bad.total()
        if bad > max_bad_share * self.read:
            raise InputError(
                f"{bad} of {self.read} rows cannot be read, more than babyweight.max_bad_share "
                f"({max_bad_share}) allows; the first: {'; '.join(self.first_bad)}"
            )
        for split, count in self.kept.items():
            if not count:
                raise InputError(
                    f"no birth for {split} among {self.read} rows, {self.dropped.total()} of them dropped; "
                    "expected one at least: see babyweight.source and babyweight.prepare"
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


def blocks(source: BabyweightSource, facts: Path, seed: int) -> Iterator[tuple[str, csvfiles.Block]]:
    """The source's rows in order, in blocks, each with the name of its file.

    Raises:
        InputError: if the source cannot be used.
    """
    if source.kind == "synthetic":
        first = 0
        for frame in Generator(read_facts(facts), seed).blocks(source.rows):
            yield "synthetic", csvfiles.Block(frame, np.arange(first, first + len(frame)), [])
            first += len(frame)
    else:
        for path in csvfiles.find(source.path):
            yield from ((path.name, block) for block in csvfiles.read(path))


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
        self._file.write(np.ascontiguousarray(values, self._dtype).tobytes())
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


def readable(births: Births, keys: pd.Series, rows: int) -> pd.DataFrame:
    """The first births of a block, as rows of the raw format."""
    values = decode(births.features[:rows])
    values |= {column: values[column].astype(int) for column in NUMBERS}
    values |= {WEIGHT: births.weight_pounds[:rows], KEY: keys.iloc[births.rows[:rows]].to_numpy()}
    return pd.DataFrame(values)[list(COLUMNS)]


def write_splits(folder: Path, params: PrepareBabyweight, facts: Path) -> tuple[Tally, pd.DataFrame]:
    """Write `features.npy` uint8 [n, 8] and `weight_pounds.npy` float32 [n] for each split.

    Returns:
        The counts, and the first births in the raw format.

    Raises:
        InputError: if the source cannot be used.
    """
    tally, samples, sampled = Tally(), [], 0
    with ExitStack() as stack:
        arrays = [
            (
                stack.enter_context(closing(GrowingArray(folder / split / "features.npy", "|u1", len(FEATURES)))),
                stack.enter_context(closing(GrowingArray(folder / split / f"{WEIGHT}.npy", "<f4"))),
            )
            for split in SPLITS
        ]
        for name, block in blocks(params.source, facts, params.seed):
            births = encode(block.frame, params.prepare.validation_share, params.prepare.test_share)
            for split, (features, weights) in enumerate(arrays):
                features.append(births.features[births.split == split])
                weights.append(births.weight_pounds[births.split == split])
            tally.add(name, block, births)
            if sampled < SAMPLE_ROWS:
                samples.append(readable(births, block.frame[KEY], SAMPLE_ROWS - sampled))
                sampled += len(samples[-1])
    tally.check(params.max_bad_share)
    return tally, pd.concat(samples)


def main() -> None:
    """Write the splits and their schema, a sample of births and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder to write the splits to")
    parser.add_argument("sample", type=Path, help=f"CSV file to write the first {SAMPLE_ROWS} births to")
    parser.add_argument("metrics", type=Path, help="file to write the counts to")
    parser.add_argument("--facts", type=Path, default=FACTS, help="figures that synthetic births follow")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    args = parser.parse_args()
    params = PrepareBabyweight.read(args.params)

    with files.whole_folder(args.data) as folder:
        tally, sample = write_splits(folder, params, args.facts)
        files.write_json(folder / "schema.json", schema(params.source.kind))
    files.write_text(args.sample, sample.to_csv(index=False, lineterminator="\n"))
    files.write_json(args.metrics, tally.metrics(params.source.kind))


if __name__ == "__main__":
    run(main)
