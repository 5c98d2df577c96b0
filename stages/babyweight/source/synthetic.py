"""Synthetic births that follow published figures: no person is behind any of them.

A birth depends on the seed and its own number alone, so any number of them streams in bounded memory.
The figures, with their sources, are in facts.yaml. How a weight is drawn: the effects of
the mother's and the baby's traits shift a standard normal variable, which is scaled so that it stays one; the
distribution of weights at that week then turns it into pounds. So the distributions by week hold and the
effects too.
"""

import argparse
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from stages.babyweight.params import Prepare
from stages.babyweight.source.births import COLUMNS, FACTS, VOCABULARIES
from stages.babyweight.source.encode import Block, BlockTask
from stages.babyweight.source.facts import read_facts
from stages.core import files
from stages.core.errors import InputError, run
from stages.core.params import PrepareParams, add_params

GRAMS_PER_POUND = 453.59237
BLOCK_ROWS = 1 << 16
_LEAST_GRAMS = 227  # the light tail of a normal distribution reaches below zero
_FIRST_WEEK, _FULL_TERM = 17, 39
_WEEKS = np.arange(_FIRST_WEEK, 48)
_FIRST_WELL_DATED = 34
_Z = np.linspace(-6, 6, 97)  # where a distribution's quantile function is tabulated
_QUANTILES = [NormalDist().inv_cdf(share) for share in (0.05, 0.25, 0.5, 0.75, 0.95)]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def _by_week(table: Mapping[int, Any]) -> Floats:
    """A table's rows at each of `_WEEKS`, interpolated; outside, the nearest row. [31] or, of lists, [31, k]."""
    weeks = sorted(table)
    values = np.array([table[week] for week in weeks], float)
    columns = [np.interp(_WEEKS, weeks, column) for column in values.reshape(len(weeks), -1).T]
    return np.stack(columns, axis=-1).reshape(-1, *values.shape[1:])


