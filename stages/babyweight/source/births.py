"""The format of births: the raw columns, the spellings of their values, and the code of each feature.

The columns are those of BigQuery's public table `bigquery-public-data.samples.natality`. Columns, spellings and
codes are documented in data/raw/babyweight/README.md.
"""

import functools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FACTS = Path(__file__).with_name("facts.yaml")
"""The published figures that synthetic births follow."""

WEIGHT = "weight_pounds"
WEEKS = "gestation_weeks"
SMOKING = "cigarette_use"
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
"""The raw columns, in the order of a CSV file without a header."""

FEATURES = COLUMNS[1:-1]
"""The columns of the encoded features."""

NUMBERS = ("mother_age", "plurality", "gestation_weeks")
REQUIRED = (WEIGHT, *NUMBERS)
"""Columns that every file and every birth must have."""

SPLITS = ("train", "validation", "test")

UNITS = {
    WEIGHT: "pounds",
    "mother_age": "completed years",
    "plurality": "babies",
    "gestation_weeks": "completed weeks",
}

UNKNOWN_WEEKS = 99
"""What the table has for weeks that are not known."""

MOST = {"mother_age": 75, "plurality": 9, WEEKS: 52}
"""The largest number of each column. Larger ones are in another unit, or mistakes, but for `UNKNOWN_WEEKS`."""

MAX_POUNDS = 50.0
"""A larger weight is in another unit, or a mistake. The heaviest newborn on record weighed 22 lb."""

_RACES = {
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
"""Races by the table's number."""
_OTHER_RACES = ("8", "9", "58", "68", "78")
"""The table's numbers for other races."""

_TRUTH = ("False", "True")
VOCABULARIES: dict[str, tuple[str, ...]] = {
    "is_male": ("Unknown", *_TRUTH),
    "mother_race": ("Unknown", *_RACES.values()),
    "mother_married": ("Unknown", *_TRUTH),
    "cigarette_use": ("None", *_TRUTH),
    "alcohol_use": ("None", *_TRUTH),
}
"""Each category's words by code; code 0 also stands for words that are not in the vocabulary."""

_MISSING = {"", "#n/a", "-nan", "<na>", "n/a", "na", "nan", "none", "null", "unknown", r"\n"}
_FALSE = ("false", "f", "no", "n", "0")
_TRUE = ("true", "t", "yes", "y", "1")
_MULTIPLES = {"single": 1, "singleton": 1, "twin": 2, "twins": 2, "triplet": 3, "triplets": 3, "quadruplets": 4}
_MULTIPLES |= {"quintuplets": 5, "multiple": 2}
_MULTIPLE = re.compile(rf"({'|'.join(_MULTIPLES)})(?: ?\(([1-5])\+?\))?")
"""Plurality in words, as in `Twins(2)`. `Multiple(2+)` is two or more."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def spellings(column: str) -> dict[str, int]:
    """Every spelling of a category that the exported model accepts, and its code."""
    codes = {word: code for code, word in enumerate(VOCABULARIES[column])}
    if column == "mother_race":
        codes["Samaon"] = codes["Samoan"]  # the spelling of the first public material
        codes |= {str(number): codes[word] for number, word in _RACES.items()}
    else:
        codes |= {variant: codes[word] for word in _TRUTH for variant in (word.lower(), word.upper())}
    return codes


def _normalized(word: str) -> str:
    """A word without case, decoration or decimals: `Asian_Indian` is `asian indian`, `28.0` is `28`."""
    if _NUMBER.fullmatch(word) and float(word).is_integer():
        return str(int(float(word)))
    return " ".join(word.casefold().replace("_", " ").split())


@functools.cache
def _raw_spellings(column: str) -> dict[str, int]:
    """Every normalized spelling of a category that raw data may have, and its code."""
    codes = {_normalized(word): code for word, code in spellings(column).items()}
    codes |= dict.fromkeys(_MISSING, 0)
    if column == "mother_race":
        return codes | dict.fromkeys(_OTHER_RACES, 0) | {"39": codes["samoan"]}  # 39 is BigQuery's
    codes |= dict.fromkeys(_FALSE, codes["false"]) | dict.fromkeys(_TRUE, codes["true"])
    if column == SMOKING:
        codes["99"] = 0  # of counts of cigarettes: not stated
    if column == "is_male":
        codes |= dict.fromkeys(("female", "f"), codes["false"]) | dict.fromkeys(("male", "m"), codes["true"])
    return codes


def cigarettes(text: str) -> int | None:
    """A number of cigarettes, as other tables have it in place of truth; None if the text is no whole number."""
    word = _normalized(text.strip())
    return int(word) if word.isdecimal() and word.isascii() else None


def word_code(column: str, text: str) -> int | None:
    """The code of a category's raw text; None if the word is unknown."""
    return _raw_spellings(column).get(_normalized(text.strip()))


MISSING, NOT_POSITIVE, NO_NUMBER, TOO_HEAVY, TOO_LARGE, UNKNOWN_WORD = range(1, 7)
"""Flaws of a value; 0 is none. The first two drop a row, the next three make it bad, the last counts as missing."""
FLAW_NAMES = ("", "missing", "not_positive", "no_number", "too_heavy", "too_large")


def _number(text: str) -> tuple[float, int]:
    if text.lower() in _MISSING:
        return 0.0, MISSING
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(number):
        return 0.0, NO_NUMBER
    return number, 0 if number > 0 else NOT_POSITIVE


@functools.lru_cache(1 << 14)  # blocks of a file have most values in common
def weight(text: str) -> tuple[float, int]:
    """A weight in pounds, and its flaw."""
    pounds, flaw = _number(text.strip())
    if pounds > MAX_POUNDS:
        flaw = TOO_HEAVY
    return (0.0 if flaw else pounds), flaw  # a flawed weight may overflow float32


@functools.lru_cache(1 << 12)
def number_code(column: str, text: str) -> tuple[int, int]:
    """The code of a number, the whole part of it, and its flaw."""
    text = text.strip()
    if column == "plurality" and (match := _MULTIPLE.fullmatch(text.lower())):
        babies = _MULTIPLES[match[1]]
        return (babies, 0) if match[2] in {None, str(babies)} else (0, NO_NUMBER)
    number, flaw = _number(text)
    code = int(number)  # completed years and weeks
    if not flaw and code < 1:
        flaw = NOT_POSITIVE
    elif not flaw and code > MOST[column] and (column, code) != (WEEKS, UNKNOWN_WEEKS):
        flaw = TOO_LARGE
    return (0 if flaw else code), flaw


def interpret(column: str, text: str) -> tuple[float, int]:
    """What a raw text stands for, a weight in pounds or a code, and its flaw."""
    if column == WEIGHT:
        return weight(text)
    if column in NUMBERS:
        return number_code(column, text)
    code = word_code(column, text)
    return (0, UNKNOWN_WORD) if code is None else (code, 0)


def decode(features: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    """Encoded features [n, 8] as the signature's inputs: each [n], words (object) or numbers (float32)."""
    return {
        column: codes.astype(np.float32) if column in NUMBERS else np.array(VOCABULARIES[column], object)[codes]
        for column, codes in zip(FEATURES, features.T, strict=True)
    }
