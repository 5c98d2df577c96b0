"""The figures of a workload by group, from the table that it declares: drawn with intervals, and told in words."""

from collections import Counter
from typing import Any

import altair as alt
from markupsafe import Markup

from stages.evaluation.statistics import FEWEST, Estimate, Group, differing
from stages.report import charts
from stages.report.page import figure, grid, heading, join, paragraph
from stages.report.run import Run, metric_text
from stages.workloads import Metric

MOST_NAMED = 6


def read(run: Run) -> list[Group]:
    """The groups of a workload; none if it declares none or nothing was written."""
    declared = run.workload.groups
    if declared is None or not (run.folder / declared.table).exists():
        return []
    rows = run.table(declared.table, empty=True)
    return [
        Group(
            str(row["group"]),
            str(row["value"]),
            row[declared.instances],
            Estimate(row[declared.figure], row["low"], row["high"]),
        )
        for row in rows
    ]


def metric(run: Run) -> Metric:
    """The metric that the groups tell."""
    key = run.workload.groups.figure if run.workload.groups else ""
    return run.workload.metric(key)


def judged(run: Run, groups: list[Group]) -> list[tuple[Group, bool]]:
    """The groups, the worst first, and whether each differs from all other instances by more than chance."""
    declared = run.workload.groups
    assert declared
    is_share = run.workload.direction(declared.figure) > 0
    interval = run.interval(declared.figure) or (None, None)
    counts = Counter[str]()
    for group in groups:
        counts[group.group] += group.instances
    everything = Group(
        "all", "all", max(counts.values()),  # a group that leaves out values has less than all
        Estimate(run.metric(declared.figure), *interval),
    )  # fmt: skip
    worst_first = sorted(groups, key=lambda g: (g.estimate.value or 0.0) * (1 if is_share else -1))
    return differing(worst_first, everything, is_share)


def limits(run: Run) -> list[str]:
    """What the groups say against the model, a sentence each: where it errs more, and of whom little is known."""
    groups = read(run)
    if not groups:
        return []
    declared = run.workload.groups
    assert declared
    way, overall = run.workload.direction(declared.figure), run.metric(declared.figure)
    found = [g for g, differs in judged(run, groups) if differs and ((g.estimate.value or 0.0) - overall) * way < 0]
    few = [f"{g.group}: {g.value} ({g.instances:,})" for g in groups if g.instances < FEWEST]
    named = [f"{g.group}: {g.value} ({metric_text(metric(run), g.estimate.value)})" for g in found]
    sentences = {
        f"It errs more, beyond chance, than for all others: {_first(named)}. For all together: "
        f"{metric_text(metric(run), overall)}.": named,
        f"Too few {declared.instances} to say how it does: {_first(few)}.": few,
    }
    return [sentence for sentence, told in sentences.items() if told]


def _first(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return "; ".join(names[:MOST_NAMED]) + more


def verdicts(run: Run, found: list[tuple[Group, bool]]) -> str:
    """Which groups differ from the rest by more than chance, in words."""
    declared = run.workload.groups
    assert declared
    way, overall = run.workload.direction(declared.figure), run.metric(declared.figure)
    parts = []
    for word, sign in (("worse", -1), ("better", 1)):
        named = [
            f"{g.group}: {g.value} ({metric_text(metric(run), g.estimate.value)})"
            for g, differs in found
            if differs and ((g.estimate.value or 0.0) - overall) * way * sign > 0
        ]
        if named:
            parts.append(f"{word} than all others: {_first(named)}")
    tested = sum(g.instances >= FEWEST for g, _ in found)
    if not tested:
        return f"No group has {FEWEST} {declared.instances} or more, by which it could be told from the others."
    told = ". ".join(part[0].upper() + part[1:] for part in parts) or "No group differs from all others"
    return (
        f"{told}. Of the {tested} groups of {FEWEST} {declared.instances} or more that were tested, chance alone would "
        "name any in 5 of 100 test sets (Holm's procedure)."
        if parts
        else f"{told} by more than chance, of {tested} that were tested."
    )


def drawing(run: Run, found: list[tuple[Group, bool]]) -> Any:
    """The figure of each value of a group with its interval, the worst first; those beyond chance filled."""
    declared, measured = run.workload.groups, metric(run)
    assert declared
    rows = [
        {"value": g.value, measured.label: g.estimate.value, "low": g.estimate.low, "high": g.estimate.high,
         declared.instances: g.instances, "differs": "more than chance" if differs else "within chance"}
        for g, differs in found
    ]  # fmt: skip
    y = alt.Y("value:N", title=None, sort=None, axis=alt.Axis(labelLimit=150))
    base = charts.chart(rows, width=charts.WIDTH - 110, height=alt.Step(18)).encode(y=y)
    unit = f" ({run.workload.unit})" if run.workload.unit and declared.figure == run.workload.headline else ""
    percent = {"format": "~%"} if "%" in measured.form else {}
    axis = alt.Axis(grid=True, tickCount=4, **percent)
    x = alt.X("low:Q", title=measured.label + unit, scale=alt.Scale(zero=False), axis=axis)
    intervals = base.mark_rule(color=charts.COLOURS[0], opacity=0.4, strokeWidth=7).encode(x=x, x2="high:Q")
    points = base.mark_point(size=50, opacity=1, filled=True).encode(
        x=f"{measured.label}:Q",
        color=alt.Color(
            "differs:N",
            scale=alt.Scale(domain=["within chance", "more than chance"], range=[charts.COLOURS[0], charts.COLOURS[1]]),
            legend=None,
        ),
        shape=alt.Shape(
            "differs:N",
            scale=alt.Scale(domain=["within chance", "more than chance"], range=["circle", "diamond"]),
            legend=None,
        ),
        tooltip=["value:N", f"{measured.label}:Q", "low:Q", "high:Q", f"{declared.instances}:Q", "differs:N"],
    )
    overall = charts.chart([{"all": run.metric(declared.figure)}])
    line = overall.mark_rule(color=charts.SOFT, strokeDash=[4, 3]).encode(x="all:Q")
    return line + intervals + points


def section(run: Run) -> Markup:
    """The groups of a workload; nothing if it has none."""
    groups = read(run)
    if not groups:
        return Markup()
    found = judged(run, groups)
    figures = []
    for name in dict.fromkeys(g.group for g in groups):
        own = [(group, differs) for group, differs in found if group.group == name]
        words = f"Worst: {own[0][0].value}, {metric_text(metric(run), own[0][0].estimate.value)}."
        figures.append(figure(charts.svg(drawing(run, own), f"By {name}. {words}"), f"By {name}", words))
    note = (
        "The worst first, each with its 95% interval, which a single instance does not have. Dashed: all. Diamonds "
        "differ from all others by more than chance."
    )
    told = (paragraph(f"{sentence.removesuffix('.')}.") for sentence in verdicts(run, found).split(". "))
    return join(heading("By group"), *told, paragraph(note, "soft"), grid(*figures))
