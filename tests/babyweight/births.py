"""What tests of several modules do with births."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from stages.babyweight.source import csv_file
from stages.babyweight.source.births import COLUMNS, FEATURES
from stages.babyweight.source.encode import Block, encode
from stages.babyweight.source.files import File

HEADER = ",".join(COLUMNS)
ROW = "7.5,True,26,White,1,39,True,False,None,k{}"
ROWS = [ROW.format(i) for i in range(5)]


def file(path: Path) -> File:
    return File(str(path))


def write(folder: Path, *lines: str, end: str = "\n", encoding: str = "utf-8") -> Path:
    path = folder / "births.csv"
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return path


def parse(path: Path, block_bytes: int = 1 << 20) -> list[Block]:
    with file(path).open() as stream:
        return [task() for task in csv_file.block_tasks(file(path), stream, COLUMNS, block_bytes)]


def block_of(frame: pd.DataFrame) -> Block:
    """Values in a frame as a block; text where types are mixed."""
    arrays = [
        pa.array([None if pd.isna(v) else str(v) for v in frame[name]])
        if frame[name].dtype == object
        else pa.array(frame[name])
        for name in frame
    ]
    return Block("births.csv", pa.RecordBatch.from_arrays(arrays, list(frame)), np.arange(len(frame)), [])


@dataclass
class Rows:
    """All births of some blocks, in the files' order, and the bad rows."""

    lines: list[int]
    keys: list[str]
    weights: list[float]
    features: list[list[int]]
    bad: list[tuple[int, str]]

    def codes(self, column: str) -> list[int]:
        """One column's codes."""
        return [row[FEATURES.index(column)] for row in self.features]


def rows_of(blocks: list[Block]) -> Rows:
    """Encode blocks, all births to one split."""
    rows = Rows([], [], [], [], [])
    for block in blocks:
        encoded = encode(block, 0.0, 0.0)
        features, weights = encoded.splits[0]
        bad = {row.line for row in encoded.bad_rows}
        rows.lines += [line for line in block.lines.tolist() if line not in bad]
        rows.keys += encoded.sample[2]
        rows.weights += weights.tolist()
        rows.features += features.tolist()
        rows.bad += [(row.line, row.reason) for row in encoded.bad_rows]
    return rows


def read(path: Path, block_bytes: int = 1 << 20) -> Rows:
    """All births of a CSV file."""
    return rows_of(parse(path, block_bytes))
