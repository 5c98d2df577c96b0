"""What the report says about handwritten digits."""

from markupsafe import Markup

from stages.report import charts
from stages.report.page import figure, grid
from stages.report.run import Metric, Run, Story

METRICS = (
    Metric("accuracy", "accuracy", "{:.2%}"),
    Metric("loss", "cross entropy", "{:.4f} nats"),
    Metric("expected_calibration_error", "expected calibration error", "{:.2%}"),
)


def learning_curve(run: Run) -> Markup:
    """Cross entropy by step."""
    rows = run.table("curve.csv")
    values = {
        name: [(row["step"], row[key]) for row in rows]
        for name, key in (("training, distorted", "loss"), ("validation", "validation_loss"))
    }
    words = f"The cross entropy on validation images ends at {rows[-1]['validation_loss']:.4f} nats."
    chart = charts.lines(values, "optimiser step", "cross entropy (nats)", log=True)
    return figure(charts.svg(chart, words), "Learning curve", words)


def story(run: Run) -> Story:
    """Digits: which one an image shows."""
    wrong = round((1 - run.metric("accuracy")) * run.metric("test_images"))
    beside = (f"{wrong} of {run.metric('test_images'):,} test images wrong",)
    return Story(
        "Digits", "Which digit an image of 28 by 28 pixels shows.", METRICS, beside, None, grid(learning_curve(run))
    )
