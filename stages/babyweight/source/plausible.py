"""Whether a source means what its columns are called: weights in pounds, and every answer of a question."""

from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median

import numpy as np
import numpy.typing as npt

from stages.babyweight.source.births import FEATURES, SMOKING, UNKNOWN_WEEKS, VOCABULARIES, cigarettes
from stages.babyweight.source.distributions import Distributions

LOWEST, HIGHEST = 0.7, 1.4
"""The mean weight, as a share of the published one for the same weeks. Real sources are within a tenth of it."""
FEWEST = 10
"""Births from which on a mean, and a word in a file, say something."""
_LEAST_LOST = 0.001
"""Of the births that answer, the share that unknown words have at least, where they are the other answer."""
_DISTINCT_COUNTS = 3
"""Different numbers above 1 that are no single code, such as 9 for "not stated"."""

_POUND = {"kilograms": 0.45359237, "ounces": 16.0, "grams": 453.59237}
"""A pound in other units."""
_USUAL_POUNDS = 7.2
_NEAR = 1.6
"""The factor by which a ratio may differ from that of a unit that explains it."""


def explained_by_unit(ratio: float) -> str:
    """The unit in which weights have this ratio to pounds, as the end of a message; "" if there is none."""
    unit, pound = min(_POUND.items(), key=lambda item: abs(np.log(ratio / item[1])))
    near = max(ratio / pound, pound / ratio) < _NEAR
    return f"; they seem to be {unit}, a pound being {pound:g}" if near else ""


def heavy_weights(weights: Iterable[float]) -> str:
    """The unit that explains weights which are too heavy, as the end of a message; "" if there is none."""
    return explained_by_unit(median(weights) / _USUAL_POUNDS)


def wrong_unit(births: Distributions, expected: npt.NDArray[np.float64]) -> str | None:
    """Why weights cannot be in pounds, by the mean that is published for the weeks; None if they can.

    Args:
        births: the births.
        expected: [3, 256], as `facts.mean_weights` gives them.
    """
    known = np.arange(256) != UNKNOWN_WEEKS
    one, pounds = births.singletons[:, known]
    several, pounds_of_several = births.others[:, known]
    count = one.sum() + several.sum()
    if count < FEWEST:
        return None
    found = pounds.sum() + pounds_of_several.sum()
    dated, published, twins = expected[:, known]
    of_several = several @ twins
    least, most = one @ dated + of_several, one @ published + of_several
    if LOWEST * least <= found <= HIGHEST * most:
        return None
    return (
        f"the mean weight is {found / count:.3g} pounds, {found / most:.2f} of the {most / count:.3g} that are "
        f"published for these weeks; expected {LOWEST} to {HIGHEST} of it{explained_by_unit(found / most)}"
    )


def lost_answer(
    where: str, values: npt.NDArray[np.int64], unknown: Mapping[str, Counter[str]], fewest: int = 1
) -> str | None:
    """Why unknown words of a category seem to be all of one answer; None if they do not.

    Args:
        where: the file or source, for the message.
        values: [8, 256], births by feature and code.
        unknown: births by unknown word, by category.
        fewest: unknown births from which on to look.
    """
    for name, words in unknown.items() if values.any() else ():
        counts = values[FEATURES.index(name)]
        known = {word: int(counts[code]) for code, word in enumerate(VOCABULARIES[name]) if code and counts[code]}
        lost, answered = words.total(), sum(known.values()) + words.total()
        if len(known) <= 1 and lost >= max(fewest, _LEAST_LOST * answered):
            kept = "".join(f"{word} ({births / answered:.1%})" for word, births in known.items()) or "none"
            others = ", ".join(f"{word[:60]!r} ({births / answered:.1%})" for word, births in words.most_common(5))
            return (
                f"{where}: {name}: of {answered} births that answer, the only known answer is {kept}, and the unknown "
                f"words seem to be the other: {others}; expected {', '.join(VOCABULARIES[name])}, "
                "or a spelling in data/raw/babyweight/README.md"
            )
    return None


def mixed_smoking(where: str, kinds: frozenset[str], unknown: Counter[str]) -> str | None:
    """Why a file's answers about smoking cannot be told from counts of cigarettes; None if they can.

    Args:
        where: the file, for the message.
        kinds: how it answers: with any of words, zeros and counts.
        unknown: its unknown words.
    """
    numbers = [word for word in unknown if (cigarettes(word) or 0) > 1]
    found = None
    if "counts" in kinds and "words" in kinds:
        found = "counts of cigarettes beside words"
    elif len(numbers) >= _DISTINCT_COUNTS:
        found = f"numbers such as {', '.join(numbers[:_DISTINCT_COUNTS])} beside words"
    elif "counts" in kinds and "zeros" not in kinds:
        found = "numbers above 1 and no 0, which counts of cigarettes would have"
    return found and f"{where}: {SMOKING}: {found}; expected truth, or counts of cigarettes alone"
