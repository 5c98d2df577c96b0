"""Blocks of births as tables, to look at."""

import pandas as pd

from stages.babyweight.source.births import COLUMNS, KEY
from stages.babyweight.source.lines import Block


def keys_of(block: Block) -> list[str]:
    """All keys."""
    return [key for strings in block.keys for key in strings.to_list()]


def frame_of(block: Block) -> pd.DataFrame:
    """A row a birth, all text, columns in the order of the raw format."""
    columns = {KEY: keys_of(block)}
    for part in block.columns:
        columns |= {name: [part.field(name, birth) for birth in range(len(block.lines))] for name in part.names}
    return pd.DataFrame(columns, dtype=object)[[column for column in COLUMNS if column in columns]]
