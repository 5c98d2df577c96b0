"""A comparison as a page of the report's look."""

from collections.abc import Iterable, Iterator
from typing import Any

import altair as alt
from markupsafe import Markup

from stages.evaluation.judge import WORDS
from stages.report import charts
from stages.report.page import (
    Section,
    answers,
    card,
    details,
    figure,
    grid,
    heading,
    join,
    page,
    paragraph,
    table,
    text,
    verdict,
)
from stages.report.predictions import PredictionChanges
from tools.compare import times
from tools.compare.changes import MetricChange, incomparable
from tools.compare.comparison import Comparison
from tools.compare.curves import Curve
from tools.compare.markdown import reasons
from tools.compare.summary import difference_text, metric_of, note_text, value_text

MEASURES = {"better": True, "worse": False}


def _verdict(change: MetricChange) -> Markup:
    return verdict(MEASURES.get(change.verdict), WORDS[change.verdict])


def _code(value: Any) -> Markup:
    return Markup("<code>{}</code>").format(text(value))


def _marked(words: str) -> Markup:
    """Words with what stands in backticks as code."""
    parts = words.split("`")
    return Markup("").join(_code(part) if place % 2 else part for place, part in enumerate(parts))


def _bullets(items: Iterable[str]) -> Markup:
    return Markup("<ul>{}</ul>").format(join(*(Markup("<li>{}</li>").format(item) for item in items)))


def _card(m: MetricChange) -> Markup:
    before = [] if m.verdict == "same" else [f"A: {value_text(m, m.before)}"]
    lines = [_verdict(m), *before, *filter(None, [note_text(m)])]
    return card(m.workload, value_text(m, m.after), metric_of(m).label, lines, "#metrics")


def _summary(c: Comparison) -> Markup:
    cards = join(*map(_card, c.headlines))
    return join(
        answers(c.summary),
        Markup('<div class="cards">{}</div>').format(cards),
        join(heading("What to mind"), _bullets(map(_marked, c.caveats))) if c.caveats else "",
    )


def _params(c: Comparison) -> Markup:
    changed = [p for p in c.params if not p.moved_only]
    moved = [(_code(p.before_key), _code(p.after_key)) for p in c.params if p.moved_only]
    rows = [(_code(p.key), *map(text, p.values), p.note) for p in changed]
    blocks = [table(("parameter", "A", "B", "note"), rows)] if rows else [paragraph("No value changed.", "soft")]
    if moved:
        blocks.append(details(f"{len(moved)} parameters moved, with the same value", table(("A", "B"), moved)))
    return join(*blocks)


def _stages(c: Comparison) -> Markup:
    if not c.stages:
        return paragraph("No stage ran.", "soft")
    rows = []
    for s in c.stages:
        why: Any = reasons(s.reasons, 3)
        if any(len(texts) > 3 for texts in s.reasons.values()):
            why = details(why, _bullets(f"{kind}: {', '.join(texts)}" for kind, texts in s.reasons.items()))
        rows.append((s.name, why, ", ".join(s.changed_outputs) or s.without_outputs))
    return table(("stage", "why it ran", "outputs with other bytes"), rows)


def _metrics(c: Comparison) -> Markup:
    header = ("metric", "A", "B", "B − A", "verdict", "note")  # noqa: RUF001 - a minus sign
    blocks: list[Any] = []
    for workload in dict.fromkeys(m.workload for m in c.metrics):
        mine = [m for m in c.metrics if m.workload == workload]
        reason = incomparable(c.a, c.b, workload)
        rows = [
            (
                _code(m.key),
                value_text(m, m.before),
                value_text(m, m.after),
                difference_text(m),
                _verdict(m),
                "" if m.note and m.note == reason else note_text(m),
            )
            for m in mine
            if m.verdict != "same"
        ]
        same = [(_code(m.key), value_text(m, m.after)) for m in mine if m.verdict == "same"]
        blocks.append(heading(workload))
        if reason and rows:
            blocks.append(paragraph(f"Cannot be compared: {reason}."))
        blocks.append(table(header, rows) if rows else paragraph("All metrics are equal.", "soft"))
        if same and rows:
            blocks.append(details(f"{len(same)} equal", table(("metric", "value"), same)))
    return join(*blocks)


