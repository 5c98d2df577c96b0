"""What the report says about births."""

from markupsafe import Markup

from stages.report import charts
from stages.report.page import figure, grid
from stages.report.run import Metric, Run, Story

METRICS = (
    Metric("rmse", "RMSE", "{:.3f} lb"),
    Metric("baselines.linear.rmse", "RMSE of the linear baseline", "{:.3f} lb"),
    Metric("baselines.mean.rmse", "RMSE of the mean", "{:.3f} lb"),
    Metric("mae", "mean absolute error", "{:.3f} lb"),
    Metric("r2", "R²", "{:.3f}"),
)


def learning_curve(run: Run) -> Markup:
    """Training and validation error by step."""
    rows = run.table("curve.csv")
    values = {"validation": [(row["step"], row["validation_rmse"]) for row in rows]}
    chart = charts.lines(values, "optimiser step", "RMSE on validation births (lb)")
    first, last = rows[0], rows[-1]
    words = (
        f"The RMSE on validation births goes from {first['validation_rmse']:.3f} lb at step {first['step']} "
        f"to {last['validation_rmse']:.3f} lb at step {last['step']}."
    )
    return figure(charts.svg(chart, words), "Learning curve", words)


def story(run: Run) -> Story:
    """Births: the weight of a baby."""
    rmse, linear, mean = (run.metric(metric.key) for metric in METRICS[:3])
    beside = (
        f"linear baseline: {linear:.3f} lb, mean: {mean:.3f} lb",
        f"{1 - rmse / linear:.1%} below the linear baseline",
    )
    body = grid(learning_curve(run))
    return Story(
        "Births", "A baby's weight in pounds, from what is known before its birth.", METRICS, beside, None, body
    )
