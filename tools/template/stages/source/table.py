"""The table of wines: how a CSV file of it is read."""

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.core.errors import InputError

FEATURES = ("alcohol", "acidity", "colour")
TARGET = "variety"

Table = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def read(path: Path) -> Table:
    """Features float32 [n, 3] and varieties int64 [n], counted from 0, of a CSV file.

    Raises:
        InputError: naming the file, line and column that cannot be used.
    """
    features, varieties = [], []
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if missing := {*FEATURES, TARGET} - {*(rows.fieldnames or ())}:
            raise InputError(f"{path}: missing the columns {', '.join(sorted(missing))}")
        for row in rows:
            features.append([_number(row[name], f"{path}:{rows.line_num}: {name}") for name in FEATURES])
            if not (row[TARGET] or "").isdecimal():
                raise InputError(f"{path}:{rows.line_num}: {TARGET}: expected a number from 0, found {row[TARGET]!r}")
            varieties.append(int(row[TARGET]))
    if not features:
        raise InputError(f"{path}: expected at least one row")
    return np.array(features, np.float32), np.array(varieties, np.int64)


def _number(field: str | None, where: str) -> float:
    try:
        value = float(field or "")
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(f"{where}: expected a number, found {field!r}")
    return value
