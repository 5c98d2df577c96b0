"""What becomes of a source's rows: the metrics of the preparation, and the limits that they must keep."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from stages.babyweight.params import Prepare
from stages.babyweight.source.births import SPLITS, VOCABULARIES
from stages.babyweight.source.encode import Encoded
from stages.core.errors import InputError

_QUOTED_ROWS = 5
_QUOTED_WORDS = 5
_QUOTED_CHARACTERS = 60
_DISTINCT_WORDS = 1000
"""Unknown words of a column that are counted one by one: the first ones. It bounds memory."""


def _quote(text: str) -> str:
    return repr(text if len(text) <= _QUOTED_CHARACTERS else text[:_QUOTED_CHARACTERS] + "…")


@dataclass
class Counts:
    """Counts of rows."""

    rows: int = 0
    kept: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    dropped: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    first_bad: list[str] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VOCABULARIES, 0))
    unknown_words: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in VOCABULARIES})
    absent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VOCABULARIES, 0))

    def add(self, block: Encoded) -> None:
        """Count a block's rows; quote the first that cannot be read."""
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
        for column, words in block.unknown_words.items():
            self.unknown[column] += sum(words.values())
            counter = self.unknown_words[column]
            for word, count in words.items():
                if word in counter or len(counter) < _DISTINCT_WORDS:
                    counter[word] += count

    def _commonest(self, column: str) -> list[str]:
        return [f"{_quote(word)} ({count})" for word, count in self.unknown_words[column].most_common(_QUOTED_WORDS)]

    def check(self, limits: Prepare) -> None:
        """Check the limits of bad rows and unknown words, and that every split has a birth.

        Raises:
            InputError: if a limit is exceeded, or a split is empty.
        """
        source = limits.source.path if limits.source.kind == "files" else "synthetic births"
        bad, kept = self.bad.total(), sum(self.kept.values())
        if bad > limits.max_bad_share * self.rows:
            raise InputError(
                f"{source}: {bad} of {self.rows} rows cannot be read, more than babyweight.prepare.max_bad_share "
                f"({limits.max_bad_share}) allows; the first: {'; '.join(self.first_bad)}"
            )
        for column, unknown in self.unknown.items():
            if unknown > limits.max_unknown_share * kept:
                raise InputError(
                    f"{source}: {column}: {unknown} of {kept} births have unknown words, more than babyweight.prepare."
                    f"max_unknown_share ({limits.max_unknown_share}) allows; "
                    f"the commonest: {', '.join(self._commonest(column))}; "
                    f"expected {', '.join(VOCABULARIES[column])}, or a spelling in data/raw/babyweight/README.md"
                )
        for split, count in self.kept.items():
            if not count:
                dropped = "".join(f"; {reason}: {n}" for reason, n in self.dropped.items() if n)
                raise InputError(
                    f"{source}: no birth for {split} among {self.rows} rows{dropped}; "
                    f"expected at least one: see babyweight.prepare"
                )

    def metrics(self, kind: str) -> dict[str, Any]:
        """The counts as JSON values."""
        kept, dropped, bad = sum(self.kept.values()), self.dropped.total(), self.bad.total()
        return {
            "source": kind,
            "rows": {"read": self.rows, "kept": kept, "dropped": dropped, "bad": bad},
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "bad": dict(self.bad),
            "first_bad": self.first_bad,
            "absent_columns": self.absent,
            "unknown_words": self.unknown,
            "commonest_unknown_words": {
                column: self._commonest(column) for column, unknown in self.unknown.items() if unknown
            },
        }
