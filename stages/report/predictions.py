"""The predictions that changed most between two exported models, as a workload's `comparison` finds them."""

from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

SHOWN = 12
BATCH = 4096


@dataclass(frozen=True)
class PredictionChanges:
    """A workload's predictions in two states.

    Args:
        summary: what changed, in a sentence, or why nothing can be said.
        header: names of the columns of `rows`.
        rows: the inputs whose predictions changed most.
        pictures: a picture for each row, if inputs are pictures.
    """

    summary: str
    header: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    pictures: list[Markup] = field(default_factory=list)
