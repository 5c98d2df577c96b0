"""A block of births: from raw values to one byte a feature, split by a hash of the keys."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stages.babyweight.source import arrays
from stages.babyweight.source.births import (
    FEATURES,
    FLAW_NAMES,
    KEY,
    MAX_POUNDS,
    MISSING,
    MOST,
    NOT_POSITIVE,
    NUMBERS,
    REQUIRED,
    SMOKING,
    SPLITS,
    VOCABULARIES,
    WEIGHT,
    cigarettes,
    interpret,
    number_code,
)
from stages.babyweight.source.distributions import Distributions
from stages.babyweight.source.fingerprint import fingerprints

SAMPLE_ROWS = 1000
_SMOKES = VOCABULARIES[SMOKING].index("True")

Features = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read: its line in the file, a word for the reason, and the text at fault."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True)
class Block:
    """Consecutive births of one file, as raw values.

    Attributes:
        name: the file's path below the source.
        rows: the columns of births that the file has, of any type that Arrow casts to text.
        lines: [n], each row's line in the file, from 1.
        bad_rows: the lines that are no row.
    """

    name: str
    rows: pa.RecordBatch
    lines: npt.NDArray[np.int64]
    bad_rows: list[BadRow]

    @classmethod
    def of(
        cls,
        name: str,
        rows: pa.RecordBatch,
        in_folder: Mapping[str, str],
        lines: npt.NDArray[np.int64],
        bad_rows: list[BadRow],
    ) -> "Block":
        """A block with the columns that the folder's name gives."""
        for column, value in in_folder.items():
            rows = rows.append_column(
                column, arrays.text(value).take(arrays.to_arrow(np.zeros(rows.num_rows, np.int8)))
            )
        return cls(name, rows, lines, bad_rows)


BlockTask = Callable[[], Block]
"""What makes a block, on any thread or worker."""


