"""What becomes of a source's rows: the metrics of the preparation, and the limits that they must keep."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.babyweight.params import Prepare
from stages.babyweight.source import plausible
from stages.babyweight.source.births import KEY, MAX_POUNDS, MOST, SMOKING, SPLITS, UNITS, VOCABULARIES, WEIGHT
from stages.babyweight.source.distributions import BIN, POUNDS_OF_2500_G, Distributions
from stages.babyweight.source.encode import Encoded
from stages.core.disclosure import FEWEST, few, told_counts
from stages.core.errors import InputError

_QUOTED_ROWS = 5
_QUOTED_WORDS = 5
_QUOTED_CHARACTERS = 60
_DISTINCT_WORDS = 1000
"""Unknown words of a column that are counted one by one: the first ones. It bounds memory."""


_HEAVY_WEIGHTS = 1000
"""Weights that are too heavy, to be kept: the first ones."""
_TOO_HEAVY = f"{WEIGHT}_too_heavy"

UnknownWords = dict[str, Counter[str]]


def _no_words() -> UnknownWords:
    return {name: Counter() for name in VOCABULARIES}


def _count_words(counters: UnknownWords, words_of: dict[str, dict[str, int]]) -> None:
    for column, words in words_of.items():
        counter = counters[column]
        for word, count in words.items():
            if word in counter or len(counter) < _DISTINCT_WORDS:
                counter[word] += count


def _quote(text: str) -> str:
    return repr(text if len(text) <= _QUOTED_CHARACTERS else text[:_QUOTED_CHARACTERS] + "…")


def _joined(reasons: Mapping[str, int]) -> dict[str, int]:
    """Rows by reason, those of reasons that few rows have together."""
    found = {reason: count for reason, count in reasons.items() if not few(count)}
    rest = sum(reasons.values()) - sum(found.values())
    return found | ({"other": rest} if rest else {})


def _without_few(distributions: dict[str, Any], births: int) -> dict[str, Any]:
    """What may be told of people: no value of few births, and no figure from which one follows."""
    values, weights = distributions["values"], distributions["weights"]
    told = {"values": {name: told_counts(counts) for name, counts in values.items()}}
    bins = told_counts(weights["bins"])
    middle = POUNDS_OF_2500_G // BIN * BIN  # the bin that has births on either side of 2,500 g
    below = weights["below_2500_g"]
    beside = (
        below - sum(count for pounds, count in bins.items() if float(pounds) < middle),
        births - below - sum(count for pounds, count in bins.items() if float(pounds) > middle),
    )
    hidden = {"below_2500_g"} if any(map(few, (below, births - below, *beside))) else set()
    if told["values"]["is_male"] != values["is_male"]:
        hidden |= {"mean_of_boys", "mean_of_girls"}
    return told | {"weights": {**weights, "bins": bins, **dict.fromkeys(hidden)}}


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()) if count)


@dataclass
class _File:
    """The answers in a file, of which blocks follow each other."""

    name: str = ""
    values: npt.NDArray[np.int64] = field(default_factory=lambda: Distributions.empty().values)
    unknown_words: UnknownWords = field(default_factory=_no_words)
    smoking: frozenset[str] = frozenset()

    def add(self, block: Encoded) -> None:
        self.values += block.distributions.values
        _count_words(self.unknown_words, block.unknown_words)
        self.smoking |= block.smoking

    def problem(self) -> str | None:
        """Why the answers cannot be as they are read."""
        mixed = plausible.mixed_smoking(self.name, self.smoking, self.unknown_words[SMOKING])
        return mixed or plausible.lost_answer(self.name, self.values, self.unknown_words, fewest=plausible.FEWEST)


@dataclass
class Counts:
    """Counts of rows."""

    rows: int = 0
    kept: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    dropped: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    first_bad: list[str] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VOCABULARIES, 0))
    unknown_words: UnknownWords = field(default_factory=_no_words)
    absent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VOCABULARIES, 0))
    with_key: int = 0
    distributions: Distributions = field(default_factory=Distributions.empty)
    heavy: list[float] = field(default_factory=list)
    problem: str | None = None
    _file: _File = field(default_factory=_File, compare=False)

    def add(self, block: Encoded) -> None:
        """Count a block's rows; quote the first that cannot be read."""
        if block.name != self._file.name:
            self.problem = self.problem or self._file.problem()
            self._file = _File(block.name)
        self._file.add(block)
        self.distributions.add(block.distributions)
        self.with_key += block.with_key
        self.rows += block.rows
        kept = [len(weights) for _, weights in block.splits]
        for split, births in zip(SPLITS, kept, strict=True):
            self.kept[split] += births
        for column in block.absent_columns:
            self.absent[column] += sum(kept)
        self.dropped.update(block.dropped)
        self.bad.update(row.reason for row in block.bad_rows)
        for row in block.bad_rows[: _QUOTED_ROWS - len(self.first_bad)]:
            self.first_bad.append(f"{block.name}:{row.line}: {row.reason}: {_quote(row.text)}")
        heavy = (row.text for row in block.bad_rows if row.reason == _TOO_HEAVY)
        self.heavy += map(float, islice(heavy, _HEAVY_WEIGHTS - len(self.heavy)))
        for column, words in block.unknown_words.items():
            self.unknown[column] += sum(words.values())
        _count_words(self.unknown_words, block.unknown_words)

    def _commonest(self, column: str) -> list[str]:
        return [f"{_quote(word)} ({count})" for word, count in self.unknown_words[column].most_common(_QUOTED_WORDS)]

    def quoted(self) -> list[str]:
        """The first bad rows and the commonest unknown words, a line each."""
        words = ((column, ", ".join(self._commonest(column))) for column, unknown in self.unknown.items() if unknown)
        return [f"bad row: {row}" for row in self.first_bad] + [f"unknown words of {c}: {found}" for c, found in words]

    def check(self, limits: Prepare, expected: npt.NDArray[np.float64] | None = None) -> None:
        """Check the limits of bad rows and unknown words, units and answers, and that every split has a birth.

        Args:
            limits: the limits.
            expected: what is published of weights, as `facts.mean_weights` gives it; None to take weights as they are.

        Raises:
            InputError: if a limit is exceeded, a column does not mean what it is called, or a split is empty.
        """
        source = limits.source.path if limits.source.kind == "files" else "synthetic births"
        bad, kept = self.bad.total(), sum(self.kept.values())
        if bad > limits.max_bad_share * self.rows:
            raise InputError(
                f"{source}: {bad} of {self.rows} rows cannot be read, more than babyweight.prepare.max_bad_share "
                f"({limits.max_bad_share}) allows; the first: {'; '.join(self.first_bad)}{self._expected()}"
            )
        if expected is not None and (reason := plausible.wrong_unit(self.distributions, expected)):
            raise InputError(f"{source}: {WEIGHT}: {reason}")
        for column, unknown in self.unknown.items():
            if unknown > limits.max_unknown_share * kept:
                raise InputError(
                    f"{source}: {column}: {unknown} of {kept} births have unknown words, more than babyweight.prepare."
                    f"max_unknown_share ({limits.max_unknown_share}) allows; "
                    f"the commonest: {', '.join(self._commonest(column))}; "
                    f"expected {', '.join(VOCABULARIES[column])}, or a spelling in data/raw/babyweight/README.md"
                )
        lost = plausible.lost_answer(source, self.distributions.values, self.unknown_words)
        if problem := self.problem or self._file.problem() or lost:
            raise InputError(problem)
        for split, count in self.kept.items():
            fewest = FEWEST if limits.source.is_personal else 1
            if count < fewest:
                dropped = "".join(f"; {reason}: {n}" for reason, n in self.dropped.items() if n)
                raise InputError(
                    f"{source}: {count or 'no'} birth{'s' * (count > 1)} for {split} among {self.rows} rows{dropped}; "
                    f"expected at least {fewest if fewest > 1 else 'one'}: see babyweight.prepare"
                )

    def _expected(self) -> str:
        """What was expected of the numbers that are bad, as the end of a message."""
        parts = [
            f"; expected {column} up to {most} {UNITS[column]}"
            for column, most in MOST.items()
            if self.bad[f"{column}_too_large"]
        ]
        if self.heavy:
            parts.append(f"; expected {WEIGHT} up to {MAX_POUNDS:g} pounds{plausible.heavy_weights(self.heavy)}")
        return "".join(parts)

    def summary(self) -> str | None:
        """What a person should know of the rows, in one line; None if all are as they should be."""
        kept = sum(self.kept.values())
        parts = {
            "dropped": _named(self.dropped),
            "bad": _named(self.bad),
            "unknown words": _named(self.unknown),
            "in files without the column": _named(self.absent),
            "without a key": f"{kept - self.with_key:,}" if 0 < self.with_key < kept else "",
        }
        if self.with_key and not any(parts.values()):
            return None
        if not self.with_key:
            parts["in files without the column"] = _named({**self.absent, KEY: kept})
        found = "; ".join(f"{fate}: {counts}" for fate, counts in parts.items() if counts)
        first = f"; the first bad row: {self.first_bad[0]}" if self.first_bad else ""
        return f"kept {kept:,} of {self.rows:,} births; {found}{first}"

    def metrics(self, kind: str, is_personal: bool = False) -> dict[str, Any]:
        """The counts as JSON values; of personal births nothing that tells of few, and nothing quoted."""
        found = self._metrics(kind)
        if not is_personal:
            return found
        no_few = {
            name: {key: None if few(count) else count for key, count in found[name].items()}
            for name in ("absent_columns", "unknown_words")
        }
        return {
            **found,
            **no_few,
            "personal": True,
            "numbers": {name: {"mean": figures["mean"]} for name, figures in found["numbers"].items()},
            "distributions": _without_few(found["distributions"], found["rows"]["kept"]),
            "dropped": _joined(self.dropped),
            "bad": _joined(self.bad),
            "first_bad": [],
            "commonest_unknown_words": {},
        }

    def _metrics(self, kind: str) -> dict[str, Any]:
        kept, dropped, bad = sum(self.kept.values()), self.dropped.total(), self.bad.total()
        return {
            "source": kind,
            "rows": {"read": self.rows, "kept": kept, "dropped": dropped, "bad": bad},
            "kept": self.kept,
            "with_key": self.with_key,
            "numbers": self.distributions.numbers(),
            "distributions": self.distributions.metrics(),
            "dropped": dict(self.dropped),
            "bad": dict(self.bad),
            "first_bad": self.first_bad,
            "absent_columns": self.absent,
            "unknown_words": self.unknown,
            "commonest_unknown_words": {
                column: self._commonest(column) for column, unknown in self.unknown.items() if unknown
            },
        }
