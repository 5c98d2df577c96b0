"""A block of births: from raw text or values to one byte a feature, and back.

The columns are those of BigQuery's public table `bigquery-public-data.samples.natality` and the order of
its export. Codes and vocabularies are described in data/raw/babyweight/README.md.
"""

import functools
import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stages.babyweight.source.fingerprint import Words

FACTS = Path("data/raw/babyweight/facts.yaml")
"""The published figures that synthetic births follow."""

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


_SPELLINGS = {column: spellings(column) for column in VOCABULARIES}


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
        names: the columns'.
        distinct: the distinct rows, strings of Arrow's: each its fields with commas between them.
        positions: [n], each birth's distinct row.
    """

    names: tuple[str, ...]
    distinct: pa.StringArray
    positions: npt.NDArray[np.integer[Any]]

    def field(self, name: str, birth: int) -> str:
        """A birth's text in one of the columns."""
        return _fields(self.names, self.distinct[self.positions[birth]].as_py())[self.names.index(name)]


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
    """[n], positions in the block."""
    dropped: dict[str, int]
    """Rows by reason."""
    bad: list[Bad]


_FINE, _GONE, _NOT_POSITIVE, _NO_NUMBER, _TOO_HEAVY = range(5)
_REASONS = ("", "missing", "not_positive", "no_number", "too_heavy")


def _number(text: str) -> tuple[float, int]:
    if text.lower() in _MISSING:
        return 0.0, _GONE
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(number):
        return 0.0, _NO_NUMBER
    return number, _FINE if number > 0 else _NOT_POSITIVE


def _weight(text: str) -> tuple[float, int]:
    pounds, why = _number(text)
    if pounds > HEAVIEST:
        why = _TOO_HEAVY
    return (pounds, why) if why == _FINE else (0.0, why)  # others may be too large for a float32


def _whole(text: str) -> tuple[int, int]:
    number, why = _number(text)
    if why == _FINE and number < 1:  # less than one completed year or week, or baby
        why = _NOT_POSITIVE
    return int(max(0.0, min(number, float(MOST)))), why


_MEANING = np.dtype([("codes", "<u8"), ("pounds", "<f4"), ("flaws", "<u2"), ("", "V2")])
"""What a row of some columns means: a byte for each feature, the first lowest, so that those of several columns
come together by `|`; the weight, 0 without that column; and `_FLAW_BITS` for each of `REQUIRED`, the first lowest."""

_PACKED_MEANING = struct.Struct("<QfH2x")
"""The same, for one row."""

_FLAW_BITS = 3


def _fields(names: tuple[str, ...], row: str) -> list[str]:
    return row.split(",", len(names) - 1)


@functools.cache
def _reader(names: tuple[str, ...]) -> Callable[[str], bytes]:
    """A function from a row of these columns to its `_MEANING`."""

    @functools.lru_cache(1 << 16)  # a block has many rows of the one before
    def read(row: str) -> bytes:
        codes, pounds, flaws = 0, 0.0, 0
        for name, field in zip(names, _fields(names, row), strict=True):
            text, code, flaw = field.strip(), 0, _FINE
            if name == WEIGHT:
                pounds, flaw = _weight(text)
            elif name in REQUIRED:
                code, flaw = _whole(text)
            else:
                code = _SPELLINGS[name].get(text, 0)
            if name in FEATURES:
                codes |= code << 8 * FEATURES.index(name)
            if name in REQUIRED:
                flaws |= flaw << _FLAW_BITS * REQUIRED.index(name)
        return _PACKED_MEANING.pack(codes, pounds, flaws)

    return read


def _meanings(part: Columns) -> npt.NDArray[np.void]:
    """What each distinct row means."""
    if part.names == (WEIGHT,) and (pounds := _plain_weights(part.distinct)) is not None:
        meanings = np.zeros(len(pounds), _MEANING)
        meanings["pounds"] = pounds
        return meanings
    return np.frombuffer(b"".join(map(_reader(part.names), part.distinct.to_pylist())), _MEANING)


def _plain_weights(texts: pa.StringArray) -> npt.NDArray[np.float64] | None:
    """The weights, thousands in a block, at once; None if one of them needs a closer look."""
    try:
        pounds: npt.NDArray[np.float64] = pc.cast(texts, pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    return pounds if ((pounds > 0) & (pounds <= HEAVIEST)).all() else None


def encode(parts: Sequence[Columns], fingerprints: Words, validation_share: float, test_share: float) -> Births:
    """Clean, encode and split a block of births. Pure: rows depend on nothing but themselves.

    What a value means is found out once for each distinct row, however many births have it.

    Args:
        parts: the columns `REQUIRED`, and those of `VOCABULARIES` that are known, in any division.
        fingerprints: [n], of the births' keys.
        validation_share: of all keys, the share that goes to validation.
        test_share: the share that goes to test.
    """
    codes, pounds = np.zeros(len(fingerprints), "<u8"), np.zeros(len(fingerprints), np.float32)
    flaws = np.zeros(len(fingerprints), np.uint16)
    for part in parts:
        meanings = _meanings(part)
        codes |= meanings["codes"][part.positions]
        if WEIGHT in part.names:
            pounds = meanings["pounds"][part.positions]
        if meanings["flaws"].any():
            flaws |= meanings["flaws"][part.positions]

    flawed, rows = np.flatnonzero(flaws), np.flatnonzero(flaws == 0)
    if len(flawed):
        codes, pounds, fingerprints = codes[rows], pounds[rows], fingerprints[rows]
    share = (fingerprints >> np.uint64(11)) * 2.0**-53
    split = (share < test_share + validation_share).astype(np.uint8) + (share < test_share)
    features = codes.view(np.uint8).reshape(-1, len(FEATURES))
    return Births(features, pounds, split, rows, *_explain(flawed, flaws[flawed], parts))


def _explain(
    flawed: npt.NDArray[np.int64], flaws: npt.NDArray[np.uint16], parts: Sequence[Columns]
) -> tuple[dict[str, int], list[Bad]]:
    """Why rows are no births: how many are dropped, by reason, and those that cannot be read."""
    shifts = _FLAW_BITS * np.arange(len(REQUIRED))[:, None]
    found = flaws >> shifts & ((1 << _FLAW_BITS) - 1)
    worst = np.where((found > _NOT_POSITIVE).any(axis=0), found.argmax(axis=0), (found > 0).argmax(axis=0))
    why = found[worst, np.arange(len(flawed))]
    dropped = {
        f"{column}_{_REASONS[reason]}": int(np.count_nonzero((worst == i) & (why == reason)))
        for i, column in enumerate(REQUIRED)
        for reason in (_GONE, _NOT_POSITIVE)
    }
    part_of = {name: part for part in parts for name in part.names}
    bad = []
    for i in np.flatnonzero(why > _NOT_POSITIVE):
        row, column = int(flawed[i]), REQUIRED[worst[i]]
        bad.append(Bad(row, f"{column}_{_REASONS[why[i]]}", part_of[column].field(column, row)))
    return dropped, bad


def decode(features: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    """Encoded features [n, 8] as the signature's inputs: each [n], words (object) or numbers (float32)."""
    return {
        column: codes.astype(np.float32) if column in NUMBERS else np.array(VOCABULARIES[column], object)[codes]
        for column, codes in zip(FEATURES, features.T, strict=True)
    }