@dataclass(frozen=True)
class Encoded:
    """What becomes of a block.

    Attributes:
        name: the file's path below the source.
        rows: how many rows the block has, bad ones included.
        splits: features uint8 [n, 8] and weights float32 [n] of the births of each split.
        sample: features, weights and keys of the first `SAMPLE_ROWS` births, whatever their split.
        dropped: rows by reason.
        bad_rows: rows that cannot be read.
        unknown_words: for each category, the rows that have each word outside its vocabulary.
        absent_columns: the features that the file lacks.
        with_key: births that have a key of their own.
        distributions: what the births are like.
        smoking: how smoking is answered: with any of `words`, `zeros` and `counts` of cigarettes.
    """

    name: str
    rows: int
    splits: list[tuple[Features, Weights]]
    sample: tuple[Features, Weights, list[str]]
    dropped: dict[str, int]
    bad_rows: list[BadRow]
    unknown_words: dict[str, dict[str, int]]
    absent_columns: list[str]
    with_key: int = 0
    distributions: Distributions = field(default_factory=Distributions.empty)
    smoking: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Column:
    """A column's distinct values: few, whatever the number of rows.

    Attributes:
        values: the distinct values, and maybe more; the last is "" if a row has none.
        indices: [n], each row's value.
    """

    values: pa.Array
    indices: npt.NDArray[np.integer[Any]]

    @classmethod
    def of(cls, array: pa.Array) -> "_Column":
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        values, indices = encoded.dictionary, encoded.indices
        if indices.null_count:
            values = pa.concat_arrays([values.cast(pa.string()), arrays.text("")])
            indices = indices.fill_null(arrays.to_arrow(np.array([len(values) - 1]))[0].cast(indices.type))
        return cls(values, arrays.to_numpy(indices))

    def texts(self) -> Iterator[str]:
        """The distinct values as text."""
        return iter(self.values.cast(pa.string()).to_pylist())

    def occurring(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many of some rows have each of the distinct values."""
        return np.bincount(self.indices[rows], minlength=len(self.values))

    def text(self, row: int) -> str:
        """One row's value as text."""
        return str(self.values[int(self.indices[row])].cast(pa.string()))

    def interpreted(self, name: str) -> tuple[npt.NDArray[np.float64], Features]:
        """The distinct values as weights in pounds or codes of this column, and their flaws."""
        if name == WEIGHT:
            with suppress(pa.ArrowException):  # some are no numbers
                pounds = arrays.to_numpy(self.values.cast(pa.float64()))
                if ((pounds > 0) & (pounds <= MAX_POUNDS)).all():
                    return pounds, np.zeros(len(pounds), np.uint8)
        pairs = (interpret(name, text) for text in self.texts())
        numbers, flaws = np.fromiter(pairs, np.dtype((float, 2)), len(self.values)).T
        return numbers, flaws.astype(np.uint8)


def _small_numbers(array: pa.Array) -> Features | None:
    """Whole numbers from 0 to 255, as nearly all are, which are their own codes; None if others are among them."""
    if not array.null_count and (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        with suppress(pa.ArrowInvalid):
            return arrays.to_numpy(array.cast(pa.uint8()))
    return None


def encode(block: Block, validation_share: float, test_share: float) -> Encoded:
    """Clean, encode and split a block. Pure: a row depends on nothing but itself and its line.

    Each distinct value of a column is interpreted once, however many births have it.

    Args:
        block: the block; it has the columns `REQUIRED`.
        validation_share: share of all keys that goes to validation.
        test_share: share of all keys that goes to test.
    """
    count = block.rows.num_rows
    flaws = np.zeros((len(REQUIRED), count), np.uint8)
    features = np.zeros((count, len(FEATURES)), np.uint8)
    weights = np.zeros(count, np.float32)
    columns: dict[str, _Column] = {}
    unknown: dict[str, Features] = {}  # categories
    for name, array in zip(block.rows.schema.names, block.rows.columns, strict=True):
        if name == KEY:
            continue
        if name in NUMBERS and (codes := _small_numbers(array)) is not None:
            features[:, FEATURES.index(name)] = codes
            if count and (codes.min() < 1 or codes.max() > MOST[name]):
                flaws[REQUIRED.index(name)] = _flaws_of_codes(name)[codes]
            continue
        column = columns[name] = _Column.of(array)
        numbers, flaws_of_values = column.interpreted(name)
        if name == WEIGHT:
            weights = numbers.astype(np.float32).take(column.indices)
        else:
            features[:, FEATURES.index(name)] = numbers.astype(np.uint8).take(column.indices)
        if name not in REQUIRED:
            unknown[name] = flaws_of_values
        elif flaws_of_values.any():
            flaws[REQUIRED.index(name)] = flaws_of_values[column.indices]

    keys, has_key = _keys(block)
    hashes = fingerprints(keys)
    is_flawed = flaws.any(axis=0)
    kept = np.flatnonzero(~is_flawed)
    dropped, bad_rows = _explain(block, columns, flaws, np.flatnonzero(is_flawed))
    smoking = frozenset[str]()
    if SMOKING in columns:
        smoking, is_count = _smoking(columns[SMOKING], unknown[SMOKING], kept)
        if is_count.any():
            unknown[SMOKING] = unknown[SMOKING] * ~is_count
            features[is_count.take(columns[SMOKING].indices), FEATURES.index(SMOKING)] = _SMOKES
    if len(kept) < count:
        features, weights, hashes, has_key = features[kept], weights[kept], hashes[kept], has_key[kept]
    fraction = (hashes >> np.uint64(11)) * 2.0**-53
    split = (fraction < test_share + validation_share).astype(np.uint8) + (fraction < test_share)
    rows_of = [np.flatnonzero(split == number) for number in range(len(SPLITS))]
    first = slice(SAMPLE_ROWS)
    return Encoded(
        name=block.name,
        rows=count + len(block.bad_rows),
        splits=[(features.take(rows, axis=0), weights.take(rows)) for rows in rows_of],
        sample=(features[first].copy(), weights[first].copy(), keys.take(arrays.to_arrow(kept[first])).to_pylist()),
        dropped=dropped,
        bad_rows=sorted(block.bad_rows + bad_rows, key=lambda row: row.line),
        unknown_words={n: _count_words(columns[n], flaws, kept) for n, flaws in unknown.items() if flaws.any()},
        absent_columns=[name for name in FEATURES if name not in block.rows.schema.names],
        with_key=int(np.count_nonzero(has_key)),
        distributions=Distributions.of(features, weights),
        smoking=smoking,
    )


def _keys(block: Block) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """The births' keys, and which are their own: the others are the file's name and the line."""
    keys = pa.nulls(block.rows.num_rows, pa.large_string())
    if KEY in block.rows.schema.names:
        keys = block.rows[KEY].cast(pa.large_string())
    has_key = (np.diff(arrays.edges(keys)) > 0) & arrays.to_numpy(keys.is_valid())
    if not has_key.all():
        name, colon = arrays.text(PurePosixPath(block.name).name)[0], arrays.text(":")[0]
        lines = pc.binary_join_element_wise(name, arrays.to_arrow(block.lines).cast(pa.string()), colon)
        is_own = arrays.to_arrow(has_key.view(np.uint8)).cast(pa.bool_())
        keys = pc.if_else(is_own, keys, lines.cast(pa.large_string()))
    return keys, has_key


@functools.cache
def _flaws_of_codes(name: str) -> Features:
    """The flaw of each whole number from 0 to 255 in a column of numbers. [256]."""
    return np.array([number_code(name, str(code))[1] for code in range(256)], np.uint8)


def _smoking(
    column: _Column, unknown: Features, kept: npt.NDArray[np.int64]
) -> tuple[frozenset[str], npt.NDArray[np.bool_]]:
    """How a block answers whether the mother smokes, and which of the distinct values are counts of cigarettes.

    Numbers above 1 are counts where no word stands beside them. The file's other blocks may have words; that is
    looked at when all are counted.
    """
    kinds: set[str] = set()
    numbers = [cigarettes(text) for text in column.texts()]
    is_count = np.array([number is not None and number > 1 for number in numbers], bool) & (unknown > 0)
    for text, number, births in zip(column.texts(), numbers, column.occurring(kept).tolist(), strict=True):
        if births and number is None and interpret(SMOKING, text) != (0, 0):
            kinds.add("words")
        elif births and number == 0:
            kinds.add("zeros")
    if "words" in kinds:
        is_count[:] = False
    elif (is_count & (column.occurring(kept) > 0)).any():
        kinds.add("counts")
    return frozenset(kinds), is_count


def _explain(
    block: Block, columns: dict[str, _Column], flaws: Features, flawed: npt.NDArray[np.int64]
) -> tuple[dict[str, int], list[BadRow]]:
    """Count the rows that are dropped, by reason, and list those that cannot be read.

    A row counts once: by its worst flaw if that makes it bad, else by its first.
    """
    flaws = flaws[:, flawed]
    is_bad = flaws > NOT_POSITIVE
    column = np.where(is_bad.any(axis=0), flaws.argmax(axis=0), (flaws > 0).argmax(axis=0))
    flaw = flaws[column, np.arange(len(flawed))]
    dropped = {
        f"{name}_{FLAW_NAMES[reason]}": int(np.count_nonzero((column == i) & (flaw == reason)))
        for i, name in enumerate(REQUIRED)
        for reason in (MISSING, NOT_POSITIVE)
    }
    bad_rows = []
    for i in np.flatnonzero(flaw > NOT_POSITIVE):
        row, name = int(flawed[i]), REQUIRED[column[i]]
        reason = f"{name}_{FLAW_NAMES[flaw[i]]}"
        text = columns[name].text(row) if name in columns else str(block.rows[name][row])
        bad_rows.append(BadRow(int(block.lines[row]), reason, text))
    return dropped, bad_rows


def _count_words(column: _Column, is_unknown: Features, kept: npt.NDArray[np.int64]) -> dict[str, int]:
    """How many of the kept rows have each unknown word."""
    counts = np.bincount(column.indices[kept], minlength=len(is_unknown))
    words = Counter[str]()
    for text, count, unknown in zip(column.texts(), counts.tolist(), is_unknown, strict=True):
        if unknown and count:
            words[text.strip()] += count
    return words
