"""Births from CSV to columns with Polars' streaming engine. Needs nothing but Polars.

python prepare_polars.py BIRTHS.csv FOLDER
"""

import sys
from pathlib import Path

import polars as pl

TRUTH = {"False": 1, "True": 2}
RACES = (
    *("White", "Black", "American Indian", "Chinese", "Japanese", "Hawaiian"),
    *("Filipino", "Asian Indian", "Korean", "Samoan", "Vietnamese"),
)
NUMBERS = ("mother_age", "plurality", "gestation_weeks")


def number(column: str) -> pl.Expr:
    """The column as a number, null where it is none."""
    return pl.col(column).cast(pl.Float32, strict=False)


def main() -> None:
    """Write one Parquet file: weight, codes, and the split by the key's hash."""
    source, folder = map(Path, sys.argv[1:])
    folder.mkdir()
    births = pl.scan_csv(source, infer_schema=False)
    share = pl.col("key").hash(seed=1) % 1000
    columns = births.filter(number("weight_pounds") > 0, *(number(c) >= 1 for c in NUMBERS)).select(
        number("weight_pounds"),
        *(number(c).clip(0, 255).cast(pl.UInt8) for c in NUMBERS),
        pl.col("mother_race").replace_strict(
            {race: code for code, race in enumerate(RACES, 1)}, default=0, return_dtype=pl.UInt8
        ),
        *(
            pl.col(c).replace_strict(TRUTH, default=0, return_dtype=pl.UInt8)
            for c in ("is_male", "mother_married", "cigarette_use", "alcohol_use")
        ),
        split=(share < 200).cast(pl.UInt8) + (share < 100).cast(pl.UInt8),
    )
    columns.sink_parquet(folder / "births.parquet", compression="uncompressed", engine="streaming")
    kept = pl.scan_parquet(folder / "births.parquet").select(pl.len()).collect().item()
    (folder / "count").write_text(str(kept))


if __name__ == "__main__":
    main()
