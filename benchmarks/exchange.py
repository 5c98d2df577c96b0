"""From which batch on a second worker pays: two processes that exchange over loopback, each on a core of its own.

For each batch, one worker takes it whole and takes half of it, and two share it, in turns over some rounds. Needs `dvc
repro prepare@babyweight prepare@mnist`. Writes `exchange.csv` (every run) and `exchange.md` (medians).

    python -m benchmarks.exchange --rounds 3
"""

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

from benchmarks.environments import processor
from benchmarks.training import ALONE, HALF, NAMES, PAIR, ROOT, STEPS, cell, workers
from stages.core.files import significant, write_table, write_text

BATCHES = {"babyweight": (512, 2048, 8192, 32768), "mnist": (64,)}
FEWEST_STEPS = 200
COLUMNS = ("workload", "batch", "round", ALONE, HALF, PAIR)

Row = dict[str, Any]


def gain(row: Row) -> float:
    """How many times as fast two workers are as one."""
    return float(row[PAIR] / row[ALONE])


def exchange(row: Row) -> float:
    """Milliseconds of a step of two workers above those of one with half a batch."""
    return 1e3 * float(row["batch"] / row[PAIR] - row["batch"] / 2 / row[HALF])


def table(rows: list[Row], note: str) -> str:
    """Medians and ranges as Markdown."""
    lines = [
        "# From one worker to two",
        "",
        f"Two cores of {processor()}{note}, a process with one thread on each; gradients go over loopback. Examples a "
        f"second, median (range) of {1 + max(row['round'] for row in rows)} rounds; gain and exchange in each.",
        "",
        "| batch | one worker | one worker, half a batch | two workers | gain of the second | exchange, ms a step |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for workload, batch in dict.fromkeys((row["workload"], row["batch"]) for row in rows):
        runs = [row for row in rows if (row["workload"], row["batch"]) == (workload, batch)]
        speeds = " | ".join(cell([row[name] for row in runs]) for name in (ALONE, HALF, PAIR))
        gains, costs = ([function(row) for row in runs] for function in (gain, exchange))
        ratio = f"{statistics.median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f})"
        cost = f"{statistics.median(costs):.2f} ({min(costs):.2f} to {max(costs):.2f})"
        lines.append(f"| {batch:,} {NAMES[workload]} | {speeds} | {ratio} | {cost} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all, write the results after each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--note", default="", help="what the table says of the machine, after its cores")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("error: expected two cores")
    rows: list[Row] = []
    for number in range(args.rounds):
        for workload, batches in BATCHES.items():
            for batch in batches:
                steps = max(STEPS[workload] * batches[0] // batch, FEWEST_STEPS)
                speeds = {name: significant(speed, 4) for name, speed in workers(workload, batch, steps).items()}
                rows.append({"workload": workload, "batch": batch, "round": number, **speeds})
        write_table(args.results / "exchange.csv", rows, COLUMNS)
        write_text(args.results / "exchange.md", table(rows, args.note))


if __name__ == "__main__":
    main()
