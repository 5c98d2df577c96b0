"""Blocks of births as tables, to look at."""

import pandas as pd

from stages.babyweight.births import COLUMNS, KEY
from stages.babyweight.lines import Block


def frame_of(block: Block) -> pd.DataFrame:
    """A row a birth, all text, columns in the order of the raw format."""
    columns = {KEY: block.keys.to_pylist()}
    for part in block.columns:
        columns |= {name: [values[i] for i in part.positions] for name, values in part.distinct.items()}
    return pd.DataFrame(columns, dtype=object)[[column for column in COLUMNS if column in columns]]
