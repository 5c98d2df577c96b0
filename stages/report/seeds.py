"""What other seeds make of a workload's recipe: a curve with its band, and the interquartile mean with its interval."""

import altair as alt
from markupsafe import Markup

from stages.evaluation.seeds import FEWEST, Seeds
from stages.report import charts
from stages.report.page import figure, grid, heading, join, paragraph
from stages.report.run import Run, interval_text, metric_text


def middle(run: Run, seeds: Seeds) -> str:
    """The headline's interquartile mean over seeds, with its interval, in words."""
    metric, found = run.workload.metrics[0], seeds.interquartile_mean
    noise = seeds.deviation
    shown = metric_text(metric, found.value, noise)
    if found.low is None or found.high is None:
        return shown
    return f"{shown}, 95% interval {interval_text(metric, (found.low, found.high), noise)}"


def curve(run: Run, seeds: Seeds) -> Markup:
    """The interquartile mean of the learning curves in its band; nothing for fewer than three."""
    points = seeds.band()
    if not points:
        return Markup()
    name = (run.workload.curve or f"validation {run.workload.headline}").replace("_", " ")
    rows = [{"step": step, name: e.value, "low": e.low, "high": e.high} for step, e in points]
    x = alt.X("step:Q", title="steps", scale=alt.Scale(nice=False))
    base = charts.chart(rows).encode(x=x)
    y = alt.Y("low:Q", title=name, scale=alt.Scale(zero=False))
    band = base.mark_area(opacity=0.25, color=charts.COLOURS[0]).encode(y=y, y2="high:Q")
    line = base.mark_line(point=alt.OverlayMarkDef(opacity=0)).encode(y=f"{name}:Q")
    words = (
        f"Interquartile mean of {len(seeds.curves)} seeds, and its 95% interval. A run that ended counts with its last "
        "value."
    )
    return figure(charts.svg(band + line, f"{name} by step. {words}"), f"Over seeds: {name}", words)


def section(run: Run, seeds: Seeds | None) -> Markup:
    """What seeds besides the shipped one make of the recipe; how to find out, if none were run."""
    command = Markup("<code>make seeds WORKLOAD={}</code>").format(run.name)
    if not run.workload.metrics:
        return Markup()
    if seeds is None or len(seeds.values) < FEWEST:
        words = Markup("How far another seed moves these results was not measured for this recipe: {}.").format(command)
        return join(heading("Over seeds"), paragraph(words, "soft"))
    metric, values = run.workload.metrics[0], seeds.values.values()
    spread = metric_text(metric, seeds.deviation, seeds.deviation) if seeds.deviation else metric_text(metric, 0.0)
    ends = interval_text(metric, (min(values), max(values)), seeds.deviation)
    words = Markup(
        "{} seeds besides this one: interquartile mean of the {} {}; from {}; standard deviation {} ({})."
    ).format(len(values), metric.label, middle(run, seeds), ends, spread, command)
    return join(heading("Over seeds"), paragraph(words), grid(curve(run, seeds)))
