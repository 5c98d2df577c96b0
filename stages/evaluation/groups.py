"""The figures of instances that have something in common, as `groups.csv` holds them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.core.files import significant
from stages.evaluation.statistics import ErrorSums, Estimate, share

Places = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Row = dict[str, Any]


def _row(group: str, value: str, instances: str, count: int, figure: str, estimate: Estimate) -> Row:
    numbers = (("" if number is None else significant(float(number))) for number in estimate)
    return {
        "group": group,
        "value": value,
        instances: count,
        **dict(zip((figure, "low", "high"), numbers, strict=True)),
    }


class ErrorGroups:
    """Errors of predicted numbers by group, added up block by block.

    Args:
        values: the values of each group, such as those of `sex`.
        instances: what is counted, such as `births`.
        fewest: instances that a value of a group must have to be told of, if more than one.
    """

    def __init__(self, values: Mapping[str, Sequence[str]], instances: str, fewest: Mapping[str, int]) -> None:
        self.header = ["group", "value", instances, "rmse", "low", "high", "bias"]
        self._values, self._instances, self._fewest = values, instances, fewest
        self._sums = {group: ErrorSums(len(of_group)) for group, of_group in values.items()}

    def add(self, places: Mapping[str, Places], predicted: Floats, actual: Floats) -> None:
        """Add a block: which of a group's values each instance [n] has, predictions [n] and actual values [n]."""
        for group, sums in self._sums.items():
            sums.add(predicted, actual, places[group])

    def counts(self, group: str) -> Places:
        """Instances of each value of a group."""
        return self._sums[group].counts

    def rows(self, told: Mapping[str, npt.NDArray[np.bool_]] | None = None) -> Iterator[Row]:
        """A row of each value that occurs; the mean of prediction less actual value is its bias.

        Args:
            told: which values of each group may be told; None: all.
        """
        for group, sums in self._sums.items():
            for place, value in enumerate(self._values[group]):
                count = sums.count(place)
                if count >= self._fewest.get(group, 1) and (told is None or told[group][place]):
                    row = _row(group, value, self._instances, count, "rmse", sums.rmse(place))
                    yield row | {"bias": significant(sums.bias(place).value or 0.0)}


def share_groups(
    places: Mapping[str, tuple[Sequence[str], Places]], hits: npt.NDArray[np.bool_], instances: str, figure: str
) -> list[Row]:
    """The share of hits by group, a row of each value that occurs.

    Args:
        places: the values of each group, and which of them each instance [n] has.
        hits: whether each prediction was right [n].
        instances: what is counted, such as `images`.
        figure: what the share is, such as `accuracy`.
    """
    return [
        _row(group, value, instances, len(inside), figure, share(int(inside.sum()), len(inside)))
        for group, (values, of_instances) in places.items()
        for place, value in enumerate(values)
        if len(inside := hits[of_instances == place])
    ]


def quarters(values: Floats) -> Places:
    """Which quarter [n] of the instances each value is in, from the least to the most."""
    found = np.empty(len(values), np.int64)
    for quarter, places in enumerate(np.array_split(np.argsort(values, kind="stable"), 4)):
        found[places] = quarter
    return found
