"""The whole chain of births at several sizes: seconds and peak memory of each stage.

Runs prepare, train, export, evaluate, inspect, predict and report on synthetic births, each stage in a process of its
own, in a scratch clone that has no other workload's results. Writes `chain.csv` and `chain.md`.

    python -m benchmarks.chain --births 10000000 40000000
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.environments import FOLDER, processor
from benchmarks.timing import timed
from stages.core.files import significant, write_table, write_text
from tools.scratch import ROOT, change, clone

RESULTS = "results/babyweight"
REQUEST = "data/requests/babyweight.json"
STAGES = {
    "prepare": (
        *("babyweight.prepare", "--raw", "data/raw/babyweight", "--sample", "data/samples/births.csv"),
        *("data/babyweight", f"{RESULTS}/prepare.json"),
    ),
    "train": (
        *("babyweight.train", "data/babyweight", "weights/babyweight", f"{RESULTS}/train.json"),
        f"{RESULTS}/curve.csv",
    ),
    "export": ("export", "babyweight", "weights/babyweight", "models/babyweight"),
    "evaluate": (
        *("babyweight.evaluate", "models/babyweight", "data/babyweight", f"{RESULTS}/evaluate.json"),
        *(f"{RESULTS}/evaluation", f"{RESULTS}/examples.csv"),
    ),
    "inspect": (
        *("inspect_model", "babyweight", "models/babyweight", REQUEST),
        *(f"{RESULTS}/signature.json", f"{RESULTS}/signature.txt"),
    ),
    "predict": (
        *("predict", "babyweight", "models/babyweight", REQUEST, "data/requests/expected/babyweight.json"),
        f"{RESULTS}/predictions.json",
    ),
    "report": ("report.build", "reports"),
}
"""Each stage's command, as in dvc.yaml."""

COLUMNS = ("births", "stage", "wall_s", "cpu_s", "peak_mb")
TABLE = 137_800_000
"""Births of BigQuery's table."""

Row = dict[str, Any]


def run(folder: Path, births: int, stage: str) -> Row:
    """Run a stage once: wall clock and processor time, and the peak of resident memory."""
    module, *arguments = STAGES[stage]
    values = timed(stage, [sys.executable, "-m", f"stages.{module}", *arguments], cwd=folder)._asdict()
    return {"births": births, "stage": stage, **{name: significant(value, 3) for name, value in values.items()}}


def measure(births: int) -> list[Row]:
    """All stages, one after the other."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        folder = clone(Path(scratch) / "project")
        shutil.rmtree(folder / "results" / "mnist", ignore_errors=True)
        shutil.rmtree(folder / "results" / "cartpole", ignore_errors=True)
        change(folder, "babyweight.prepare.source.rows", births)
        return [run(folder, births, stage) for stage in STAGES]


def table(rows: list[Row], note: str) -> str:
    """All runs as Markdown; the largest size's memory grown in proportion to BigQuery's table."""
    sizes = sorted({row["births"] for row in rows})
    of = {(row["births"], row["stage"]): row for row in rows}
    lines = [
        "# The chain of births",
        "",
        f"{processor()}, {os.cpu_count()} cores{note}. Synthetic births; one run each. In the last column, memory "
        f"grows from the largest size as it did from the smallest one, to the {TABLE:,} births of BigQuery's table.",
        "",
        "| stage | " + " | ".join(f"{n:,}: s | MB" for n in sizes) + f" | {TABLE:,}: MB |",
        "| --- |" + " ---: |" * (2 * len(sizes) + 1),
    ]
    for stage in STAGES:
        first, last = (of[size, stage]["peak_mb"] for size in (sizes[0], sizes[-1]))
        slope = (last - first) / (sizes[-1] - sizes[0]) if len(sizes) > 1 else 0.0
        grown = max(last, last + slope * (TABLE - sizes[-1]))
        cells = [f"{of[size, stage][name]:g}" for size in sizes for name in ("wall_s", "peak_mb")]
        lines.append(f"| {stage} | {' | '.join(cells)} | {grown:,.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the chain at each size, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--births", type=int, nargs="+", default=[10_000_000, 40_000_000])
    parser.add_argument("--note", default="", help="what the table says of the machine, after its cores")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()

    FOLDER.mkdir(exist_ok=True)
    rows = [row for births in args.births for row in measure(births)]
    write_table(args.results / "chain.csv", rows, COLUMNS)
    write_text(args.results / "chain.md", table(rows, args.note))


if __name__ == "__main__":
    main()
