"""A comparison in a minute: what changed, which stages ran and why, and what became of the results."""

from collections.abc import Iterable, Sequence
from typing import Any

from stages import workloads
from stages.evaluation.judge import WORDS
from stages.report.page import text
from stages.report.run import metric_text
from stages.workloads import Metric
from tools.compare.changes import MetricChange, ParamChange, StageChange, counts, follows

SHOWN = 3  # names of a list before "and 5 more"


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def first(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def grouped(names: Iterable[str]) -> str:
    """Names of stages, those of one verb together: `export@{babyweight, mnist}`."""
    verbs: dict[str, list[str]] = {}
    for name in names:
        verb, _, workload = name.partition("@")
        verbs.setdefault(verb, []).append(workload)
    return ", ".join(
        verb if found == [""] else f"{verb}@{found[0]}" if len(found) == 1 else f"{verb}@{{{', '.join(found)}}}"
        for verb, found in verbs.items()
    )


def what_changed(params: Sequence[ParamChange], stages: Sequence[StageChange]) -> list[str]:
    """Parameters, code, packages and raw data that differ."""
    values = [
        f"{p.key} {text(p.before)} → {text(p.after)}"
        for p in params
        if not p.moved_only and p.before_key is not None and p.after_key is not None
    ]
    reasons: dict[str, dict[str, None]] = {}
    for stage in stages:
        for kind, names in stage.reasons.items():
            reasons.setdefault(kind, {}).update(dict.fromkeys(n for n in names if kind != "data" or not follows(n)))
    code, data, packages = (list(reasons.get(kind, ())) for kind in ("code", "data", "packages"))
    found = {"parameter": values, "code file": code, "data file": data}
    lines = [f"{plural(len(names), noun)}: {first(names)}" for noun, names in found.items() if names]
    if packages:
        lines.append(f"packages: {first(packages)}")
    kinds = {
        "new": sum(p.before_key is None for p in params),
        "gone": sum(p.after_key is None for p in params),
        "moved to another section": sum(p.moved_only for p in params),
    }
    if counted := [f"{count} {kind}" for kind, count in kinds.items() if count]:
        lines.insert(1 if values else 0, f"parameters: {', '.join(counted)}")
    return lines or ["nothing that a stage depends on"]


def what_ran(stages: Sequence[StageChange], total: int) -> list[str]:
    """The stages that ran anew, grouped by what made them run."""
    ran = [s for s in stages if not s.reasons.keys() & {"new", "gone"}]
    if stages and all("new" in s.reasons for s in stages):
        return [f"{len(stages)} of {plural(total, 'stage')}, all new"]
    causes: dict[str, list[str]] = {}
    for stage in ran:
        causes.setdefault(stage.cause, []).append(stage.name)
    groups = {f"for {cause}": names for cause, names in causes.items()}
    groups["to the same bytes"] = [s.name for s in ran if not s.changed_outputs]
    groups |= {kind: [s.name for s in stages if kind in s.reasons] for kind in ("new", "gone")}
    return [
        f"{len(ran)} of {plural(total, 'stage')}",
        *(
            f"{group}: {'all' if names == [s.name for s in ran] else grouped(names)}"
            for group, names in groups.items()
            if names
        ),
    ]


def metric_of(change: MetricChange) -> Metric:
    """How the report names and writes a metric of `evaluate.json`."""
    return workloads.find(change.workload).metric(change.key.removeprefix("evaluate."))


def value_text(change: MetricChange, value: Any) -> str:
    """A value of a metric as the report writes it, with its unit; with more digits if the difference hides behind them.

    Then it has two digits of the noise, if that is known.
    """
    metric = metric_of(change)
    hidden = change.before != change.after and metric_text(metric, change.before) == metric_text(metric, change.after)
    if not hidden:
        return metric_text(metric, value)
    return metric_text(metric, value, change.noise or abs(change.difference or 0.0))


def difference_text(change: MetricChange) -> str:
    """B less A with its sign and unit; shares differ by points, hundredths. Empty if there is none."""
    if change.difference is None:
        return ""
    metric, size = metric_of(change), abs(change.difference)
    written = metric_text(metric, size, change.noise or size) if metric.form else text(size)
    sign = "+" if change.difference > 0 else "\N{MINUS SIGN}" if change.difference else ""
    return sign + written.replace("%", " points")


def note_text(change: MetricChange) -> str:
    """A metric's note: why it is not judged, or the difference that chance alone may make."""
    if change.noise is None or change.note:
        return change.note
    return f"±{metric_text(metric_of(change), change.noise, change.noise)}"


def headline(change: MetricChange) -> str:
    """A workload's headline: from what to what, and whether it is better."""
    before, after = (value_text(change, value) for value in (change.before, change.after))
    values = after if change.verdict == "same" else f"{before} → {after}"
    note = f": {change.note}" if change.note else ""
    if change.noise is not None:
        beyond = " beyond" if change.verdict in {"better", "worse"} else " of"
        note = f"{beyond} {note_text(change)}"
    return f"{change.workload} {metric_of(change).label} {values}, {WORDS[change.verdict]}{note}"


def what_became(headlines: Sequence[MetricChange], metrics: Sequence[MetricChange]) -> list[str]:
    """Each workload's headline, and how many other measures of quality have which verdict."""
    found = counts(m for m in metrics if workloads.find(m.workload).direction(m.key) and m not in headlines)
    others = ", ".join(f"{found[verdict]} {words}" for verdict, words in WORDS.items() if verdict in found)
    return [*map(headline, headlines), *([f"other measures of quality: {others}"] if others else [])]
