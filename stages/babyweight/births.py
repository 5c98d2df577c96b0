"""A block of births: from raw text or values to one byte a feature, and back.

The columns are those of BigQuery's public table `bigquery-public-data.samples.natality` and the order of
its export. Codes and vocabularies are described in data/raw/babyweight/README.md.
"""

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

WEIGHT = "weight_pounds"
KEY = "key"
COLUMNS = (
    WEIGHT,
    "is_male",
    "mother_age",
    "mother_race",
    "plurality",
    "gestation_weeks",
    "mother_married",
    "cigarette_use",
    "alcohol_use",
    KEY,
)
"""The raw columns, in the order of a file without a header."""

FEATURES = COLUMNS[1:-1]
"""The columns of the encoded features."""

NUMBERS = ("mother_age", "plurality", "gestation_weeks")
REQUIRED = (WEIGHT, *NUMBERS)
"""Without these a row, and so a file, is of no use; the others may be missing."""

_TRUTH = ("False", "True")
VOCABULARIES: dict[str, tuple[str, ...]] = {
    "is_male": ("Unknown", *_TRUTH),
    "mother_race": (
        "Unknown",
        "White",
        "Black",
        "American Indian",
        "Chinese",
        "Japanese",
        "Hawaiian",
        "Filipino",
        "Asian Indian",
        "Korean",
        "Samoan",
        "Vietnamese",
    ),
    "mother_married": ("Unknown", *_TRUTH),
    "cigarette_use": ("None", *_TRUTH),
    "alcohol_use": ("None", *_TRUTH),
}
"""Each category's words by code; the first stands for every word that is not among them."""

_RACE_CODES = {
    1: "White",
    2: "Black",
    3: "American Indian",
    4: "Chinese",
    5: "Japanese",
    6: "Hawaiian",
    7: "Filipino",
    18: "Asian Indian",
    28: "Korean",
    38: "Samoan",
    48: "Vietnamese",
}

UNITS = {
    WEIGHT: "pounds",
    "mother_age": "completed years",
    "plurality": "babies",
    "gestation_weeks": "completed weeks",
}

SPLITS = ("train", "validation", "test")

MOST = 255
"""The largest code: of a number, it stands for 255 and all above."""

HEAVIEST = 50.0
"""Pounds; more is another unit or a mistake. The heaviest newborn on record weighed 22 lb."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MISSING = {"", "na", "nan", "none", "null", r"\n"}


def spellings(column: str) -> dict[str, int]:
    """Every accepted spelling of a category's words, and its code."""
    codes = {word: code for code, word in enumerate(VOCABULARIES[column])}
    if column == "mother_race":
        codes["Samaon"] = codes["Samoan"]  # the spelling of the first public material
        codes |= {str(number): codes[word] for number, word in _RACE_CODES.items()}
    else:
        codes |= {variant: codes[word] for word in _TRUTH for variant in (word.lower(), word.upper())}
    return codes


@dataclass(frozen=True)
class Bad:
    """A row that cannot be read: its position in the block, a word for the reason, and what was found."""

    row: int
    reason: str
    found: str


@dataclass(frozen=True)
class Births:
    """The births of a block that are kept, in their order, and what became of the others."""

    features: npt.NDArray[np.uint8]
    """[n, 8], columns as in `FEATURES`."""
    weight_pounds: npt.NDArray[np.float32]
    """[n]."""
    split: npt.NDArray[np.uint8]
    """[n], index into `SPLITS`."""
    rows: npt.NDArray[np.int64]
    """[n], positions in the block's frame."""
    dropped: dict[str, int]
    """Rows by reason."""
    bad: list[Bad]


_FINE, _GONE, _NOT_POSITIVE, _NO_NUMBER, _TOO_HEAVY = range(5)
_REASONS = ("", "missing", "not_positive", "no_number", "too_heavy")


def _number(value: Any) -> tuple[float, int]:
    text = str(value).strip()
    if text.lower() in _MISSING:
        return 0.0, _GONE
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(number):
        return 0.0, _NO_NUMBER
    return number, _FINE if number > 0 else _NOT_POSITIVE


@functools.lru_cache(1 << 16, typed=True)  # whole grams: the same few thousand in every block
def _weight(value: Any) -> tuple[float, int]:
    pounds, why = _number(value)
    if pounds > HEAVIEST:
        why = _TOO_HEAVY
    return (pounds, why) if why == _FINE else (0.0, why)  # others may be too large for a float32


