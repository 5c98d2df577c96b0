"""What the report says about handwritten digits."""

import io
from collections import Counter
from collections.abc import Iterable
from operator import itemgetter

import altair as alt
import numpy as np
from markupsafe import Markup
from PIL import Image

from stages.report import charts
from stages.report.page import NO_CURVE, facts, figure, grid, heading, image, join
from stages.report.run import Row, Run, Story


def learning_curve(run: Run) -> Markup:
    """Cross entropy by step."""
    if not (rows := run.table("curve.csv", empty=True)):
        return figure(Markup(), "Learning curve", NO_CURVE)
    columns = {"training, distorted": "loss", "validation": "validation_loss"}
    values = {name: [(row["step"], row[column]) for row in rows] for name, column in columns.items()}
    words = f"Validation ends at {rows[-1]['validation_loss']:.4f} nats."
    chart = charts.lines(values, "optimiser step", "cross entropy (nats)", log=True)
    return figure(charts.svg(chart, f"Cross entropy by step. {words}"), "Learning curve", words)


def accuracy_curve(run: Run) -> Markup:
    """Validation errors by step."""
    if not (rows := run.table("curve.csv", empty=True)):
        return figure(Markup(), "Error rate", NO_CURVE)
    values = {"validation": [(row["step"], round(100 * (1 - row["validation_accuracy"]), 4)) for row in rows]}
    words = f"{rows[-1]['validation_accuracy']:.2%} of the validation images are right at the end."
    chart = charts.lines(values, "optimiser step", "validation images wrong (%)", zero=True)
    return figure(charts.svg(chart, f"Wrong validation images by step. {words}"), "Error rate", words)


def confusions(run: Run) -> Markup:
    """A table of how often a digit is taken for another."""
    counts = Counter((row["actual"], row["predicted"]) for row in run.table("evaluation/confusion.csv", empty=True))
    most = max(counts.values(), default=1)
    classes = sorted({int(label) for label in run.metric("recall")} | {predicted for _, predicted in counts})

    def cell(actual: int, predicted: int) -> Markup:
        count = counts[actual, predicted]
        if actual == predicted:
            return Markup('<td class="own"><span aria-label="right">·</span></td>')
        shade = f"background:color-mix(in srgb, var(--c2) {10 + 40 * count // most}%, transparent)" if count else ""
        return Markup('<td style="{}">{}</td>').format(shade, count or "")

    def line(actual: int) -> Markup:
        cells = join(*(cell(actual, predicted) for predicted in classes))
        wrong = sum(counts[actual, predicted] for predicted in classes)
        return Markup('<tr><th scope="row">{}</th>{}<td>{}</td></tr>').format(actual, cells, wrong)

    head = join(*(Markup('<th scope="col">{}</th>').format(label) for label in classes))
    matrix = Markup(
        '<table class="confusions"><thead><tr><th scope="col">is</th>{}<th scope="col">all</th></tr></thead>'
        "<tbody>{}</tbody></table>"
    ).format(head, join(*map(line, classes)))
    words = "Rows: what the image shows. Columns: what the model says. Counts of wrong images alone."
    if counts:
        actual, predicted = max(sorted(counts), key=counts.__getitem__)
        words += f" Most often, {most} times, a {actual} is taken for a {predicted}."
    return figure(matrix, f"{sum(counts.values())} wrong of {run.metric('test_images'):,}", words)


def reliability(run: Run) -> Markup:
    """Accuracy by confidence, each bin as large as it has images."""
    rows = run.table("evaluation/calibration.csv")
    chart = charts.against_diagonal(rows, "confidence", "accuracy", "mean confidence", "accuracy", size="images")
    if "low" in rows[0]:
        intervals = charts.chart(rows).mark_rule(color=charts.SOFT).encode(x="confidence:Q", y="low:Q", y2="high:Q")
        chart = intervals + chart
    surest = rows[-1]
    words = (
        f"Area and number: images of a bin; lines: 95% intervals. {surest['images']:,} images are in the last, "
        f"at {surest['confidence']:.2%} confidence and {surest['accuracy']:.2%} accuracy."
    )
    return figure(charts.svg(chart, f"Accuracy by confidence. {words}"), "Reliability", words)


def recall(run: Run) -> Markup:
    """How many of each digit are missed."""
    rows = []
    for digit, right in run.metric("recall").items():
        low, high = run.interval(f"recall.{digit}") or (right, right)
        percent = {"images missed (%)": right, "from": high, "to": low}
        rows.append({"digit": digit, **{name: round(100 * (1 - r), 4) for name, r in percent.items()}})
    base = charts.chart(rows).encode(x=alt.X("digit:N", axis=alt.Axis(labelAngle=0)))
    intervals = base.mark_rule(color=charts.SOFT).encode(y=alt.Y("from:Q", title="images missed (%)"), y2="to:Q")
    chart = base.mark_bar().encode(y=alt.Y("images missed (%):Q", title="images missed (%)")) + intervals
    worst = max(rows, key=itemgetter("images missed (%)"))
    words = f"Hardest: {worst['digit']}, of which {worst['images missed (%)']:.2f}% are missed. Lines: 95% intervals."
    return figure(charts.svg(chart, f"Missed images by digit. {words}"), "Missed by digit", words)


def picture(pixels: np.ndarray, description: str) -> Markup:
    """An image of the data as a PNG, stored uncompressed: compressed bytes depend on the compressor."""
    file = io.BytesIO()
    Image.fromarray(pixels.reshape(28, 28)).save(file, "PNG", compress_level=0)
    return image(file.getvalue(), "png", description, 56, 56)


def digits(run: Run, rows: Iterable[Row], probability: bool = True) -> Markup:
    """Test images with what the model says of them."""
    images = np.load(run.data / "test" / "images.npy", mmap_mode="r")

    def item(row: Row) -> Markup:
        actual, predicted, sure = row["actual"], row["predicted"], f"{row['probability']:.0%}"
        words = f"A {actual}, taken for a {predicted} at {sure}: image {row['image']}"
        return Markup('<li class="{}">{}{} → <b>{}</b>{}</li>').format(
            "right" if actual == predicted else "wrong",
            picture(images[row["image"]], words),
            actual,
            predicted,
            Markup("<br>{}").format(sure) if probability else "",
        )

    return Markup('<ul class="digits">{}</ul>').format(join(*map(item, rows)))


def story(run: Run) -> Story:
    """Digits: which one an image shows."""
    worst = run.table("evaluation/worst.csv")
    wrong = round((1 - run.metric("accuracy")) * run.metric("test_images"))
    beside = (f"{wrong} of {run.metric('test_images'):,} test images wrong; the worst:",)
    prepared = run.json("prepare.json")
    body = join(
        heading("Data"),
        facts({name.replace("_", " "): count for name, count in prepared.items()}),
        heading("Model"),
        grid(learning_curve(run), accuracy_curve(run), confusions(run), reliability(run), recall(run)),
        heading(f"The {len(worst)} worst-classified images"),
        Markup(
            '<p class="soft">Ordered by the probability of the digit that the image shows, least first: '
            "what it shows → what the model says, and how probable it calls that.</p>"
        ),
        digits(run, worst),
    )
    return Story(beside, digits(run, worst[:10], probability=False), body)
