"""A block of births: from raw text or values to one byte a feature, and back.

The columns are those of BigQuery's public table `bigquery-public-data.samples.natality` and the order of
its export. Codes and vocabularies are described in data/raw/babyweight/README.md.
"""

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from stages.babyweight.siphash import hash_strings

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
class Columns:
    """Some columns of a block: the few distinct rows that they have, and which of them each birth has.

    Attributes:
        distinct: by column, a value for each distinct row: text, or values that read as such.
        positions: [n], each birth's distinct row.
    """

    distinct: Mapping[str, Sequence[Any]]
    positions: npt.NDArray[np.integer[Any]]


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


@functools.lru_cache(1 << 16, typed=True)
def _whole(value: Any) -> tuple[float, int]:
    number, why = _number(value)
    if why == _FINE and number < 1:  # less than one completed year or week, or baby
        why = _NOT_POSITIVE
    return max(0.0, min(number, float(MOST))) // 1, why


def _distinct(column: pd.Series) -> Columns:
    """A column's distinct values: there are few, whether text or numbers.

    They end in "", where NaN and None, of position -1, find it.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        positions, values = column.cat.codes.to_numpy(), column.cat.categories
    else:
        positions, values = pd.factorize(column)
    return Columns({str(column.name): [*values, ""]}, positions)


def columns_of(frame: pd.DataFrame) -> list[Columns]:
    """A frame's columns of births, each for itself, without the key."""
    return [_distinct(frame[column]) for column in COLUMNS if column != KEY and column in frame]


def keys_of(frame: pd.DataFrame) -> pa.Array:
    """A frame's keys as strings. [n]."""
    return pc.fill_null(pa.array(frame[KEY].astype(str), pa.large_string()), "nan")


_CODES = np.dtype("u8")
"""The codes of a birth's eight features in one number, so that columns are brought together by `|`."""


@dataclass(frozen=True)
class _Meaning:
    """What the distinct rows of some columns mean: [d] each, `status` and what it is made of by column."""

    codes: npt.NDArray[np.uint64]
    pounds: npt.NDArray[np.float32] | None
    status: dict[str, npt.NDArray[np.uint8]]


def _mean(distinct: Mapping[str, Sequence[Any]]) -> _Meaning:
    features = np.zeros((len(next(iter(distinct.values()))), len(FEATURES)), np.uint8)
    pounds, all_status = None, {}
    for column, values in distinct.items():
        if column not in REQUIRED:
            codes = spellings(column)
            features[:, FEATURES.index(column)] = [codes.get(str(value).strip(), 0) for value in values]
            continue
        translated = map(_weight if column == WEIGHT else _whole, values)
        numbers, status = zip(*translated, strict=True) if values else ((), ())
        all_status[column] = np.array(status, np.uint8)
        if column == WEIGHT:
            pounds = np.array(numbers, np.float32)
        else:
            features[:, FEATURES.index(column)] = numbers
    return _Meaning(features.view(_CODES)[:, 0], pounds, all_status)


def encode(parts: Iterable[Columns], keys: pa.Array, validation_share: float, test_share: float) -> Births:
    """Clean, encode and split a block of births. Pure: rows depend on nothing but themselves.

    What a value means is found out once for each distinct row, however many births have it.

    Args:
        parts: the columns `REQUIRED`, and those of `VOCABULARIES` that are known, in any division.
        keys: [n], of type string or large_string.
        validation_share: of all keys, the share that goes to validation.
        test_share: the share that goes to test.
    """
    codes, is_flawed = np.zeros(len(keys), _CODES), np.zeros(len(keys), bool)
    status: dict[str, tuple[Columns, npt.NDArray[np.uint8]]] = {}
    pounds = np.zeros(len(keys), np.float32)
    for part in parts:
        meaning = _mean(part.distinct)
        codes |= meaning.codes[part.positions]
        if meaning.pounds is not None:
            pounds = meaning.pounds[part.positions]
        for column, found in meaning.status.items():
            status[column] = part, found
            if found.any():
                is_flawed |= (found > _FINE)[part.positions]

    flawed, rows = np.flatnonzero(is_flawed), np.flatnonzero(~is_flawed)
    if len(flawed):
        codes, pounds, keys = codes[rows], pounds[rows], keys.take(pa.array(rows))
    share = _share(keys)
    split = (share < test_share + validation_share).astype(np.uint8) + (share < test_share)
    features = codes.view(np.uint8).reshape(-1, len(FEATURES))
    return Births(features, pounds, split, rows, *_explain(flawed, status))


def _share(keys: pa.Array) -> npt.NDArray[np.float64]:
    """A share in [0, 1) that depends on the key's UTF-8 bytes alone: the upper 53 bits of its hash. [n]."""
    return np.asarray((hash_strings(keys) >> np.uint64(11)) * 2.0**-53)


def _explain(
    flawed: npt.NDArray[np.int64], status: Mapping[str, tuple[Columns, npt.NDArray[np.uint8]]]
) -> tuple[dict[str, int], list[Bad]]:
    """Why rows are no births: how many are dropped, by reason, and those that cannot be read."""
    found = np.stack([of[part.positions[flawed]] for part, of in map(status.__getitem__, REQUIRED)])
    worst = np.where((found > _NOT_POSITIVE).any(axis=0), found.argmax(axis=0), (found > 0).argmax(axis=0))
    why = found[worst, np.arange(len(flawed))]
    dropped = {
        f"{column}_{_REASONS[reason]}": int(np.count_nonzero((worst == i) & (why == reason)))
        for i, column in enumerate(REQUIRED)
        for reason in (_GONE, _NOT_POSITIVE)
    }
    bad = []
    for i in np.flatnonzero(why > _NOT_POSITIVE):
        column = REQUIRED[worst[i]]
        part, _ = status[column]
        text = str(part.distinct[column][part.positions[flawed[i]]])
        bad.append(Bad(int(flawed[i]), f"{column}_{_REASONS[why[i]]}", text))
    return dropped, bad


def decode(features: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    """Encoded features [n, 8] as the signature's inputs: each [n], words (object) or numbers (float32)."""
    return {
        column: codes.astype(np.float32) if column in NUMBERS else np.array(VOCABULARIES[column], object)[codes]
        for column, codes in zip(FEATURES, features.T, strict=True)
    }
