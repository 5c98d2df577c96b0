"""How good a workload's recipe is over several seeds, not over the shipped one alone: mean and standard deviation.

The pipeline's stages run in a scratch folder on the prepared data, one seed after another. Seeds that `seeds.csv` has
already, with the same parameters, are kept. Needs `dvc repro prepare@babyweight prepare@mnist`. Writes `seeds.csv` and
`seeds.md`.

    python -m benchmarks.seeds --workloads mnist --seeds 10
    python -m benchmarks.seeds --workloads mnist --set mnist.train.steps=3624
"""

import argparse
import csv
import hashlib
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

from benchmarks.environments import processor
from stages.core.files import significant, write_table, write_text
from stages.core.params import workload_names
from stages.workloads import find
from tools.param_overrides import override

ROOT = Path(__file__).parents[1]
METRICS = {
    workload.name: (metric.key, "%" if metric.form.endswith("%}") else workload.unit)
    for workload in map(find, workload_names())
    for metric in workload.metrics[:1]
}
"""The metric of each workload, and its unit."""

COLUMNS = ("workload", "recipe", "seed", "validation", "test", "steps", "seconds", "cpu_seconds", "processor")
Row = dict[str, Any]
Params = dict[str, Any]


def recipe(workload: str, params: Params) -> str:
    """A digest of the parameters that a workload's results depend on, but for the seed."""
    own = {section: values for section, values in params[workload].items() if section != "operation"}
    used = {"runtime": params["runtime"], workload: own}
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:8]


def commands(workload: str) -> dict[str, str]:
    """The declared commands that train, export and evaluate a workload."""
    with Repo(str(ROOT)) as repo:
        declared = {stage.name.replace("@", "-"): stage.cmd for stage in repo.index.stages}
    return {verb: declared[f"{verb}-{workload}"] for verb in ("train", "export", "evaluate")}


def measure(workload: str, seed: int, params: Params) -> Row:
    """Train, export and evaluate with a seed; the metric on validation and test data, and what training took."""
    metric = METRICS[workload][0]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        (scratch / "params.yaml").write_text(yaml.safe_dump(override(params, {"seed": seed})))
        (scratch / "data").symlink_to(ROOT / "data")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        took: dict[str, list[float]] = {}
        for verb, command in commands(workload).items():
            began, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
            subprocess.run(shlex.split(command), cwd=scratch, env=environment, stderr=subprocess.DEVNULL, check=True)
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            took[verb] = [time.perf_counter() - began, now.ru_utime + now.ru_stime - cpu.ru_utime - cpu.ru_stime]
        results = scratch / "results" / workload
        test, trained = (json.loads((results / f"{name}.json").read_text()) for name in ("evaluate", "train"))
    return {
        "workload": workload,
        "recipe": recipe(workload, params),
        "seed": seed,
        "validation": trained.get(f"validation_{metric}"),
        "test": test[metric],
        "steps": trained["steps"] if "steps" in trained else params[workload]["train"]["steps"],
        "seconds": significant(took["train"][0], 3),
        "cpu_seconds": significant(took["train"][1], 3),
        "processor": processor(),
    }


def table(rows: list[Row], params: Params) -> str:
    """The results of these parameters in Markdown: a line for each workload."""
    lines = [f"Test metrics of each recipe over seeds, by `python -m benchmarks.seeds` on {processor()}.", ""]
    lines += ["| workload | metric | seeds | mean | standard deviation | lowest | highest | steps | training, s |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for workload, (metric, unit) in METRICS.items():
        found = [row for row in rows if row["workload"] == workload and row["recipe"] == recipe(workload, params)]
        if len(found) < 2:
            continue
        values = [float(row["test"]) * (100 if unit == "%" else 1) for row in found]
        figures = [statistics.mean(values), statistics.stdev(values), min(values), max(values)]
        numbers = " | ".join(f"{significant(value, 5):g}{' ' * (unit != '%')}{unit}".rstrip() for value in figures)
        steps, seconds = (statistics.median(float(row[key]) for row in found) for key in ("steps", "seconds"))
        lines.append(f"| {workload} | {metric} | {len(found)} | {numbers} | {steps:,.0f} | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


def setting(text: str) -> tuple[str, Any]:
    """A parameter's full path and value from `KEY=VALUE`."""
    key, _, value = text.partition("=")
    return key, yaml.safe_load(value)


def main() -> None:
    """Measure the seeds that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--set", type=setting, action="append", default=[], metavar="KEY=VALUE", help="a recipe with another parameter"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()
    params = override(yaml.safe_load((ROOT / "params.yaml").read_text()), dict(args.set))
    path = args.results / "seeds.csv"
    rows: list[Row] = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    measured = {(row["workload"], row["recipe"], int(row["seed"])) for row in rows}
    for workload in args.workloads:
        for seed in range(args.seeds):
            if (workload, recipe(workload, params), seed) not in measured:
                rows.append(measure(workload, seed, params))
                print(json.dumps(rows[-1]), flush=True)
                write_table(path, rows, COLUMNS)
    print(table(rows, params))
    if not args.set:
        write_text(args.results / "seeds.md", table(rows, params))


if __name__ == "__main__":
    main()