def _calibration(curve: Curve) -> Markup:
    """Shares of both states against the diagonal; the area and the tip of a point tell the count of its bin."""
    line = charts.chart({"x": end, "y": end} for end in (0, 1)).mark_line(color=charts.SOFT, strokeDash=[4, 3])
    points = charts.chart(curve.calibration).mark_point(filled=True, opacity=0.7)
    drawn = line.encode(x="x:Q", y="y:Q") + points.encode(
        x=alt.X("x:Q", title=curve.x),
        y=alt.Y("y:Q", title=curve.y),
        color=alt.Color("side:N", scale=alt.Scale(domain=["A", "B"])),
        shape=alt.Shape("side:N", scale=alt.Scale(domain=["A", "B"], range=["circle", "diamond"])),
        size=alt.Size("count:Q", scale=alt.Scale(range=[15, 600]), legend=None),
    )
    words = "Dashed: all well. Area: how many there are in a bin."
    return figure(charts.svg(drawn, f"{curve.title}: A and B against the diagonal. {words}"), curve.title, words)


def _chart(curve: Curve) -> Markup:
    if curve.calibration:
        return _calibration(curve)
    dashed = [name for name in curve.lines if name.startswith("A")]
    if curve.scatter:
        dots = (
            charts.chart(charts.series(curve.lines))
            .mark_point(size=14, filled=True, opacity=0.5)
            .encode(
                x=alt.X("x:Q", title=curve.x),
                y=alt.Y("y:Q", title=curve.y),
                color="series:N",
            )
        )
        return figure(charts.svg(dots, f"{curve.title}: A and B by colour."), curve.title)
    drawn = charts.lines(curve.lines, curve.x, curve.y, dash=dashed)
    return figure(charts.svg(drawn, f"{curve.title}: A dashed, B solid."), curve.title)


def _curves(c: Comparison) -> Markup:
    blocks: list[Any] = []
    if drawn := [curve for curve in c.curves if curve.lines]:
        blocks += [paragraph("A is dashed, B solid.", "soft"), grid(*map(_chart, drawn))]
    if same := [curve.title for curve in c.curves if curve.same]:
        blocks.append(details(f"{len(same)} unchanged", _bullets(same)))
    blocks += [paragraph(f"{k.title}: cannot be compared: {k.note}.", "soft") for k in c.curves if k.note]
    return join(*(blocks or [paragraph("No plots are defined.", "soft")]))


def _prediction(workload: str, p: PredictionChanges) -> Markup:
    blocks = [heading(workload), paragraph(p.summary)]
    if p.rows:
        rows = [(picture, *row) for picture, row in zip(p.pictures, p.rows, strict=True)] if p.pictures else p.rows
        blocks.append(table((*(["image"] if p.pictures else []), *p.header), rows, "Changed most"))
    return join(*blocks)


def _sections(c: Comparison) -> Iterator[Section]:
    yield Section("summary", "Summary", _summary(c))
    yield Section("parameters", "Parameters", _params(c))
    yield Section("stages", "Stages", _stages(c))
    if c.times:
        rows = (change.cells for change in c.times)
        body = join(paragraph(times.MEANING, "soft"), table(times.HEADER, rows))
        yield Section("times", "Times", body)
    yield Section("metrics", "Metrics", _metrics(c))
    yield Section("curves", "Curves", _curves(c))
    if c.predictions:
        yield Section("predictions", "Predictions", join(*(_prediction(*found) for found in c.predictions.items())))


def html(comparison: Comparison) -> str:
    """The comparison as one HTML file."""
    a, b = comparison.a, comparison.b
    return page(f"{a.name} → {b.name}", f"A is {a.title}; B is {b.title}.", list(_sections(comparison)))
