"""What the report says about the agent, in whatever environment it was trained."""

import io
from typing import Any

import altair as alt
import numpy as np
from markupsafe import Markup
from PIL import Image

from stages.report import charts
from stages.report.page import animation, details, facts, figure, grid, heading, join, table
from stages.report.run import Row, Run, Story

BINS = 20  # of the histogram of returns
LOOKS = {
    "while learning": (charts.COLOURS[4], "circle", 22),
    "greedy trial": (charts.COLOURS[0], "diamond", 70),
    "trial given up": (charts.COLOURS[1], "triangle-up", 60),
}
"""Colour, shape and size of the marks of each kind of return."""
SHOWN_ACTIONS = 4  # heat maps of action values
SHOWN_VALUES = 7  # of either observation in the table of action values


def environment(run: Run) -> str:
    """Name of the environment that the model was trained for."""
    return str(run.provenance["parameters"]["cartpole"]["train"]["env"])


def learning_curve(run: Run) -> Markup:
    """Return of each episode while learning, and of the greedy trials that decide when it stops."""
    episodes, trials = run.table("curve.csv", empty=True), run.table("trials.csv", empty=True)
    if not episodes and not trials:
        return figure(Markup(), "Returns while learning", "The training ended before its first episode did.")
    groups = (episodes, [t for t in trials if t["complete"]], [t for t in trials if not t["complete"]])
    kinds = {kind: group for kind, group in zip(LOOKS, groups, strict=True) if group}
    rows = [{**row, "played": kind} for kind, group in kinds.items() for row in group]
    looks = zip(*(LOOKS[kind] for kind in kinds), strict=True)
    colour, shape, size = (alt.Scale(domain=list(kinds), range=list(look)) for look in looks)
    values = [row["return"] for row in rows]
    log = min(values) > 0 and max(values) > 30 * min(values)  # trials over many time limits, and first attempts
    points = charts.chart(rows).mark_point(filled=True, opacity=0.8)
    points = points.encode(
        x=alt.X("steps:Q", title="environment steps"),
        y=charts.y_axis("return:Q", "return", values, log=log),
        color=alt.Color("played:N", scale=colour),
        shape=alt.Shape("played:N", scale=shape),
        size=alt.Size("played:N", scale=size),
    )
    threshold = trials[0]["threshold"] if trials else run.metric("threshold")
    chart = points + _rule(threshold, "y")
    passed = f" The last, after {trials[-1]['steps']:,} steps, reaches {trials[-1]['return']:,g}." if trials else ""
    limits = run.parameters["train"]["stop"]["time_limits"]
    long = f", each up to {limits} time limits long" if limits > 1 else ""
    words = (
        f"{len(episodes):,} episodes with exploration, {len(trials)} greedy trials{long}.{passed} "
        "Dashed: to be reached."
    )
    return figure(charts.svg(chart, f"Returns while learning. {words}"), "Returns while learning", words)


def _rule(threshold: float | None, axis: str) -> Any:
    rows = [] if threshold is None else [{"threshold": threshold}]
    return charts.chart(rows).mark_rule(strokeDash=[4, 3], color=charts.SOFT).encode(**{axis: "threshold:Q"})


def histogram(run: Run) -> Markup:
    """Returns of the fresh greedy episodes."""
    returns = sorted(row["return"] for row in run.table("evaluation/returns.csv"))
    threshold = run.metric("threshold")
    shown = returns if threshold is None else [*returns, threshold]
    counts, edges = np.histogram(returns, BINS, (min(shown), max(shown)))
    bins = zip(edges[:-1].tolist(), counts.tolist(), strict=True)
    rows = [{"return": round(low, 4), "episodes": count} for low, count in bins if count]
    chart = charts.bars(rows, "return", "episodes", "return", "episodes", edges[1] - edges[0]) + _rule(threshold, "x")
    words = f"{len(returns)} fresh greedy episodes, from {returns[0]:g} to {returns[-1]:g}. Dashed: solved."
    return figure(charts.svg(chart, f"Histogram of returns. {words}"), "Returns of the exported agent", words)


