"""Births that are values in a pandas frame, as they are encoded."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from stages.babyweight.source.births import COLUMNS, KEY, Columns
from stages.babyweight.source.fingerprint import Strings


def columns_of(frame: pd.DataFrame) -> list[Columns]:
    """A frame's columns of births, each for itself, without the key."""
    return [_column(frame[name]) for name in COLUMNS if name != KEY and name in frame]


def _column(column: pd.Series) -> Columns:
    """A column's distinct values: there are few, whether text or numbers."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        positions, values = column.cat.codes.to_numpy(), column.cat.categories
    else:
        positions, values = pd.factorize(column)
    # NaN and None have position -1, and find the "" at the end.
    return Columns((str(column.name),), pa.array([*map(str, values), ""], pa.string()), positions)


def keys_of(frame: pd.DataFrame) -> Strings:
    """A frame's keys."""
    keys = pc.fill_null(pa.array(frame[KEY].astype(str), pa.large_string()), "nan")
    _, offsets, text = keys.buffers()
    edges = np.frombuffer(offsets, np.int64)[keys.offset : keys.offset + len(keys) + 1]
    return Strings(np.frombuffer(text or b"", np.uint8), edges[:-1], edges[1:])
