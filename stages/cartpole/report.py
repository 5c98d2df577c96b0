"""What the report says about the agent, whatever environment it was trained in."""

from markupsafe import Markup

from stages.report import charts
from stages.report.page import figure, grid
from stages.report.run import Metric, Run, Story

METRICS = (
    Metric("mean_return", "mean return", "{:.1f}"),
    Metric("min_return", "least return", "{:.0f}"),
    Metric("solved", "solved"),
)


def environment(run: Run) -> str:
    """Name of the environment that the model was trained for."""
    name: str = run.provenance["parameters"]["cartpole"]["train"]["env"]
    return name


def learning_curve(run: Run) -> Markup:
    """Return of each episode while learning."""
    rows = run.table("curve.csv")
    chart = charts.lines({"episodes": [(row["steps"], row["return"]) for row in rows]}, "environment steps", "return")
    words = f"Returns of {len(rows)} episodes while learning."
    return figure(charts.svg(chart, words), "Returns while learning", words)


def story(run: Run) -> Story:
    """The agent: how it plays."""
    name = environment(run)
    beside = (f"threshold: {run.metric('threshold'):g}, over {run.metric('episodes')} fresh episodes",)
    return Story(
        f"Agent in {name}",
        "A deep Q-network, trained until it solves its environment.",
        METRICS,
        beside,
        None,
        grid(learning_curve(run)),
    )
