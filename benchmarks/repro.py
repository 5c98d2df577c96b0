"""Time `make repro` from nothing at two commits in turns: installation, imports, stages and DVC.

Each run has a clone, an environment and caches of pip, uv and DVC of its own, all new. MNIST comes from Keras' cache if
it is there. A second `dvc repro`, which has nothing to do, is timed beside that of a chain of 20 small stages. Writes
`repro.csv` (every run) and `repro.md` (medians). Needs the network.

    python -m benchmarks.repro --before 3a2784d --rounds 3
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.timing import timed
from stages.core.files import significant, write_json, write_table, write_text
from tools.processor import describe

ROOT = Path(__file__).parents[1]
RECORDER = Path(__file__).parent / "peers/record_process.py"
ENVIRONMENT = ".venv/.installed-report"
COLUMNS = ("commit", "round", "part", "wall_s", "cpu_s")
SLOWEST = "mnist.train"
PARTS = {
    "installation": "installation",
    "stages": "stages",
    SLOWEST: "of which training the digits",
    "imports": "of which imports, added up over the stages",
    "dvc": "DVC, while no stage runs",
    "all": "`make repro`, all in all",
    "again": "`dvc repro` with nothing to do",
    "chain": "the same for a chain of 20 small stages",
}
CHAIN = {"stages": {f"s{i}": {"cmd": f"cp {i} {i + 1}", "deps": [f"{i}"], "outs": [f"{i + 1}"]} for i in range(20)}}
"""What DVC takes at the least for so many stages."""

Row = dict[str, Any]
Seconds = dict[str, tuple[float, float]]
"""Wall clock and processor time by part."""


def make(target: str, clone: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Make a target: wall clock and processor time in seconds.

    Raises:
        SystemExit: if it fails.
    """
    usage = timed(f"make {target}", ["make", target], cwd=clone, env=environment, stdout=sys.stderr)
    return usage.wall_s, usage.cpu_s


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """How long at least one of several intervals lasts."""
    total, until = 0.0, float("-inf")
    for began, ended in sorted(intervals):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def name(command: list[str]) -> str:
    """A stage's name: `mnist.train`, `predict mnist`."""
    module, argument = command
    return " ".join([module.removeprefix("stages."), *([] if "/" in argument or "." in argument else [argument])])


def nothing_to_do(dvc: str, folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Wall clock and processor time of a `dvc repro` that finds all as it is, in seconds; the fastest of three."""
    usages = [timed("dvc repro", [dvc, "repro"], cwd=folder, env=environment, stdout=sys.stderr) for _ in range(3)]
    return min((usage.wall_s, usage.cpu_s) for usage in usages)


def chain(dvc: str, folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """The same for a chain of small stages, made in a new folder."""
    folder.mkdir()
    write_json(folder / "dvc.yaml", CHAIN)
    write_text(folder / "0", "")
    for command in (["git", "init", "--quiet"], [dvc, "init"], [dvc, "repro"]):
        subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=True)
    return nothing_to_do(dvc, folder, environment)


def split(installation: tuple[float, float], repro: tuple[float, float], records: list[Row]) -> Seconds:
    """The time of a run by part, each stage by its own name as well.

    Args:
        installation: wall clock and processor time of installing.
        repro: those of `make repro` in the environment.
        records: what `record_process` wrote of each stage.
    """
    stages = covered((r["began"], r["ended"]) for r in records), sum(r["cpu"] for r in records)
    found = {name(r["command"]): (r["ended"] - r["began"], r["cpu"]) for r in records}
    imports = sum(r["imports"] for r in records)
    return {
        "installation": installation,
        "stages": stages,
        **found,
        "imports": (imports, imports),
        "dvc": (repro[0] - stages[0], repro[1] - stages[1]),
        "all": (installation[0] + repro[0], installation[1] + repro[1]),
    }


def measure(commit: str) -> Seconds:
    """Clone a commit, install and run it."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=clone, check=True)
        environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
        environment |= {f"{tool}_CACHE_DIR": f"{folder}/{tool}" for tool in ("PIP", "UV")}
        environment["RECORD"] = f"{folder}/records"
        installation = make(ENVIRONMENT, clone, environment)
        (site,) = clone.glob(".venv/lib/python*/site-packages")
        (site / RECORDER.name).write_bytes(RECORDER.read_bytes())
        (site / "record_process.pth").write_text(f"import {RECORDER.stem}\n")
        repro = make("repro", clone, environment)
        records = [json.loads(line) for line in Path(environment["RECORD"]).read_text().splitlines()]
        dvc = str(clone / ".venv/bin/dvc")
        return {
            **split(installation, repro, records),
            "again": nothing_to_do(dvc, clone, environment),
            "chain": chain(dvc, Path(folder) / "chain", environment),
        }


def cell(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):g} ({min(values):g} to {max(values):g})"


def table(rows: list[Row], before: str, now: str) -> str:
    """Medians by part of the two commits, as Markdown."""
    runs = len({row["round"] for row in rows})
    lines = [
        "# `make repro` in a new clone, installation included",
        "",
        f"{describe()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d', time.gmtime())}. Commits {before} and {now} "
        f"in turns, {runs} times; medians (and ranges) in seconds. The caches of pip, uv and DVC were empty.",
        "",
        f"| part | {before} | {now} | ratio | processor time, {before} | {now} | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for part, label in PARTS.items():
        cells = []
        for key in ("wall_s", "cpu_s"):
            values = [[r[key] for r in rows if (r["part"], r["commit"]) == (part, commit)] for commit in (before, now)]
            cells += [*map(cell, values), f"{statistics.median(values[1]) / statistics.median(values[0]):.2f}"]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def short(commit: str) -> str:
    """A commit's short name."""
    command = ["git", "rev-parse", "--short", commit]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Run the two commits in turns; write the results after each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="the commit to compare with")
    parser.add_argument("--now", default="HEAD")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()

    before, now = map(short, (args.before, args.now))
    rows: list[Row] = []
    for number in range(args.rounds):
        for commit in (before, now):
            for part, (wall, cpu) in measure(commit).items():
                seconds = {"wall_s": significant(wall, 3), "cpu_s": significant(cpu, 3)}
                rows.append({"commit": commit, "round": number, "part": part, **seconds})
        write_table(args.results / "repro.csv", rows, COLUMNS)
        write_text(args.results / "repro.md", table(rows, before, now))


if __name__ == "__main__":
    main()
