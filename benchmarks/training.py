"""Compare training speed: this project's loop, `keras.Model.fit` and PyTorch on the same networks, and 1 to 2 workers.

Each contestant runs in a process of its own, in turns over some rounds; PyTorch in an environment of its own, which is
created below `.benchmarks/`. Needs `dvc repro train@babyweight train@mnist`. Writes `training.csv` (every run),
`training.md` (medians, ranges) and `training.png`.

    python -m benchmarks.training
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from benchmarks.dqn import AGENTS
from benchmarks.environments import processor
from benchmarks.peers.speed import FROM_ALL
from stages.core.files import significant, write_table, write_text
from stages.core.params import load
from tools.train_cluster import environment, reserved_addresses

ROOT = Path(__file__).parents[1]
STEPS = {"babyweight": 2000, "mnist": 300}
THREADS = {"babyweight": (1, 2), "mnist": (2,)}  # those tried: of births, some contestants are faster on one
NAMES = {"babyweight": "births", "mnist": "digits"}
COLUMNS = ("workload", "contestant", "round", "examples_per_second")
CONTESTANTS = {
    "this project": ("fit_ours", "chunks"),
    "fit, arrays": ("fit_keras", "arrays"),
    "fit, arrays, 100 steps a call": ("fit_keras", "arrays, 100 steps a call"),
    "fit, tf.data": ("fit_keras", "tf.data"),
    "PyTorch, eager": ("fit_torch", "eager"),
    "PyTorch, channels last": ("fit_torch", "channels last"),
    "PyTorch, channels last, AVX2": ("fit_torch", "channels last"),
    "PyTorch, compiled": ("fit_torch", "compiled"),
}
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
"""This project's own limit, for PyTorch."""
ALONE, HALF, PAIR = "1 worker, 1 core", "1 worker, half a batch", "2 workers, 2 cores"

Row = dict[str, Any]


def start(module: str, way: str, workload: str, cores: set[int], *more: str, **extra: str) -> "subprocess.Popen[str]":
    """Start a contestant on some cores; more arguments count before those given here."""
    torch = next(agent for agent in AGENTS if agent.module == "recipe_torch")
    python = torch.python() if module == "fit_torch" else Path(sys.executable)
    command = [str(python), "-m", f"benchmarks.peers.{module}", workload, way, "--steps", str(STEPS[workload]), *more]
    pin = (lambda: os.sched_setaffinity(0, cores)) if hasattr(os, "sched_setaffinity") else None
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    settings = {**inherited, "PYTHONPATH": str(ROOT), **extra}
    return subprocess.Popen(command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, text=True, preexec_fn=pin)


def finished(process: "subprocess.Popen[str]") -> dict[str, float]:
    """What a contestant measured."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"error: {' '.join(map(str, process.args))}: ended with {process.returncode}")  # type: ignore[arg-type]
    measured: dict[str, float] = json.loads(out.splitlines()[-1])
    return measured


def speed(process: "subprocess.Popen[str]") -> float:
    """A contestant's examples a second."""
    return finished(process)["examples_per_second"]


def fastest(name: str, workload: str, cores: set[int]) -> float:
    """A contestant's examples a second at the number of threads that suits it."""
    extra = AVX2 if name.endswith("AVX2") else {}
    counts = map(str, THREADS[workload])
    return max(speed(start(*CONTESTANTS[name], workload, cores, "--threads", n, **extra)) for n in counts)


