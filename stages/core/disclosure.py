"""Which cells of a table may be told where its rows are people, so that none of few people follows from the others.

Source: Hundepool et al., "Statistical Disclosure Control" (2012), on frequency rules and secondary suppression.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

FEWEST = 10
"""People that a cell tells of, at least."""


def few(count: int) -> bool:
    """Whether a count is of people, but of too few."""
    return 0 < count < FEWEST


def told(counts: npt.ArrayLike, left_out: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.bool_]:
    """Which cells may be told [n].

    Those of few people may not. What is left out must not follow from a total that is told elsewhere: where it is of
    few people together, the next smallest cell goes too.

    Args:
        counts: people of each cell, [n]; or [n, k] in each of k groups whose totals are told elsewhere.
        left_out: cells [n] that are not told for other reasons.
    """
    parts = np.asarray(counts, np.int64)
    parts = parts[:, None] if parts.ndim == 1 else parts
    out = np.zeros(len(parts), np.bool_) if left_out is None else left_out.copy()
    out |= ((parts > 0) & (parts < FEWEST)).any(axis=1)
    for group in parts.T:
        while few(group[out].sum()) and len(rest := np.flatnonzero(~out & (group > 0))):
            out[rest[group[rest].argmin()]] = True
    return ~out


def told_counts(counts: Mapping[Any, int]) -> dict[Any, int]:
    """The counts that may be told."""
    return {key: count for (key, count), tell in zip(counts.items(), told([*counts.values()]), strict=True) if tell}
