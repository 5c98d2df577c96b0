"""The published figures of births: what synthetic ones follow, and what weights are to be expected in a week."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.core.errors import InputError, one_line

_WELL_DATED = 34
"""From this week on, hardly any birth is one of another week, wrongly dated."""


def read_facts(path: Path) -> dict[str, Any]:
    """The figures.

    Raises:
        InputError: if the file is missing or no YAML mapping.
    """
    import yaml  # slow to import

    try:
        return dict(yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; synthetic births follow its figures") from None
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected YAML, found: {one_line(error)}") from None


def mean_weights(facts: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Mean weights in pounds by week from 0 to 255. [3, 256].

    Of singletons whose weeks are right, of all singletons, and of twins. Below 34 weeks, full-term births that are
    wrongly dated make the second larger than the first.
    """
    published = {week: row[0] for week, row in facts["singletons"].items()}
    dated = {week: row[1] for week, row in facts["misdated"]["weeks"].items()}
    dated |= {week: mean for week, mean in published.items() if week >= _WELL_DATED}
    twins = {week: row[0] for week, row in facts["twins"].items()}

    def by_week(means: dict[int, float]) -> npt.NDArray[np.float64]:
        return np.interp(np.arange(256), sorted(means), [means[week] for week in sorted(means)])

    return np.stack([by_week(dated), by_week(published), by_week(twins)])
