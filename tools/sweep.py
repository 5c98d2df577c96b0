"""Try a grid or random draws of any parameters as DVC experiments, several at a time, and show them on a page.

python -m tools.sweep rate mnist --set mnist.train.learning_rate=log:0.001..0.01 --draws 8

Values: `a,b,c` (each of them), `low..high` (uniform; whole numbers if both are) or `log:low..high`. Lists alone make a
grid. With `--rungs 0.2,1` every run first trains that fraction of its steps, and only those at or above the median
train longer. A sweep that was stopped goes on when the same command is given again: what it tries depends on the
seed alone, and experiments that exist are not repeated.
"""

import argparse
import itertools
import json
import math
import os
import re
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from dvc.repo import Repo
from ruamel.yaml import YAML

from stages import workloads
from stages.core.errors import InputError, run
from stages.core.files import write_text
from stages.evaluation.judge import WORDS
from tools.compare.changes import Judge
from tools.compare.snapshot import Snapshot
from tools.sweep_page import Trial, page_of

GIGABYTES = 1.5  # memory of one run of the pipeline
RANGE = re.compile(r"(log:)?([-+.\de]+)\.\.([-+.\de]+)")


@dataclass(frozen=True)
class Axis:
    """A parameter and its values: a list to choose from, or a range."""

    key: str
    choices: list[Any]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """Read `key=values`.

        Raises:
            InputError: if it has another form.
        """
        key, _, values = text.partition("=")
        if not key or not values:
            raise InputError(f"--set {text}: expected key=a,b,c or key=low..high or key=log:low..high")
        if found := RANGE.fullmatch(values):
            low, high = float(found[2]), float(found[3])
            if not low < high or (found[1] and low <= 0):
                raise InputError(f"--set {text}: expected low < high, and more than zero with log:")
            return cls(key, [], low, high, bool(found[1]), not found[1] and "." not in found[2] + found[3])
        return cls(key, list(YAML(typ="safe", pure=True).load(f"[{values}]")))

    def draw(self, random: np.random.Generator) -> Any:
        """A random value."""
        if self.choices:
            return self.choices[int(random.integers(len(self.choices)))]
        if self.whole:
            return int(random.integers(int(self.low), int(self.high) + 1))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = float(random.uniform(low, high))
        return float(f"{math.exp(value) if self.log else value:.4g}")


def draws(axes: list[Axis], count: int | None, seed: int) -> list[dict[str, Any]]:
    """The values of each trial: the whole grid, or as many random draws as wanted.

    Raises:
        InputError: if there is a range and no number of draws.
    """
    if count is not None:
        random = np.random.default_rng(seed)
        return [{axis.key: axis.draw(random) for axis in axes} for _ in range(count)]
    if ranges := [axis.key for axis in axes if not axis.choices]:
        raise InputError(f"{', '.join(ranges)}: a range needs --draws, a grid needs lists of values")
    return [
        dict(zip([axis.key for axis in axes], values, strict=True))
        for values in itertools.product(*(axis.choices for axis in axes))
    ]


