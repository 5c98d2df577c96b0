"""Put what the three models reached on one page, from their metrics files alone."""

import argparse
from pathlib import Path
from typing import Any

from stages.core.errors import InputError, run
from stages.core.files import read_json, write_text

ROWS = (
    ("babyweight", "RMSE", "rmse", "{:.3f} lb"),
    ("babyweight", "RMSE of the linear baseline", "baselines.linear.rmse", "{:.3f} lb"),
    ("babyweight", "RMSE of the mean", "baselines.mean.rmse", "{:.3f} lb"),
    ("babyweight", "mean absolute error", "mae", "{:.3f} lb"),
    ("babyweight", "R²", "r2", "{:.3f}"),
    ("mnist", "accuracy", "accuracy", "{:.2%}"),
    ("mnist", "cross entropy", "loss", "{:.4f} nats"),
    ("mnist", "expected calibration error", "expected_calibration_error", "{:.2%}"),
    ("cartpole", "mean return", "mean_return", "{:.1f}"),
    ("cartpole", "least return", "min_return", "{:.0f}"),
    ("cartpole", "solved", "solved", "{}"),
)
"""Workload, what a person calls it, the metric's key, how it is written."""


def find(metrics: dict[str, Any], key: str, where: Path) -> Any:
    """A metric by its dotted key.

    Raises:
        InputError: if the file has no such metric.
    """
    value: Any = metrics
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise InputError(f"{where}: expected the metric {key}")
        value = value[part]
    return value


def table(results: Path) -> list[str]:
    """Lines of the Markdown table of all metrics."""
    lines = ["| model | metric | held-out data |", "| --- | --- | ---: |"]
    for workload, label, key, form in ROWS:
        path = results / workload / "evaluate.json"
        value = find(read_json(path), key, path)
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else form.format(value)
        lines.append(f"| {workload} | {label} | {text} |")
    return lines


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder of the metrics")
    parser.add_argument("report", type=Path, help="Markdown file to write")
    args = parser.parse_args()

    write_text(args.report, "\n".join(["# Results", "", *table(args.results)]) + "\n")


if __name__ == "__main__":
    run(main)
