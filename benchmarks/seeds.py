"""How good a workload's recipe is over several seeds, not over the shipped one alone: mean and standard deviation.

The pipeline's stages run in a scratch folder on the prepared data, one seed after another. Seeds that `seeds.csv` has
already, with the same parameters, are kept. Needs `dvc repro prepare@babyweight prepare@mnist`. Writes `seeds.csv` and
`seeds.md`.

    python -m benchmarks.seeds --workloads mnist --seeds 10
"""

import argparse
import csv
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.environments import processor
from stages.core.files import significant, write_table, write_text
from tools.param_overrides import override

ROOT = Path(__file__).parents[1]
METRICS = {"babyweight": ("rmse", "lb"), "mnist": ("accuracy", "%"), "cartpole": ("mean_return", "")}
"""The metric of each workload, and its unit."""

COLUMNS = ("workload", "recipe", "seed", "value", "steps", "seconds", "cpu_seconds", "processor")
Row = dict[str, Any]


def recipe(workload: str) -> str:
    """A digest of the parameters that a workload's results depend on, but for the seed."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    used = {key: params[key] for key in ("runtime", workload)}
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:8]


def measure(workload: str, seed: int) -> Row:
    """Train, export and evaluate with a seed; the metric, and what training took."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        (scratch / "params.yaml").write_text(yaml.safe_dump(override(params, {"seed": seed})))
        data = [] if workload == "cartpole" else [ROOT / "data" / workload]

        def stage(name: str, *arguments: str | Path) -> None:
            command = [sys.executable, "-m", f"stages.{name}", *arguments]
            environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
            subprocess.run(command, cwd=scratch, env=environment, stderr=subprocess.DEVNULL, check=True)

        began, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        stage(f"{workload}.train", *data, "weights", "train.json", "curve.csv")
        seconds, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        stage("export", workload, "weights", "model")
        stage(f"{workload}.evaluate", "model", *data, "evaluate.json", "evaluation")
        value = json.loads((scratch / "evaluate.json").read_text())[METRICS[workload][0]]
        steps = json.loads((scratch / "train.json").read_text())["steps"]
    return {
        "workload": workload,
        "recipe": recipe(workload),
        "seed": seed,
        "value": value,
        "steps": steps,
        "seconds": significant(seconds, 3),
        "cpu_seconds": significant(now.ru_utime + now.ru_stime - cpu.ru_utime - cpu.ru_stime, 3),
        "processor": processor(),
    }


def table(rows: list[Row]) -> str:
    """The results in Markdown: a line for each workload."""
    lines = [f"Test metrics of each recipe over seeds, by `python -m benchmarks.seeds` on {processor()}.", ""]
    lines += ["| workload | metric | seeds | mean | standard deviation | lowest | highest | steps | training, s |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for workload, (metric, unit) in METRICS.items():
        found = [row for row in rows if row["workload"] == workload and row["recipe"] == recipe(workload)]
        if len(found) < 2:
            continue
        values = [float(row["value"]) * (100 if unit == "%" else 1) for row in found]
        figures = [statistics.mean(values), statistics.stdev(values), min(values), max(values)]
        numbers = " | ".join(f"{significant(value, 5):g}{' ' * (unit != '%')}{unit}".rstrip() for value in figures)
        steps, seconds = (statistics.median(float(row[key]) for row in found) for key in ("steps", "seconds"))
        lines.append(f"| {workload} | {metric} | {len(found)} | {numbers} | {steps:,.0f} | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure the seeds that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()
    path = args.results / "seeds.csv"
    rows: list[Row] = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    for workload in args.workloads:
        for seed in range(args.seeds):
            if any((r["workload"], r["recipe"], int(r["seed"])) == (workload, recipe(workload), seed) for r in rows):
                continue
            rows.append(measure(workload, seed))
            print(json.dumps(rows[-1]), flush=True)
            write_table(path, rows, COLUMNS)
            write_text(args.results / "seeds.md", table(rows))


if __name__ == "__main__":
    main()