def plane_chart(rows: list[Row], titles: tuple[str, str]) -> alt.Chart:
    """The plane of two observations in squares, without colours yet."""
    x, y = list(rows[0])[:2]
    edges: dict[str, str] = {}
    for name in (x, y):
        values = {row[name] for row in rows}
        half = (max(values) - min(values)) / (len(values) - 1) / 2
        edges |= {f"{name}_from": f"datum.{name} - {half}", f"{name}_to": f"datum.{name} + {half}"}
    squares = charts.chart(rows, width=charts.WIDTH - 40, height=charts.HEIGHT + 10).mark_rect(aria=False)
    scale = alt.Scale(nice=False, zero=False)
    return squares.transform_calculate(**edges).encode(
        x=alt.X(f"{x}_from:Q", title=titles[0], scale=scale),
        x2=f"{x}_to:Q",
        y=alt.Y(f"{y}_from:Q", title=titles[1], scale=scale),
        y2=f"{y}_to:Q",
    )


def action_values(run: Run) -> list[Markup]:
    """Each action's value and the best action over the plane of two observations, the others zero."""
    plane = run.parameters["evaluate"]["plane"]
    rows = [] if plane is None else run.table("examples.csv", empty=True)
    if not rows:  # no plane, or none in an image
        return []
    titles = (plane["x_label"], plane["y_label"])
    chart, over = plane_chart(rows, titles), f"over {titles[0]} and {titles[1]}"
    actions = [name for name in rows[0] if name.startswith("value_")]
    values = [row[name] for row in rows for name in actions]
    low, high = min(values), max(values)
    scale, legend = alt.Scale(scheme="viridis", domain=[low, high]), alt.Legend(gradientLength=charts.WIDTH - 60)
    figures = []
    for number, name in enumerate(actions[:SHOWN_ACTIONS]):
        coloured = chart.encode(color=alt.Color(f"{name}:Q", scale=scale, legend=legend))
        words = f"Value of action {number} {over}, from {low:.3g} to {high:.3g}."
        figures.append(figure(charts.svg(coloured, words), f"Value of action {number}"))
    best = chart.encode(color=alt.Color("action:N", scale=alt.Scale(domain=list(range(len(actions))))))
    note = "All other observations are zero."
    picture = join(charts.svg(best, f"Best action {over}."), details("Values", values_table(rows, actions, titles)))
    return [*figures, figure(picture, "Best action", note)]


def values_table(rows: list[Row], actions: list[str], titles: tuple[str, str]) -> Markup:
    """The action values as a table: at most SHOWN_VALUES evenly spaced values of either observation."""
    names = list(rows[0])[:2]
    shown = [thinned(sorted({row[name] for row in rows})) for name in names]
    header = (*titles, *(f"value of action {number}" for number in range(len(actions))), "best action")
    lines = [
        (*(f"{row[name]:.3g}" for name in names), *(f"{row[name]:.3g}" for name in actions), row["action"])
        for row in rows
        if all(row[name] in values for name, values in zip(names, shown, strict=True))
    ]
    return table(header, lines, "Values of the actions")


def thinned(values: list[float]) -> set[float]:
    """At most SHOWN_VALUES evenly spaced ones of sorted values, the first and the last among them."""
    places = np.linspace(0, len(values) - 1, min(SHOWN_VALUES, len(values)))
    return {values[round(place)] for place in places.tolist()}


def agent_gif(run: Run) -> Markup | None:
    """The agent in motion; None where the environment draws no pictures."""
    path = run.folder / "evaluation" / "agent.gif"
    if not path.exists():
        return None
    data = path.read_bytes()
    with Image.open(path) as moving:
        width, height = moving.size
        still = io.BytesIO()
        moving.convert("RGB").quantize(32).save(still, "PNG", compress_level=0)
    return animation(data, still.getvalue(), f"The agent playing {environment(run)}", width, height)


def story(run: Run) -> Story:
    """The agent: how it plays."""
    name, threshold = environment(run), run.metric("threshold")
    played = f"least of {run.metric('episodes')} fresh episodes in {name}: {run.metric('min_return'):g}"
    solved = "no threshold is known" if threshold is None else f"solved from a mean of {threshold:g} on"
    gif = agent_gif(run)
    trained = run.json("train.json")
    body = join(
        facts({"environment": name, **{key.replace("_", " "): value for key, value in trained.items()}}),
        heading("Model"),
        grid(learning_curve(run), histogram(run), figure(gif, "An episode") if gif else Markup(), *action_values(run)),
    )
    return Story((played, solved), gif, body)
