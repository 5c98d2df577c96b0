"""The page of a sweep: its trials as parallel coordinates and as a table, and the best one's command."""

import math
from dataclasses import dataclass
from typing import Any

import altair as alt
from markupsafe import Markup

from stages.report import charts
from stages.report.page import Section, facts, figure, join, page, paragraph, table, text
from stages.report.run import metric_text
from stages.workloads import Metric

SHOWN = 30


@dataclass(frozen=True)
class Trial:
    """A trial on the furthest rung that it reached.

    Args:
        number: of the draw.
        experiment: name of its experiment.
        values: its parameters.
        value: the metric.
        fraction: of the steps that it trained.
        verdict: how the metric compares with the state that the sweep began at, as a comparison judges it.
    """

    number: int
    experiment: str
    values: dict[str, Any]
    value: float
    fraction: float
    verdict: str = "not judged"

    @property
    def command(self) -> str:
        """How to bring the trial into the work tree."""
        return f"dvc exp apply {self.experiment}"


def coordinates(trials: list[Trial], metric: str, sign: int) -> Any:
    """Parallel coordinates: a line a trial, an axis a parameter and one for the metric, each from least to most."""
    keys = [*trials[0].values, metric]
    rows = []
    scales: dict[str, list[Any]] = {
        key: sorted({_orderable(_value(trial, key, metric)) for trial in trials}) for key in keys
    }
    order = sorted(trials, key=lambda t: sign * t.value)
    for rank, trial in enumerate(order):
        for key in keys:
            value, values = _value(trial, key, metric), scales[key]
            place = _place(_orderable(value), values)
            rows.append(
                {"trial": trial.experiment, "axis": key, "place": place, "value": text(value),
                 "rank": rank / max(1, len(order) - 1)}
            )  # fmt: skip
    base = charts.chart(rows, width=max(340, 220 * (len(keys) - 1)), height=260).encode(
        x=alt.X("axis:N", sort=keys, title=None, axis=alt.Axis(labelAngle=0, labelLimit=210, grid=True)),
        y=alt.Y("place:Q", title="least to most", axis=None),
        detail="trial:N",
    )
    lines = base.mark_line(strokeWidth=2, color=charts.COLOURS[0]).encode(
        opacity=alt.Opacity("rank:Q", scale=alt.Scale(range=[0.12, 1]), legend=None)
    )
    dots = base.mark_point(filled=True, size=36, color=charts.COLOURS[0]).encode(
        opacity=alt.Opacity("rank:Q", scale=alt.Scale(range=[0.12, 1]), legend=None),
        tooltip=["trial:N", "axis:N", "value:N"],
    )
    ends = [
        {"axis": key, "place": place, "label": text(values[index])}
        for key, values in scales.items()
        for place, index in ((-0.06, 0), (1.06, -1))
        if place < 0 or len(values) > 1
    ]
    labels = (
        charts.chart(ends)
        .mark_text(color=charts.SOFT, fontSize=11)
        .encode(x=alt.X("axis:N", sort=keys), y="place:Q", text="label:N")
    )
    return lines + dots + labels


def _value(trial: Trial, key: str, metric: str) -> Any:
    return trial.value if key == metric else trial.values[key]


def _orderable(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text(value)


def _place(value: Any, values: list[Any]) -> float:
    """Where a value lies between the least (0) and the most (1).

    By its size, by its logarithm if values span more than a decade, or by its rank if it is no number.
    """
    if len(values) == 1:
        return 0.5
    if isinstance(value, str):
        return values.index(value) / (len(values) - 1)
    if values[0] > 0 and values[-1] > 10 * values[0]:
        return math.log(value / values[0]) / math.log(values[-1] / values[0])
    return float((value - values[0]) / (values[-1] - values[0]))


def page_of(name: str, metric: str, sign: int, trials: list[Trial], tried: int, written: Metric | None = None) -> str:
    """The page.

    Args:
        name: of the sweep.
        metric: key of the metric that judges.
        sign: 1 if higher is better, -1 if lower.
        trials: those with a result, the best first.
        tried: how many were drawn.
        written: how the metric is written; None: as any number.
    """
    form = written or Metric(metric, metric)
    best, whole = trials[0], [trial for trial in trials if trial.fraction == 1]
    known = {
        "trials": tried,
        "with a result": len(trials),
        "trained in full": len(whole),
        f"best {metric}": metric_text(form, best.value),
        "against the start": best.verdict,
    }
    better = "higher" if sign > 0 else "lower"
    words = f"{len(trials)} trials; the better its {metric} ({better}), the darker a line."
    picture = figure(charts.svg(coordinates(trials, metric, sign), words), "Parallel coordinates", words)
    rows = [
        (
            Markup("<code>{}</code>").format(t.experiment),
            *map(text, t.values.values()),
            f"{t.fraction:.0%}",
            metric_text(form, t.value),
            t.verdict,
        )
        for t in trials[:SHOWN]
    ]
    header = ("experiment", *best.values, "steps", metric, "against the start")
    command = paragraph(Markup("Bring the best one into the work tree: <code>{}</code>").format(best.command))
    sections = [
        Section("best", "Best", join(facts(known), command)),
        Section("trials", "Trials", join(picture, table(header, rows, f"The best {len(rows)}"))),
    ]
    return page(f"Sweep {name}", f"Experiments with other parameters, judged by {metric}.", sections)
