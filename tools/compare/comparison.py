"""Everything that a comparison says, and its one-minute summary."""

from dataclasses import dataclass

from tools.compare.changes import (
    HEADLINES,
    Causes,
    MetricChange,
    ParamChange,
    StageChange,
    caveats,
    counts,
    metric_changes,
    param_changes,
)
from tools.compare.curves import Curve, curves, renamed
from tools.compare.predictions import PredictionChanges, prediction_changes
from tools.compare.snapshot import Snapshot


@dataclass(frozen=True)
class Comparison:
    """Two states and all differences between them."""

    a: Snapshot
    b: Snapshot
    params: list[ParamChange]
    stages: list[StageChange]
    metrics: list[MetricChange]
    curves: list[Curve]
    predictions: list[PredictionChanges]
    caveats: list[str]

    @property
    def headlines(self) -> list[MetricChange]:
        """One metric of each workload."""
        chosen: dict[str, MetricChange] = {}
        for change in self.metrics:
            if change.key == HEADLINES.get(change.workload) or (
                change.workload not in HEADLINES and change.verdict != "other"
            ):
                chosen.setdefault(change.workload, change)
        return list(chosen.values())

    @property
    def summary(self) -> str:
        """What changed, what ran and what got better, in one sentence."""
        changed = [change for change in self.params if not change.moved_only]
        moved = len(self.params) - len(changed)
        ran = [stage for stage in self.stages if not stage.reasons.keys() & {"new", "gone"}]
        same = sum(not stage.changed_outputs for stage in ran)
        verdicts = counts(self.metrics)
        parts = [
            _plural(len(changed), "parameter") + " changed" + (f" ({moved} only moved)" if moved else ""),
            f"{len(ran)} of {_plural(len(self.b.lock), 'stage')} ran anew"
            + (f", {same} of them to the same bytes" if same else ""),
            f"{_plural(verdicts.get('better', 0), 'metric')} better, {verdicts.get('worse', 0)} worse"
            + (f", {verdicts['noise']} within seed noise" if "noise" in verdicts else "")
            + f", {verdicts.get('same', 0)} equal",
        ]
        return "; ".join(parts) + "."


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def compare(a: Snapshot, b: Snapshot) -> Comparison:
    """All differences between two states."""
    notes = caveats(a, b)
    if names := renamed(a, b):
        notes.append(f"Plots that only one of both defines: {', '.join(names)}.")
    return Comparison(
        a,
        b,
        param_changes(a, b),
        Causes(a, b).stages(),
        metric_changes(a, b),
        curves(a, b),
        list(prediction_changes(a, b)),
        notes,
    )