def _moments(curves: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of weights by their quantile functions over `_Z`, [..., 97]: each [...]."""
    density = np.exp(-(_Z**2) / 2)
    means = np.average(curves, axis=-1, weights=density)
    return means, np.sqrt(np.average((curves - means[..., None]) ** 2, axis=-1, weights=density))


def _measured_curve(mean: float, sd: float, *quantiles: float) -> Floats:
    """The quantile function through five percentiles, over `_Z`; straight beyond, with that mean and deviation."""
    low, high = (np.diff(quantiles)[i] / np.diff(_QUANTILES)[i] for i in (0, -1))
    ends = [quantiles[0] + low * (_Z[0] - _QUANTILES[0]), quantiles[-1] + high * (_Z[-1] - _QUANTILES[-1])]
    curve = np.interp(_Z, [_Z[0], *_QUANTILES, _Z[-1]], [ends[0], *quantiles, ends[1]])
    middle, spread = _moments(curve)
    return np.asarray(mean + (curve - middle) * sd / spread)


def _log_normal_curve(mean: float, sd: float) -> Floats:
    """The quantile function of positive weights with that mean and deviation, over `_Z`."""
    variance = np.log1p((sd / mean) ** 2)
    return np.asarray(mean * np.exp(np.sqrt(variance) * _Z - variance / 2))


def _place(table: Mapping[Any, float], uniform: Floats) -> Ints:
    """The positions in a table of shares that uniform numbers fall on. [n]."""
    ends = np.cumsum(list(table.values()))
    return np.searchsorted(ends / ends[-1], uniform, side="right")


def _pick(table: Mapping[int, float], uniform: Floats) -> Ints:
    """The keys of a table of shares that uniform numbers fall on. [n]."""
    return np.array(list(table))[_place(table, uniform)]


class Generator:
    """Draws births.

    Each birth's weight follows one of 63 distributions: that of singletons at its week, that of misdated
    full-term singletons, or that of twins at its week, of which more babies weigh a share.

    Args:
        facts: the figures, as `read_facts` gives them.
        seed: the seed.
    """

    def __init__(self, facts: Mapping[str, Any], seed: int) -> None:
        self._seed = seed
        self._shares: dict[str, Any] = facts["shares"]
        self._effects: dict[str, Any] = facts["effects"]
        misdated, dated = facts["misdated"]["weight"], _by_week(facts["misdated"]["weeks"])
        twins = _by_week(facts["twins"])
        curves = [
            dated[i, 1] + dated[i, 2] * _Z if week < _FIRST_WELL_DATED else _measured_curve(*row)
            for i, (week, row) in enumerate(zip(_WEEKS, _by_week(facts["singletons"]), strict=True))
        ]
        curves += [misdated[0] + misdated[1] * _Z, *(_log_normal_curve(*row) for row in twins)]
        self._misdated_share = np.where(_WEEKS < _FIRST_WELL_DATED, dated[:, 0], 0)
        self._curves = np.stack(curves)
        # By number of babies, 0 to 5: a baby's weight as a share of a twin's in the same week.
        weeks, means = self._shares["weeks"][3], facts["mean_weight_by_plurality"]
        expected = np.average(twins[np.array(list(weeks)) - _FIRST_WEEK, 0], weights=list(weeks.values()))
        self._plurality_ratio = np.array([1, 1, 1, means[3] / expected, means[4] / expected, means[4] / expected])
        self._set_effects()

    def _set_effects(self) -> None:
        """Effects by value; their mean and variance together at each distribution: what to take off, what is left."""
        shares, effects = self._shares, self._effects
        mean, self._sd = _moments(self._curves)
        self._scale = np.minimum(1, mean / mean[_FULL_TERM - _FIRST_WEEK])
        boy = _by_week(effects["boy"])
        self._boy = np.concatenate([boy, boy[_WEEKS == _FULL_TERM], boy])

        self._ages, weights = np.array(list(shares["age"])), list(shares["age"].values())
        older = self._ages - 28
        self._age_effects = effects["age_over_28"] * older + effects["age_over_28_squared"] * older**2
        groups = shares["smoker_by_age"]
        smoking = np.array(list(groups.values()))[np.searchsorted(list(groups), self._ages, side="right") - 1]
        self._smoking = shares["smoker"] / np.average(smoking, weights=weights) * smoking
        by_race = {"White": 0.0, "Black": effects["black"]}
        self._race_effects = np.array([by_race.get(race, effects["other_race"]) for race in shares["race"]])

        smoker = effects["smoker"]
        by_age = self._age_effects + smoker * self._smoking
        other = np.average(by_age, weights=weights)
        variance = np.average((by_age - other) ** 2, weights=weights)
        variance += smoker**2 * np.average(self._smoking * (1 - self._smoking), weights=weights)
        races = np.array(list(shares["race"].values()), float)
        wed, drinks = 1 - shares["unmarried"], shares["alcohol"]
        for effect, share in (  # of traits that are drawn independently
            (self._race_effects, races / races.sum()),
            (np.array([0, effects["married"]]), np.array([1 - wed, wed])),
            (np.array([0, effects["alcohol"]]), np.array([1 - drinks, drinks])),
        ):
            other += effect @ share
            variance += effect**2 @ share - (effect @ share) ** 2
        male = shares["male"]
        self._offset = self._scale * other + self._boy * male
        self._left = np.sqrt(1 - (self._scale**2 * variance + self._boy**2 * male * (1 - male)) / self._sd**2)

    def block(self, number: int) -> pd.DataFrame:
        """The births from `number * BLOCK_ROWS` on, `BLOCK_ROWS` of them, as raw values."""
        rng = np.random.default_rng([self._seed, number])
        u = rng.random((10, BLOCK_ROWS))
        shares = self._shares
        male = u[0] < shares["male"]
        age = _place(shares["age"], u[1])
        race = _place(shares["race"], u[2])
        married = u[3] >= shares["unmarried"]
        smokes = u[4] < self._smoking[age]
        drinks = u[5] < shares["alcohol"]
        asked = u[6] >= shares["use_not_asked"]
        plurality = _pick(shares["plurality"], u[7])
        weeks = np.choose(np.minimum(plurality, 3) - 1, [_pick(shares["weeks"][k], u[8]) for k in (1, 2, 3)])

        effect = self._age_effects[age] + self._effects["smoker"] * smokes
        effect += self._race_effects[race]
        effect += self._effects["married"] * married + self._effects["alcohol"] * drinks
        at = weeks - _FIRST_WEEK
        which = np.where(
            plurality > 1, at + len(_WEEKS) + 1, np.where(u[9] < self._misdated_share[at], len(_WEEKS), at)
        )
        shift = effect * self._scale[which] + male * self._boy[which] - self._offset[which]
        z = shift / self._sd[which] + self._left[which] * rng.standard_normal(BLOCK_ROWS)
        pounds = self._weigh(which, z) * self._plurality_ratio[plurality]
        grams = np.maximum(_LEAST_GRAMS, np.rint(pounds * GRAMS_PER_POUND))
        codes: dict[str, Ints] = {
            "is_male": 1 + male,
            "mother_race": np.array([VOCABULARIES["mother_race"].index(name) for name in shares["race"]])[race],
            "mother_married": 1 + married,
            "cigarette_use": asked * (1 + smokes),
            "alcohol_use": asked * (1 + drinks),
        }
        values = {
            "weight_pounds": grams / GRAMS_PER_POUND,
            "mother_age": self._ages[age],
            "plurality": plurality,
            "gestation_weeks": weeks,
            "key": [f"synthetic-{i}" for i in range(number * BLOCK_ROWS, (number + 1) * BLOCK_ROWS)],
            **{c: pd.Categorical.from_codes(codes[c], pd.Index(words)) for c, words in VOCABULARIES.items()},
        }
        return pd.DataFrame({column: values[column] for column in COLUMNS})

    def _weigh(self, which: Ints, z: Floats) -> Floats:
        """The quantile functions `which` at `z`, in pounds. [n]."""
        place = (np.clip(z, _Z[0], _Z[-1]) - _Z[0]) / (_Z[1] - _Z[0])
        below = np.minimum(place.astype(int), len(_Z) - 2)
        low, high = self._curves[which, below], self._curves[which, below + 1]
        return np.asarray(low + (high - low) * (place - below))

    def blocks(self, rows: int) -> Iterator[pd.DataFrame]:
        """The first `rows` births, in blocks."""
        for first in range(0, rows, BLOCK_ROWS):
            yield self.block(first // BLOCK_ROWS).head(rows - first)


def block_tasks(rows: int, facts: Path, seed: int) -> Iterator[BlockTask]:
    """The task that draws each block of the first `rows` births.

    Raises:
        InputError: if the figures are missing or not a YAML mapping.
    """
    generator = Generator(read_facts(facts), seed)
    for first in range(0, rows, BLOCK_ROWS):
        yield functools.partial(_draw, generator, first // BLOCK_ROWS, rows - first)


def _draw(generator: Generator, number: int, rows: int) -> Block:
    frame = generator.block(number).head(rows)
    lines = np.arange(number * BLOCK_ROWS, number * BLOCK_ROWS + len(frame))
    return Block("synthetic", pa.RecordBatch.from_pandas(frame, preserve_index=False), lines, [])


def main() -> None:
    """Write synthetic births as a CSV file in the raw format."""
    parser = argparse.ArgumentParser(description="Write synthetic births as CSV; their keys start with synthetic-")
    parser.add_argument("rows", type=int, help="how many")
    parser.add_argument("output", type=Path, help="the CSV file to write")
    parser.add_argument("--facts", type=Path, default=FACTS)
    add_params(parser)
    args = parser.parse_args()
    if args.rows < 1:
        raise InputError(f"rows: {args.rows}; expected 1 or more")
    generator = Generator(read_facts(args.facts), PrepareParams[Prepare].read(args.params).seed)
    with files.whole_file(args.output) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        for block in generator.blocks(args.rows):
            block.to_csv(file, header=False, index=False, lineterminator="\n")


if __name__ == "__main__":
    run(main)
