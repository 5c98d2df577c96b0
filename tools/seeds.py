"""Train a workload with several seeds besides the shipped one: how far does chance move its result?

make seeds WORKLOAD=cartpole SEEDS=10
python -m tools.seeds mnist 10 --set mnist.train.steps=3624

The workload's own stages train, export and evaluate in a scratch folder, on the prepared data, one seed after another.
`benchmarks/results/seeds.csv` gets a row for each seed, `seed_curves.csv` its learning curve and `seeds.md` a table;
`dvc repro report` then shows them. Seeds that are there already, of the same recipe, are not run again, so a run
that was stopped goes on where it was.
"""

import argparse
import json
import os
import resource
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from ruamel.yaml import YAML

from stages.core.errors import InputError, run
from stages.core.files import significant, write_table, write_text
from stages.core.params import flatten, load, workload_names
from stages.evaluation.seeds import (
    COLUMNS,
    CURVE_COLUMNS,
    CURVES,
    SEEDS,
    Points,
    Row,
    Seeds,
    read,
    recipe,
    table,
    thinned,
)
from stages.workloads import Workload, find
from tools.param_overrides import override
from tools.processor import describe

OWN = {"models", "params.yaml", "reports", "results", "weights"}
"""What a scratch folder has of its own; all else is the project's."""
Params = dict[str, Any]


def numbers(count: int, shipped: int) -> list[int]:
    """So many seeds from 0 on, without the shipped one."""
    return [seed for seed in range(count + 1) if seed != shipped][:count]


def checked(workload: str, count: str) -> tuple[Workload, int]:
    """The workload and the number of seeds.

    Raises:
        InputError: if there is no such workload, it names no metric, or the number is none.
    """
    if workload not in workload_names():
        raise InputError(f"WORKLOAD: {workload!r}: expected one of {', '.join(workload_names())}")
    if not (count.isascii() and count.isdigit() and 2 <= int(count) <= 1000):
        raise InputError(f"SEEDS: {count!r}: expected a whole number from 2 to 1000")
    found = find(workload)
    if not found.headline:
        raise InputError(f"stages/{workload}/workload.py: expected a metric, by which the seeds are compared")
    return found, int(count)


def commands(root: Path, workload: Workload) -> dict[str, list[str]]:
    """The declared commands that train, export and evaluate a workload.

    Raises:
        InputError: if its data are not prepared.
    """
    with Repo(str(root)) as repo:
        named = {getattr(stage, "name", "").replace("@", "-"): stage for stage in repo.index.stages}
        if workload.has_data:
            prepare = named[f"prepare-{workload.name}"].name
            if repo.status(targets=[prepare]):
                raise InputError(f"data/{workload.name}: out of date or missing: run dvc repro {prepare}")
        return {verb: shlex.split(named[f"{verb}-{workload.name}"].cmd) for verb in ("train", "export", "evaluate")}


def scratch(root: Path, folder: Path, params: Params) -> Path:
    """Make a folder that is the project's, but for parameters and results of its own."""
    for path in root.iterdir():
        if path.name not in OWN and not path.name.startswith("."):
            (folder / path.name).symlink_to(path.resolve())
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(params, file)
    return folder


def run_stage(root: Path, folder: Path, command: list[str]) -> tuple[float, float]:
    """Run a stage's command in a scratch folder; its seconds and its processor's.

    Raises:
        subprocess.CalledProcessError: if it fails, after it said why.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(root), "PATH": path}
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    # A session of its own, so that Ctrl-C reaches this process alone, which ends the stage.
    subprocess.run(command, cwd=folder, env=environment, check=True, start_new_session=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def curve(path: Path, column: str) -> Points:
    """The points of a learning curve, few enough to keep; none if it has no such column."""
    rows = table(path)
    if not rows or column not in rows[0]:
        return []
    step = next(iter(rows[0]))
    return thinned([(float(row[step]), float(row[column])) for row in rows if row[column]])


def measure(
    root: Path, workload: Workload, seed: int, params: Params, stages: dict[str, list[str]]
) -> tuple[Row, Points]:
    """Train, export and evaluate with a seed; the headline, what training took, and the learning curve."""
    with tempfile.TemporaryDirectory() as name:
        folder = scratch(root, Path(name), override(params, {"seed": seed}))
        took = {verb: run_stage(root, folder, command) for verb, command in stages.items()}
        results = folder / "results" / workload.name
        test, trained = (json.loads((results / f"{part}.json").read_text()) for part in ("evaluate", "train"))
        points = curve(results / "curve.csv", workload.curve or f"validation_{workload.headline}")
    value = dict(flatten(test)).get(workload.headline or "")
    if not isinstance(value, int | float):
        raise InputError(f"results/{workload.name}/evaluate.json: {workload.headline}: {value}: expected a number")
    row = {
        "workload": workload.name,
        "recipe": recipe(workload.name, params),
        "seed": seed,
        "validation": trained.get(f"validation_{workload.headline}"),
        "test": value,
        "steps": trained["steps"] if "steps" in trained else params[workload.name]["train"]["steps"],
        "seconds": significant(took["train"][0], 3),
        "cpu_seconds": significant(took["train"][1], 3),
        "processor": describe(),
    }
    return row, points


def keep(root: Path, row: Row, points: Points) -> None:
    """Write a seed's curve and then its row, so that a row is there only if all is."""
    key = {name: row[name] for name in ("workload", "recipe", "seed")}
    new = [{**key, "step": significant(step), "value": significant(value)} for step, value in points]
    for path, columns, found in ((CURVES, CURVE_COLUMNS, new), (SEEDS, COLUMNS, [row])):
        old = [old for old in table(root / path) if any(old[name] != str(value) for name, value in key.items())]
        write_table(root / path, [*old, *found], columns)


