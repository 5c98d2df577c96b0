"""Births from CSV to columns with plain pandas, all at once.

python prepare_pandas.py BIRTHS.csv FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

TRUTH = ("False", "True")
RACES = (
    *("White", "Black", "American Indian", "Chinese", "Japanese", "Hawaiian"),
    *("Filipino", "Asian Indian", "Korean", "Samoan", "Vietnamese"),
)
NUMBERS = ("mother_age", "plurality", "gestation_weeks")
CATEGORIES = {"mother_race": RACES} | dict.fromkeys(
    ("is_male", "mother_married", "cigarette_use", "alcohol_use"), TRUTH
)


def main() -> None:
    """Write two arrays a split: codes and weights, split by the key's hash."""
    source, folder = map(Path, sys.argv[1:])
    folder.mkdir()
    births = pd.read_csv(source, dtype=dict.fromkeys(CATEGORIES, "str"), keep_default_na=False)
    for column in ("weight_pounds", *NUMBERS):
        births[column] = pd.to_numeric(births[column], errors="coerce")
    births = births[(births.weight_pounds > 0) & (births[list(NUMBERS)] >= 1).all(axis=1)]
    codes = [births[c].clip(0, 255).astype(np.uint8) for c in NUMBERS]
    codes += [
        births[c].map({word: code for code, word in enumerate(words, 1)}).fillna(0).astype(np.uint8)
        for c, words in CATEGORIES.items()
    ]
    features, weights = np.stack(codes, axis=1), births.weight_pounds.to_numpy(np.float32)
    share = pd.util.hash_pandas_object(births.key, index=False, categorize=False).to_numpy() % 1000
    split = (share < 200).astype(np.uint8) + (share < 100)
    for number in range(3):
        np.save(folder / f"features-{number}.npy", features[split == number])
        np.save(folder / f"weights-{number}.npy", weights[split == number])
    (folder / "count").write_text(str(len(births)))


if __name__ == "__main__":
    main()
