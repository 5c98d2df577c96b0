"""List the experiments of DVC in a table that fits the terminal: what differs from the baseline, and is it better?

Of each experiment it shows the parameters that differ from those of the commit it began at, and the metric by which
each workload that changed is judged. `dvc exp show` has every number.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stages import workloads
from stages.core.errors import run
from stages.core.params import flatten, workload_names
from stages.evaluation.judge import WORDS
from stages.report.page import text
from tools.compare.changes import Judge, MetricChange, metric_change
from tools.compare.snapshot import Snapshot
from tools.compare.summary import value_text

SIGNS = {"better": ("▲", "green"), "worse": ("▼", "red")}


@dataclass(frozen=True)
class Experiment:
    """An experiment beside its baseline.

    Args:
        name: its name, or its commit.
        changes: `key: before → after` of each parameter that differs.
        results: the headline of each workload that it changed, judged as a comparison judges it.
        status: empty for one that succeeded, else queued, running or failed.
    """

    name: str
    changes: list[str]
    results: list[MetricChange]
    status: str = ""


def values(data: Any, kind: str, file: str) -> dict[str, Any]:
    """Flat parameters or metrics of a file, as `dvc exp show` has them."""
    content = (getattr(data, kind, None) or {}).get(file)
    return dict(flatten(content.get("data", {}))) if isinstance(content, dict) else {}


def _experiment(root: Path, state: Any, base: Any, executor: Any) -> Experiment:
    baseline = base.data
    before, after = (values(data, "params", "params.yaml") for data in (baseline, state.data))
    changes = [
        f"{key}: {text(before.get(key))} → {text(value)}" for key, value in after.items() if before.get(key) != value
    ]
    # A section of parameters that is no workload, such as the seed, concerns all of them.
    sections = {change.split(":")[0].split(".")[0] for change in changes}
    results, names = [], workload_names()
    judge = Judge(Snapshot(root, base.rev), Snapshot(root, state.rev))
    for workload in map(workloads.find, names):
        old, new = (
            values(data, "metrics", f"results/{workload.name}/evaluate.json") for data in (baseline, state.data)
        )
        key = workload.headline or next(filter(workload.direction, new), None)
        if key in new and (old != new or workload.name in sections or sections - {*names}):
            results.append(metric_change(judge, workload.name, f"evaluate.{key}"))
    status = executor.state.lower() if executor else ""
    return Experiment(state.name or state.rev[:7], changes, results, "" if status == "success" else status)


def experiments(root: Path) -> Iterator[tuple[str, list[Experiment]]]:
    """Each baseline's name with its experiments; baselines without any are left out."""
    with Repo(str(root)) as repo:
        for baseline in repo.experiments.show(all_commits=True):
            found = [
                _experiment(root, entry.revs[0], baseline, entry.executor)
                for entry in baseline.experiments or []
                if entry.revs[0].data
            ]
            if found:
                yield baseline.name or baseline.rev[:7], found


def table(baseline: str, rows: list[Experiment]) -> Table:
    """A baseline's experiments."""
    found = Table(title=f"Experiments from {baseline}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("experiment", "differs in", "metric", "baseline → result", ""):
        found.add_column(column, overflow="fold", no_wrap=column == "")
    for row in rows:
        results: list[MetricChange | None] = [*row.results] or [None]
        for number, change in enumerate(results):
            name, changes = (row.name, "\n".join(row.changes)) if number == 0 else ("", "")
            verdict, metric, result = (row.status or "nothing measured", "dim"), "", ""
            if change:
                sign, style = SIGNS.get(change.verdict, ("●", "dim"))
                verdict = (f"{sign} {WORDS[change.verdict]}", style)
                metric = f"{change.workload} {change.key.removeprefix('evaluate.')}"
                result = " → ".join(value_text(change, value) for value in (change.before, change.after))
            found.add_row(name, changes, metric, result, Text(*verdict))
    return found


def main() -> None:
    """Print a table for each baseline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(), help="the repository")
    args = parser.parse_args()
    console, found = Console(), False
    for baseline, rows in experiments(args.root):
        console.print(table(baseline, rows))
        found = True
    if not found:
        console.print("No experiments yet. For example: dvc exp run -S cartpole.train.gamma=0.95")


if __name__ == "__main__":
    run(main)
