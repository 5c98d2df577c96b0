"""Compare accuracy against training time: this project, `keras.Model.fit` and PyTorch on the digits.

Each contestant trains the same network on the same distortions with Adam and one cycle of the rate, over several
numbers of steps and seeds, in turns, each in a process of its own, PyTorch in the environment that
`benchmarks.training` makes. This project does it twice, as the pipeline does and by the others' recipe. Needs
`dvc repro prepare@mnist`. Runs that `accuracy.csv` already holds are kept. Writes `accuracy.csv` (every run),
`accuracy.md` (means) and `accuracy.png`.

    python -m benchmarks.accuracy
"""

import argparse
import csv
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from benchmarks.environments import processor
from benchmarks.training import ROOT, finished, start
from stages.core.files import significant, write_table, write_text

CONTESTANTS = {
    "this project": ("fit_ours", "chunks, hardest"),
    "this project, from all images": ("fit_ours", "chunks"),
    "Keras' fit, tf.data, 100 steps a call": ("fit_keras", "tf.data, 100 steps a call"),
    "PyTorch, channels last": ("fit_torch", "channels last"),
}
STEPS = {"this project": (850, 1700, 3400, 5100)}
FROM_ALL = (1700, 3400, 5100, 6800)
"""Steps of 64 images, a little shorter than this project's, which choose the hardest of 128."""
COLUMNS = ("contestant", "steps", "seed", "accuracy", "seconds", "cpu_seconds")

Row = dict[str, Any]


def measure(contestant: str, steps: int, seed: int) -> Row:
    """Train from a seed, compilation included; test accuracy and seconds."""
    options = ("--warm-up", "0", "--steps", str(steps), "--seed", str(seed))
    result = finished(start(*CONTESTANTS[contestant], "mnist", os.sched_getaffinity(0), *options))
    figures = {name: significant(result[name], 4) for name in COLUMNS[3:]}
    return {"contestant": contestant, "steps": steps, "seed": seed, **figures}


def points(rows: list[Row], contestant: str) -> dict[int, dict[str, list[float]]]:
    """A contestant's figures by the number of steps."""
    own = [row for row in rows if row["contestant"] == contestant]
    return {
        steps: {name: [float(row[name]) for row in own if row["steps"] == steps] for name in COLUMNS[3:]}
        for steps in sorted({row["steps"] for row in own})
    }


def table(rows: list[Row]) -> str:
    """The means in Markdown."""
    lines = [
        f"{time.strftime('%Y-%m-%d')}, two cores of {processor()}: test accuracy of the digits (mean and standard",
        "deviation over the seeds), and medians of the seconds that training took, compilation included, and of the",
        "time of both cores together. The same network, distortions, Adam and cycle of the rate. This project learns",
        "from the hardest quarter of 128 images a step, the others and its second rows from all of 64.",
        "",
        "| | steps | seeds | accuracy | seconds | processor seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for contestant in CONTESTANTS:
        for steps, found in points(rows, contestant).items():
            accuracies = [100 * value for value in found["accuracy"]]
            spread = f" ± {statistics.stdev(accuracies):.3f}" if len(accuracies) > 1 else ""
            seconds, cpu = (f"{statistics.median(found[name]):.1f}" for name in ("seconds", "cpu_seconds"))
            mean = f"{statistics.fmean(accuracies):.3f}{spread} %"
            lines.append(f"| {contestant} | {steps:,} | {len(accuracies)} | {mean} | {seconds} | {cpu} |")
    return "\n".join(lines) + "\n"


def plot(path: Path, rows: list[Row]) -> None:
    """Draw accuracy against seconds, a line a contestant; each point tells its steps."""
    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for contestant, colour in zip(CONTESTANTS, ("tab:blue", "tab:cyan", "tab:orange", "tab:grey"), strict=True):
        found = points(rows, contestant)
        seconds = [statistics.median(figures["seconds"]) for figures in found.values()]
        accuracies = [[100 * value for value in figures["accuracy"]] for figures in found.values()]
        means = [statistics.fmean(values) for values in accuracies]
        errors = [statistics.stdev(v) / len(v) ** 0.5 if len(v) > 1 else 0.0 for v in accuracies]
        axis.errorbar(seconds, means, errors, marker="o", capsize=3, color=colour, label=contestant)
        for steps, x, y in zip(found, seconds, means, strict=True):
            axis.annotate(f"{steps:,}", (x, y), xytext=(4, -12), textcoords="offset points", fontsize=8, color=colour)
    axis.set(xlabel="training, seconds", ylabel="test accuracy, %", title="Digits: accuracy by training time and steps")
    axis.set_xlim(left=0)
    axis.legend(loc="lower right", frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=80, metadata={"Software": None})


def main() -> None:
    """Measure what is missing, write the results after each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()
    path = args.results / "accuracy.csv"
    rows: list[Row] = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    rows = [row | {"steps": int(row["steps"]), "seed": int(row["seed"])} for row in rows]
    done = {(row["contestant"], row["steps"], row["seed"]) for row in rows}
    for seed in range(args.seeds):
        for place in range(len(FROM_ALL)):
            for contestant in CONTESTANTS:
                steps = STEPS.get(contestant, FROM_ALL)[place]
                if (contestant, steps, seed) not in done:
                    rows.append(measure(contestant, steps, seed))
                    print(json.dumps(rows[-1]), flush=True)
                    write_table(path, rows, COLUMNS)
        write_text(args.results / "accuracy.md", table(rows))
        plot(args.results / "accuracy.png", rows)


if __name__ == "__main__":
    main()
