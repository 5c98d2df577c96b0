"""What births are like: how many have each value, and what they weigh.

Sums of whole numbers, so those of blocks add up to the same in any order: weights count in parts of a pound.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.babyweight.source.births import FEATURES, MAX_POUNDS, NUMBERS, UNKNOWN_WEEKS, VOCABULARIES, WEEKS, WEIGHT
from stages.core.files import significant

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BIN = 0.5
"""Pounds of a bin of the histogram of weights."""
POUNDS_OF_2500_G = 5.5116
_PART, _COARSE_PART = 2.0**-20, 2.0**-12
"""Pounds to which weights are rounded, and before they are squared: sums are exact."""
_BINS = int(MAX_POUNDS / BIN) + 1
_CODES = 256
_MALE, _WEEKS, _PLURALITY = (FEATURES.index(name) for name in ("is_male", WEEKS, "plurality"))


@dataclass(eq=False)
class Distributions:
    """Sums over births.

    Attributes:
        values: [8, 256], births by feature and code.
        weights: [101], births by bin of their weight.
        below_2500_g: births that weigh less.
        least, most: the range of weights, in pounds.
        square: the sum of squared weights, in squares of 1 / 4096 pound.
        by_sex: [256], pounds by the code of the sex.
        singletons: [2, 256], births and their pounds by week, of one baby.
        others: [2, 256], the same of more babies.
    """

    values: Ints
    weights: Ints
    below_2500_g: int
    least: float
    most: float
    square: int
    by_sex: Floats
    singletons: Floats
    others: Floats

    @classmethod
    def empty(cls) -> "Distributions":
        """Of no births."""
        return cls.of(np.zeros((0, len(FEATURES)), np.uint8), np.zeros(0, np.float32))

    @classmethod
    def of(cls, features: npt.NDArray[np.uint8], weights: npt.NDArray[np.float32]) -> "Distributions":
        """Of births [n, 8] that weigh so many pounds [n]."""
        pounds = np.rint(weights * np.float64(1 / _PART)) * _PART
        coarse = np.rint(weights * np.float64(1 / _COARSE_PART))
        weeks, several = features[:, _WEEKS], np.flatnonzero(features[:, _PLURALITY] > 1)
        all_weeks, others = (
            np.stack([np.bincount(w, minlength=_CODES), _sums(w, p)])
            for w, p in ((weeks, pounds), (weeks[several], pounds[several]))
        )
        return cls(
            values=_counts(features),
            weights=np.bincount((weights * (1 / BIN)).astype(np.uint8), minlength=_BINS),
            below_2500_g=int(np.count_nonzero(weights < POUNDS_OF_2500_G)),
            least=float(weights.min(initial=np.inf)),
            most=float(weights.max(initial=0)),
            square=int((coarse * coarse).sum()),  # not a product, for which BLAS would start threads
            by_sex=_sums(features[:, _MALE], pounds),
            singletons=all_weeks - others,
            others=others,
        )

    def add(self, other: "Distributions") -> None:
        """Add those of other births."""
        self.values += other.values
        self.weights += other.weights
        self.below_2500_g += other.below_2500_g
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)
        self.square += other.square
        self.by_sex += other.by_sex
        self.singletons += other.singletons
        self.others += other.others

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Distributions) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__
        )

    @property
    def births(self) -> int:
        """How many."""
        return int(self.values[0].sum())

    def _mean(self) -> float:
        return float(self.singletons[1].sum() + self.others[1].sum()) / max(self.births, 1)

    def numbers(self) -> dict[str, dict[str, float]]:
        """The range and the mean of the weights and of each column of numbers, without unknown weeks."""
        found = {WEIGHT: _range(self.least, self.most, self._mean())} if self.births else {}
        for name in NUMBERS:
            counts = self.values[FEATURES.index(name)].copy()
            if name == WEEKS:
                counts[UNKNOWN_WEEKS] = 0
            codes = np.flatnonzero(counts)
            if len(codes):
                mean = np.average(codes, weights=counts[codes])
                found[name] = _range(int(codes[0]), int(codes[-1]), float(mean))
        return found

    def metrics(self) -> dict[str, Any]:
        """What the report draws."""
        boys, girls = (VOCABULARIES["is_male"].index(word) for word in ("True", "False"))
        variance = self.square * _COARSE_PART**2 / max(self.births, 1) - self._mean() ** 2
        of_sex = self.by_sex / np.maximum(self.values[_MALE], 1)
        return {
            "values": {
                name: {_label(name, int(code)): int(counts[code]) for code in np.flatnonzero(counts)}
                for name, counts in zip(FEATURES, self.values, strict=True)
            },
            "weights": {
                "bins": {f"{number * BIN:g}": int(self.weights[number]) for number in np.flatnonzero(self.weights)},
                "below_2500_g": self.below_2500_g,
                "deviation": significant(max(variance, 0) ** 0.5),
                "mean_of_boys": significant(of_sex[boys]) if self.values[_MALE, boys] else None,
                "mean_of_girls": significant(of_sex[girls]) if self.values[_MALE, girls] else None,
            },
        }


def _counts(features: npt.NDArray[np.uint8]) -> Ints:
    """Births by column and code, [columns, 256]: of two columns at once, in half the time."""
    pairs = np.ascontiguousarray(features).view("<u2")
    both = [np.bincount(pair, minlength=_CODES**2).reshape(_CODES, _CODES) for pair in pairs.T]
    return np.concatenate([[table.sum(axis=0), table.sum(axis=1)] for table in both])


def _sums(codes: npt.NDArray[np.uint8], pounds: Floats) -> Floats:
    """Pounds by code. [256]."""
    return np.bincount(codes, pounds, minlength=_CODES).astype(np.float64)


def _range(least: float, most: float, mean: float) -> dict[str, float]:
    return {"least": significant(least), "most": significant(most), "mean": significant(mean)}


def _label(name: str, code: int) -> str:
    return VOCABULARIES[name][code] if name in VOCABULARIES else str(code)
