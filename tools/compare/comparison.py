"""Everything that a comparison says, and its one-minute summary."""

from dataclasses import dataclass

from stages import workloads
from stages.report.predictions import PredictionChanges
from tools.compare.changes import (
    Causes,
    MetricChange,
    ParamChange,
    StageChange,
    caveats,
    metric_changes,
    param_changes,
)
from tools.compare.curves import Curve, curves, renamed
from tools.compare.predictions import prediction_changes
from tools.compare.snapshot import Snapshot
from tools.compare.summary import what_became, what_changed, what_ran
from tools.compare.times import TimeChange, time_changes


@dataclass(frozen=True)
class Comparison:
    """Two states and all differences between them."""

    a: Snapshot
    b: Snapshot
    params: list[ParamChange]
    stages: list[StageChange]
    metrics: list[MetricChange]
    curves: list[Curve]
    predictions: dict[str, PredictionChanges]
    caveats: list[str]
    times: list[TimeChange]

    @property
    def headlines(self) -> list[MetricChange]:
        """One metric of each workload."""
        chosen: dict[str, MetricChange] = {}
        for change in self.metrics:
            headline = workloads.find(change.workload).headline
            if change.key == f"evaluate.{headline}" or (headline is None and change.verdict != "other"):
                chosen.setdefault(change.workload, change)
        return list(chosen.values())

    @property
    def summary(self) -> dict[str, list[str]]:
        """What changed, which stages ran and why, and what became of the results, in a few lines each."""
        return {
            "Changed": what_changed(self.params, self.stages),
            "Ran": what_ran(self.stages, len(self.b.lock)),
            "Result": what_became(self.headlines, self.metrics),
        }


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
        dict(prediction_changes(a, b)),
        notes,
        time_changes(a, b),
    )