def written(workload: Workload, value: float | None) -> str:
    """A value of the headline to five digits, with its unit; a share in percent."""
    if value is None:
        return "\N{EN DASH}"
    if workload.metrics[0].form.endswith("%}"):
        return f"{significant(100 * value, 5):g}%"
    return f"{significant(value, 5):g} {workload.unit}".strip()


def summary(root: Path, params: Params) -> str:
    """What was measured of the recipes of these parameters, in Markdown: a line for each workload."""
    head = (
        *("workload", "metric", "seeds", "interquartile mean", "its 95% interval", "mean", "standard deviation"),
        *("lowest", "highest", "steps", "training, s", "processor"),
    )
    lines = ["The headline of each recipe on test data, over seeds besides the shipped one, by `make seeds`.", ""]
    lines += [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    measured = read(root, params)
    for name in (name for name in params if name in measured and name in workload_names()):
        seeds = measured[name]
        rows = [row for row in table(root / SEEDS) if (row["workload"], row["recipe"]) == (name, recipe(name, params))]
        steps, seconds = (statistics.median(float(row[key]) for row in rows) for key in ("steps", "seconds"))
        workload, values, middle = find(name), list(seeds.values.values()), seeds.interquartile_mean
        figures = (middle.value, middle.low, middle.high, statistics.mean(values), seeds.deviation)
        value, low, high, *others = (written(workload, v) for v in (*figures, min(values), max(values)))
        cells = (
            *(name, workload.headline, len(values), value, f"{low} to {high}", *others),
            *(f"{steps:,.0f}", f"{seconds:.0f}", "; ".join(sorted({row["processor"] for row in rows}))),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def setting(text: str) -> tuple[str, Any]:
    """A parameter's full path and value from `KEY=VALUE`."""
    key, _, value = text.partition("=")
    return key, YAML(typ="safe", pure=True).load(value)


def main() -> None:
    """Measure the seeds that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload")
    parser.add_argument("seeds", nargs="?", default="10", help="number of seeds")
    parser.add_argument(
        "--set", type=setting, action="append", default=[], metavar="KEY=VALUE", help="a recipe with another parameter"
    )
    args = parser.parse_args()
    root = Path.cwd()
    workload, count = checked(args.workload, args.seeds)
    shipped = load(root / "params.yaml")
    params = override(shipped, dict(args.set))
    if unfit := [key for key, _ in args.set if not key.startswith(f"{workload.name}.") or ".prepare." in key]:
        raise InputError(f"--set {unfit[0]}: expected a parameter of {workload.name} that changes no data")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = numbers(count, params["seed"])
    there = read(root, params).get(workload.name, Seeds({})).values
    stages = commands(root, workload) if not set(wanted) <= set(there) else {}
    for done, seed in enumerate(wanted, 1):
        if seed in there:
            continue
        try:
            row, points = measure(root, workload, seed, params, stages)
        except subprocess.CalledProcessError as error:
            raise InputError(f"{workload.name}: seed {seed}: {' '.join(error.cmd[:3])} failed") from None
        keep(root, row, points)
        print(f"{workload.name}: seed {seed} ({done} of {count}): {workload.headline} {row['test']:g}", flush=True)
    if not args.set:
        write_text(root / SEEDS.with_suffix(".md"), summary(root, params))
    print(summary(root, params), end="")


if __name__ == "__main__":
    run(main)