def workers(workload: str, batch: int, steps: int) -> dict[str, float]:
    """Examples a second of one worker on one core, with a whole and half a batch, and of two that exchange."""
    one = ("--threads", "1", "--steps", str(steps), "--batch-size")
    first, second = sorted(os.sched_getaffinity(0))[:2]
    speeds = {
        name: speed(start("fit_ours", "chunks", workload, {first}, *one, str(size)))
        for name, size in ((ALONE, batch), (HALF, batch // 2))
    }
    with reserved_addresses(2) as addresses:
        pair = [
            start("fit_ours", "chunks", workload, {core}, *one, str(batch), "--replicas", "2", **variables)
            for core, variables in zip((first, second), (environment(addresses, i) for i in range(2)), strict=True)
        ]
        return speeds | {PAIR: min(speed(process) for process in pair)}


def cell(values: list[float]) -> str:
    """Median, and the range."""
    middle, least, most = (f"{significant(v, 3):,.0f}" for v in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


def table(rows: list[Row], batches: dict[str, int]) -> str:
    """The medians in Markdown, and what the exchange between two workers costs."""

    def speeds(workload: str, name: str) -> list[float]:
        return [r["examples_per_second"] for r in rows if (r["workload"], r["contestant"]) == (workload, name)]

    def ratio(workload: str, name: str) -> str:
        ours = statistics.median(speeds(workload, "this project"))
        return f"{ours / statistics.median(speeds(workload, name)):.2f}"

    packages = ", ".join(f"{p} {metadata.version(p)}" for p in ("tensorflow-cpu", "keras", "numpy"))
    lines = [
        f"{time.strftime('%Y-%m-%d')}, two cores of {processor()}, Python {platform.python_version()}, {packages},",
        "PyTorch 2.13.0. Births on one thread or two, whichever is faster for each contestant (one for this project,",
        "and another that reads ahead); digits on two. Training examples a second in "
        f"{STEPS['babyweight']:,} and {STEPS['mnist']} steps after the first 100,",
        f"median (range) of {1 + max(row['round'] for row in rows)} rounds; batches of "
        f"{' and '.join(f'{size} {NAMES[w]}' for w, size in batches.items())}. This project keeps to AVX2, so that",
        "bytes agree between processors; PyTorch takes AVX-512 where it is, unless told. Only this project hides",
        "categories of births and has deterministic operations; here it learns from every digit, as the others do.",
        "For births, PyTorch's layouts are the same program.",
        "",
        "| | births a second | ours is, times | digits a second | ours is, times |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in CONTESTANTS:
        cells = [text for w in batches for text in (cell(speeds(w, name)), ratio(w, name))]
        lines.append(f"| {' | '.join([name, *cells])} |")
    lines += ["", "From one worker to two, each with one thread on a core of its own:", ""]
    lines += ["| | births a second | digits a second |", "| --- | ---: | ---: |"]
    for name in (ALONE, HALF, PAIR):
        lines.append(f"| {name} | {' | '.join(cell(speeds(w, name)) for w in batches)} |")
    medians = {(w, n): statistics.median(speeds(w, n)) for w in batches for n in (ALONE, HALF, PAIR)}
    gains = [f"{medians[w, PAIR] / medians[w, ALONE]:.2f}" for w in batches]
    lines.append(f"| gain of the second | {' | '.join(gains)} |")
    costs = [size / medians[w, PAIR] - size / 2 / medians[w, HALF] for w, size in batches.items()]
    lines.append(f"| exchange, ms a step | {' | '.join(f'{cost * 1e3:.2f}' for cost in costs)} |")
    return "\n".join(lines) + "\n"


def plot(path: Path, rows: list[Row]) -> None:
    """Draw the medians of all contestants, a panel a workload."""
    figure, axes = plt.subplots(1, len(STEPS), figsize=(9, 3.2), sharey=True, layout="constrained")
    names = list(reversed(CONTESTANTS))
    for axis, workload in zip(axes, STEPS, strict=True):
        for height, name in enumerate(names):
            found = [r["examples_per_second"] for r in rows if (r["workload"], r["contestant"]) == (workload, name)]
            colour = "tab:blue" if name == "this project" else "tab:grey"
            bar = axis.barh(height, statistics.median(found), color=colour)
            axis.bar_label(bar, fmt="{:,.0f}", padding=3)
        axis.set(title=f"{NAMES[workload]}: training examples a second")
        axis.set_yticks(range(len(names)), names)
        axis.margins(x=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=80, metadata={"Software": None})


def main() -> None:
    """Run all, write the results after each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()
    params = load(ROOT / "params.yaml")
    batches = {workload: int((params[workload]["train"] | FROM_ALL[workload])["batch_size"]) for workload in STEPS}
    cores = os.sched_getaffinity(0)
    rows: list[Row] = []
    for number in range(args.rounds):
        for workload, batch in batches.items():
            found = {name: fastest(name, workload, cores) for name in CONTESTANTS}
            for name, speed in (found | workers(workload, batch, STEPS[workload])).items():
                rows.append({"workload": workload, "contestant": name, "round": number})
                rows[-1]["examples_per_second"] = significant(speed, 4)
                print(json.dumps(rows[-1]), flush=True)
        write_table(args.results / "training.csv", rows, COLUMNS)
        write_text(args.results / "training.md", table(rows, batches))
        plot(args.results / "training.png", rows)


if __name__ == "__main__":
    main()
