"""Births from CSV to columns with Polars' streaming engine. Needs nothing but Polars.

python prepare_polars.py BIRTHS.csv FOLDER
"""

import sys
from pathlib import Path

import polars as pl

WEIGHT, KEY = "weight_pounds", "key"
NUMBERS = ("mother_age", "plurality", "gestation_weeks")
RACES = (
    *("White", "Black", "American Indian", "Chinese", "Japanese", "Hawaiian"),
    *("Filipino", "Asian Indian", "Korean", "Samoan", "Vietnamese"),
)
SCHEMA = {
    WEIGHT: pl.Float32,
    "is_male": pl.String,
    "mother_age": pl.Float32,
    "mother_race": pl.String,
    "plurality": pl.Float32,
    "gestation_weeks": pl.Float32,
    "mother_married": pl.String,
    "cigarette_use": pl.String,
    "alcohol_use": pl.String,
    KEY: pl.String,
}


def truth(column: str) -> pl.Expr:
    """The column's code. Two comparisons take a third less time than `replace_strict`."""
    code = (pl.col(column) == "False").cast(pl.UInt8) + 2 * (pl.col(column) == "True").cast(pl.UInt8)
    return code.fill_null(0).alias(column)


def main() -> None:
    """Write one Arrow file: weight, codes, and the split by the key's hash."""
    source, folder = map(Path, sys.argv[1:])
    folder.mkdir()
    # Numbers are read as such, null where they are none: text to be cast would take twice the time.
    births = pl.scan_csv(source, schema=SCHEMA, ignore_errors=True)
    share = pl.col(KEY).hash(seed=1) % 1000
    columns = births.filter(pl.col(WEIGHT) > 0, *(pl.col(c) >= 1 for c in NUMBERS)).select(
        pl.col(WEIGHT),
        *(pl.col(c).clip(0, 255).cast(pl.UInt8) for c in NUMBERS),
        pl.col("mother_race").replace_strict(
            {race: code for code, race in enumerate(RACES, 1)}, default=0, return_dtype=pl.UInt8
        ),
        *(truth(c) for c in ("is_male", "mother_married", "cigarette_use", "alcohol_use")),
        split=(share < 200).cast(pl.UInt8) + (share < 100).cast(pl.UInt8),
    )
    # Not Parquet: its encoding takes a fifth of the time, and ours has none.
    columns.sink_ipc(folder / "births.arrow", compression="uncompressed", engine="streaming")
    kept = pl.scan_ipc(folder / "births.arrow").select(pl.len()).collect().item()
    (folder / "count").write_text(str(kept))


if __name__ == "__main__":
    main()