def workers(wanted: int | None, threads: int) -> int:
    """How many runs fit beside each other: by processors and free memory, at least one."""
    processors = max(1, len(os.sched_getaffinity(0)) // threads)
    memory = int(psutil.virtual_memory().available / (GIGABYTES * 1e9))
    return max(1, min(wanted or processors, memory))


def dvc(root: Path, *arguments: str) -> None:
    """Run a command of DVC.

    Raises:
        InputError: if it fails.
    """
    done = subprocess.run(["dvc", *arguments], cwd=root, check=False)
    if done.returncode:
        raise InputError(f"dvc {' '.join(arguments)}: failed")


class Sweep:
    """The experiments of a sweep: `<name>-<trial>` on the last rung, `<name>-<trial>-r<rung>` before it."""

    def __init__(self, args: argparse.Namespace, trials: list[dict[str, Any]]) -> None:
        self.root, self.name, self.workload, self.trials = args.root, args.name, args.workload, trials
        self.rungs: list[float] = args.rungs
        workload = workloads.find(args.workload)
        self.metric = args.metric or (f"evaluate.{workload.headline}" if workload.headline else "")
        self.sign = workload.direction(self.metric.removeprefix("evaluate."))
        if not self.sign:
            raise InputError(
                f"--metric {self.metric or 'missing'}: expected a measure of quality, such as evaluate.rmse"
            )
        self.written = workload.metric(self.metric.removeprefix("evaluate."))
        base = Snapshot(args.root, ".")
        self.start = Snapshot(args.root, "HEAD")
        self.stage = base.stage("evaluate", args.workload)
        self.threads = int(base.params.get("runtime.threads", 1))
        self.steps_key = f"{args.workload}.train.steps"
        self.steps = base.params.get(self.steps_key)
        if self.rungs != [1.0] and not isinstance(self.steps, int):
            raise InputError(f"--rungs: params.yaml has no {self.steps_key}")
        if unknown := [key for trial in trials[:1] for key in trial if key not in base.params]:
            raise InputError(f"--set {unknown[0]}: params.yaml has no such key")

    def experiment(self, trial: int, rung: int) -> str:
        """Name of a trial's experiment on a rung."""
        return f"{self.name}-{trial:03d}" + ("" if rung == len(self.rungs) - 1 else f"-r{rung}")

    def overrides(self, trial: int, rung: int) -> list[str]:
        """A trial's parameters as `dvc exp run -S` takes them."""
        values = dict(self.trials[trial])
        if self.rungs[rung] != 1:
            steps = int(values.get(self.steps_key, self.steps or 1))
            values[self.steps_key] = max(1, round(steps * self.rungs[rung]))
        return [f"{key}={json.dumps(value)}" for key, value in values.items()]

    def result(self, trial: int, rung: int) -> float | None:
        """The metric that a trial reached; None if it did not succeed, or not yet."""
        try:
            metrics = Snapshot(self.root, self.experiment(trial, rung)).metrics
        except InputError:
            return None
        value = metrics.get(self.workload, {}).get(self.metric)
        return None if value is None else float(value)

    def verdict(self, trial: int, rung: int) -> str:
        """How a trial's metric compares with that of the commit that the sweep began at."""
        judge = Judge(self.start, Snapshot(self.root, self.experiment(trial, rung)))
        return WORDS[judge.verdict(self.workload, self.metric).word]

    def run_rung(self, rung: int, alive: list[int], jobs: int | None) -> dict[int, float]:
        """Run the trials that have no result yet, several at a time; return the results by trial."""
        with Repo(str(self.root)) as repo:
            tasks = repo.experiments.celery_queue.status()
        waiting = {task["name"] for task in tasks if task["status"] in {"Queued", "Running"}}
        missing = [t for t in alive if self.result(t, rung) is None]
        for trial in (t for t in missing if self.experiment(t, rung) not in waiting):
            settings = [word for text in self.overrides(trial, rung) for word in ("-S", text)]
            name = self.experiment(trial, rung)
            dvc(self.root, "exp", "run", "--queue", "--force", "--name", name, *settings, self.stage)
        if missing:
            count = workers(jobs, self.threads)
            print(f"rung {rung + 1} of {len(self.rungs)}: {len(missing)} runs, {count} at a time", flush=True)
            try:
                subprocess.run(["dvc", "exp", "run", "--run-all", "--jobs", str(count)], cwd=self.root, check=False)
            except KeyboardInterrupt:  # DVC's workers would go on without us
                subprocess.run(["dvc", "queue", "stop", "--kill"], cwd=self.root, check=False)
                print(f"{self.name}: stopped; the same command goes on", flush=True)
                raise
        results = ((trial, self.result(trial, rung)) for trial in alive)
        return {trial: value for trial, value in results if value is not None}

    def run(self, jobs: int | None) -> list[Trial]:
        """Run all rungs; after each, only trials at or above the median go on."""
        alive, found = list(range(len(self.trials))), {}
        for rung in range(len(self.rungs)):
            results = self.run_rung(rung, alive, jobs)
            for trial, value in results.items():
                found[trial] = Trial(
                    trial, self.experiment(trial, rung), self.trials[trial], value, self.rungs[rung],
                    self.verdict(trial, rung),
                )  # fmt: skip
            if results and rung < len(self.rungs) - 1:
                median = statistics.median(self.sign * value for value in results.values())
                alive = [trial for trial, value in results.items() if self.sign * value >= median]
        return sorted(found.values(), key=lambda t: (-t.fraction, -self.sign * t.value))


def fractions(text: str) -> list[float]:
    """Rising fractions of the steps, the last of them 1."""
    values = [float(word) for word in text.split(",")]
    if values != sorted(set(values)) or values[0] <= 0 or values[-1] != 1:
        raise argparse.ArgumentTypeError("expected rising fractions that end with 1, such as 0.2,1")
    return values


def main() -> None:
    """Run the sweep; write its page and print the best trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the sweep's name, which its experiments' names begin with")
    parser.add_argument("workload", help="the workload to train and evaluate")
    parser.add_argument("--set", action="append", required=True, metavar="KEY=VALUES", help="values to try")
    parser.add_argument("--draws", type=int, help="random draws; without it, the whole grid")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")
    parser.add_argument("--rungs", type=fractions, default=[1.0], help="fractions of the training steps, such as 0.2,1")
    parser.add_argument("--metric", help="key to judge by, such as evaluate.rmse_preterm")
    parser.add_argument("--jobs", type=int, help="most runs at a time; free memory may allow fewer")
    parser.add_argument("--out", type=Path, default=Path("comparison"), help="folder of the page")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository")
    args = parser.parse_args()

    sweep = Sweep(args, draws([Axis.parse(text) for text in args.set], args.draws, args.seed))
    trials = sweep.run(args.jobs)
    if not trials:
        raise InputError(f"{args.name}: no run succeeded; `dvc queue status` and `dvc queue logs` say why")
    path = args.out / f"sweep-{args.name}.html"
    write_text(path, page_of(args.name, sweep.metric, sweep.sign, trials, len(sweep.trials), sweep.written))
    best = trials[0]
    print(
        f"{len(trials)} of {len(sweep.trials)} trials have a result; best {sweep.metric}: {best.value:.6g}, "
        f"against the start: {best.verdict}"
    )
    print(f"{path}\n{best.command}")


if __name__ == "__main__":
    run(main)
