"""A comparison as Markdown, for a pull request."""

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stages.report.page import text
from tools.compare import times
from tools.compare.changes import MetricChange
from tools.compare.comparison import Comparison
from tools.compare.summary import difference_text, note_text, value_text

SIGNS = {
    "better": "🟢 better",
    "worse": "🔴 worse",
    "noise": "⚪ seed noise",
    "chance": "⚪ chance",
    "same": "equal",
    "other": "–",  # noqa: RUF001
}
METRICS_HEADER = ("model", "metric", "A", "B", "B - A", "verdict", "note")
SHOWN_REASONS = 6


_MARKS = re.compile(r"[\\`*\[\]|]|(?<!\w)_|_(?!\w)|~(?=~)|^[#>]|^[-+=](?=[\s=+-]|$)|(?<=^\d)[.)](?=\s)")
_LINKS = re.compile(
    r"(?<=(?<!\w)@)(?=\w)|(?<=#)(?=\d)|(?<=http)(?=s?://)|(?<=ftp)(?=://)|(?<=www)(?=\.)", re.IGNORECASE
)
"""Where a comment keeps a name from being called, and an address from becoming a link."""


def escape(value: Any, keep: str = "") -> str:
    """A value as plain text: what looks like Markdown, HTML, a link or a person's name stays what it is.

    Subjects of commits, names of branches and parameters come from whoever opened the pull request.

    Args:
        value: what a cell or line shows.
        keep: a mark of Markdown that our own text uses.
    """
    plain = html.escape(" ".join(text(value).split()), quote=False)
    marked = _MARKS.sub(lambda found: found[0] if found[0] == keep else f"\\{found[0]}", plain)
    return _LINKS.sub("<!-- -->", marked)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(escape, line))} |" for line in lines)


def folded(summary: str, body: str) -> str:
    """Text that a reader unfolds."""
    return f"<details><summary>{escape(summary)}</summary>\n\n{body}\n\n</details>"


def reasons(values: dict[str, list[str]], shown: int = SHOWN_REASONS) -> str:
    """Causes by kind, the first few of each."""
    parts = []
    for kind, texts in values.items():
        more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
        parts.append(f"{kind}: {', '.join(texts[:shown])}{more}" if texts else kind)
    return "; ".join(parts)


def metric_row(change: MetricChange) -> tuple[Any, ...]:
    """A metric's cells under `METRICS_HEADER`."""
    sign = SIGNS[change.verdict]
    values = (value_text(change, value) for value in (change.before, change.after))
    return change.workload, change.key, *values, difference_text(change), sign, note_text(change)


def _blocks(c: Comparison) -> Iterator[str]:
    yield f"## {escape(c.a.name)} → {escape(c.b.name)}"
    yield f"A is {escape(c.a.title)}, B is {escape(c.b.title)}."
    for name, answer in c.summary.items():
        yield f"**{name}**\n\n" + "\n".join(f"- {escape(line)}" for line in answer)
    yield table(METRICS_HEADER, map(metric_row, c.headlines))
    if c.caveats:
        yield "**Mind**\n\n" + "\n".join(f"- {escape(note, keep='`')}" for note in c.caveats)
    if values := [p for p in c.params if not p.moved_only]:
        yield "### Parameters\n\n" + table(
            ("parameter", "A", "B", "note"),
            [(p.key, *p.values, p.note) for p in values],
        )  # fmt: skip
    if moved := [(p.before_key, p.after_key) for p in c.params if p.moved_only]:
        yield folded(f"{len(moved)} parameters moved, with the same value", table(("A", "B"), moved))
    if c.stages:
        rows = [(s.name, reasons(s.reasons), ", ".join(s.changed_outputs) or s.without_outputs) for s in c.stages]
        yield "### Stages that ran anew\n\n" + table(("stage", "why", "outputs with other bytes"), rows)
    if c.times:
        cells = table(times.HEADER, [change.cells for change in c.times])
        yield folded("Times and memory", f"{escape(times.MEANING)}\n\n{cells}")
    if changed := [m for m in c.metrics if m.verdict != "same"]:
        yield "### Metrics\n\n" + table(METRICS_HEADER, map(metric_row, changed))
    if unchanged := [(m.workload, m.key, value_text(m, m.after)) for m in c.metrics if m.verdict == "same"]:
        yield folded(f"{len(unchanged)} metrics are equal", table(("model", "metric", "value"), unchanged))
    if c.predictions:
        yield "### Predictions\n\n" + "\n".join(
            f"- {escape(name)}: {escape(found.summary, keep='`')}" for name, found in c.predictions.items()
        )
        for name, found in c.predictions.items():
            if found.rows:
                yield folded(f"{name}: the {len(found.rows)} that changed most", table(found.header, found.rows))


def markdown(comparison: Comparison) -> str:
    """The comparison in Markdown."""
    return "\n\n".join(_blocks(comparison)) + "\n"