def _whole(value: Any) -> tuple[float, int]:
    number, why = _number(value)
    if why == _FINE and number < 1:  # less than one completed year or week, or baby
        why = _NOT_POSITIVE
    return max(0.0, min(number, float(MOST))) // 1, why


def _distinct(column: pd.Series) -> tuple[npt.NDArray[np.integer[Any]], list[Any]]:
    """Each row's position in the list of values to translate: there are few, whether text or numbers.

    The list ends in "", where NaN and None, of position -1, find it.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), [*column.cat.categories.tolist(), ""]
    positions, distinct = pd.factorize(column)
    return positions, [*distinct, ""]


def _numbers(
    column: pd.Series, translate: Callable[[Any], tuple[float, int]], dtype: type[np.generic]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    positions, distinct = _distinct(column)
    values, status = zip(*map(translate, distinct), strict=True)
    return np.array(values, dtype)[positions], np.array(status, np.uint8)[positions]


def _codes(column: pd.Series) -> npt.NDArray[np.uint8]:
    positions, distinct = _distinct(column)
    codes = spellings(str(column.name))
    found: npt.NDArray[np.uint8] = np.array([codes.get(str(word).strip(), 0) for word in distinct], np.uint8)
    return np.asarray(found[positions])


def _hash(keys: pd.Series) -> npt.NDArray[np.floating[Any]]:
    """A share in [0, 1) that depends on the key's UTF-8 bytes alone.

    The upper 53 bits of SipHash-2-4 (Aumasson and Bernstein, 2012) with the key "0123456789123456", mixed by
    SplitMix64's last step (Steele et al., 2014): what pandas does by default, its key kept here.
    """
    values = keys.astype(str).to_numpy(object)
    hashed = pd.util.hash_array(values, "utf8", "0123456789123456", categorize=False)
    return (hashed >> np.uint64(11)) * 2.0**-53


def encode(frame: pd.DataFrame, validation_share: float, test_share: float) -> Births:
    """Clean, encode and split a block of births. Pure: rows depend on nothing but themselves.

    Args:
        frame: raw text or values; the columns `REQUIRED` and `KEY`, and those of `VOCABULARIES` that are known.
        validation_share: of all keys, the share that goes to validation.
        test_share: the share that goes to test.
    """
    numbers = {c: _numbers(frame[c], *((_weight, np.float32) if c == WEIGHT else (_whole, np.uint8))) for c in REQUIRED}
    status = np.stack([numbers[c][1] for c in REQUIRED])
    is_flawed = status.any(axis=0)
    flawed, rows = np.flatnonzero(is_flawed), np.flatnonzero(~is_flawed)
    found = status[:, flawed]
    worst = np.where((found > _NOT_POSITIVE).any(axis=0), found.argmax(axis=0), (found > 0).argmax(axis=0))
    why = found[worst, np.arange(len(flawed))]

    dropped = {
        f"{column}_{_REASONS[reason]}": int(np.count_nonzero((worst == i) & (why == reason)))
        for i, column in enumerate(REQUIRED)
        for reason in (_GONE, _NOT_POSITIVE)
    }
    bad = [
        Bad(int(flawed[i]), f"{column}_{_REASONS[why[i]]}", str(frame[column].iloc[flawed[i]]))
        for i in np.flatnonzero(why > _NOT_POSITIVE)
        for column in [REQUIRED[worst[i]]]
    ]

    kept = rows if len(flawed) else slice(None)
    features = np.zeros((len(rows), len(FEATURES)), np.uint8)
    for i, column in enumerate(FEATURES):
        if column in NUMBERS:
            features[:, i] = numbers[column][0][kept]
        elif column in frame:
            features[:, i] = _codes(frame[column])[kept]
    share = _hash(frame[KEY].iloc[kept])
    split = (share < test_share + validation_share).astype(np.uint8) + (share < test_share)
    return Births(features, numbers[WEIGHT][0][kept], split, rows, dropped, bad)


def decode(features: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    """Encoded features [n, 8] as the signature's inputs: each [n], words (object) or numbers (float32)."""
    return {
        column: codes.astype(np.float32) if column in NUMBERS else np.array(VOCABULARIES[column], object)[codes]
        for column, codes in zip(FEATURES, features.T, strict=True)
    }
