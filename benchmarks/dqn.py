"""Compare this project's DQN with others: processor time from start to a solved environment.

Each agent runs in an environment of its own, which is created below `.benchmarks/`; runs of different agents take
turns, each on one core. Writes `dqn.csv` (every run), `dqn.md` (medians, ranges) and `dqn.png`. Runs that `dqn.csv`
already holds stay, unless the same agent, environment and seed is run again.

    python -m benchmarks.dqn --envs LunarLander-v3 --seeds 20
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import yaml

from benchmarks.environments import processor, python_with
from stages.core.files import significant, write_table, write_text
from tools.param_overrides import override, read

ROOT = Path(__file__).parents[1]
SHORT = {
    "cartpole.train.env": "CartPole-v0",
    "cartpole.train.stop.time_limits": 1,
    "cartpole.train.stop.eval_freq": 256,
}
"""The pipeline's own agent must balance for ten time limits; here all must solve the task as it is."""
OTHERS = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "LunarLander-v3")
SETS = {"CartPole-v0": SHORT} | {name: read(ROOT / f"params/{name}.yaml") for name in OTHERS}
MEASURES = (
    *("training_cpu", "training_wall", "trials_cpu", "evaluation_cpu", "import_cpu", "setup_cpu"),
    *("every", "trials", "steps", "updates", "late_modules", "fresh_return"),
)
COLUMNS = ("env", "agent", "seed", "solved", *MEASURES, "measured")

Row = dict[str, Any]


@dataclass(frozen=True)
class Agent:
    """One contestant: what it is called, the module that runs it, what its environment needs."""

    label: str
    module: str
    requirements: tuple[str, ...]
    slow: bool = False

    def python(self) -> Path:
        """The interpreter of its environment; without requirements, the project's own."""
        return python_with(self.module, *self.requirements) if self.requirements else Path(sys.executable)


def same(*packages: str) -> tuple[str, ...]:
    """Requirements on the versions that the project has installed."""
    return tuple(f"{package}=={metadata.version(package)}" for package in packages)


# The trials, which all have alike, are the project's; TensorFlow is not among what they need.
TRIALS = same("gymnasium", "numpy", "box2d", "pygame-ce", "pydantic", "ruamel.yaml")
TORCH = ("torch==2.13.0", *TRIALS)
AGENTS = (
    Agent("this project", "ours", ()),
    Agent("same recipe, eager PyTorch", "recipe_torch", (*TORCH, *same("h5py", "tqdm")), True),
    Agent("Stable-Baselines3, Zoo parameters", "zoo_sb3", ("stable-baselines3==2.9.2", *TORCH), True),
    Agent("single environment, CleanRL's parameters", "single_torch", TORCH, True),
)


def run(agent: Agent, env: str, seed: int) -> Row:
    """Run one agent to the end, on one core where the system can pin it; what it measured."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        changes = {**SETS[env], "seed": seed}
        params = override(yaml.safe_load((ROOT / "params.yaml").read_text()), changes)
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        files = (folder / "params.yaml", folder / "weights.h5", folder / "report.json")
        command = [str(agent.python()), "-m", f"benchmarks.peers.{agent.module}", env, str(seed), *map(str, files)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        pin = (lambda: os.sched_setaffinity(0, {max(cores)})) if (cores := _cores()) else None
        subprocess.run(command, env=environment, cwd=folder, check=True, preexec_fn=pin)
        measured = json.loads((folder / "report.json").read_text())
    values = {name: significant(float(measured[name]), 4) for name in MEASURES}
    when = f"{time.strftime('%Y-%m-%d')}, {processor()}"
    return {"env": env, "agent": agent.label, "seed": seed, "solved": measured["solved"], **values, "measured": when}


def measured_before(path: Path) -> list[Row]:
    """The rows of `dqn.csv`; none without it."""
    if not path.exists():
        return []
    with path.open() as file:
        rows: list[Row] = list(csv.DictReader(file))
    for row in rows:
        row |= {name: float(row[name]) for name in MEASURES} | {"seed": int(row["seed"])}
        row["solved"] = row["solved"] == "True"
    return rows


def merged(old: list[Row], new: list[Row]) -> list[Row]:
    """Old rows replaced by new ones, by environment, agent and seed as they are listed above."""
    rows = {(row["env"], row["agent"], row["seed"]): row for row in [*old, *new]}
    order = [(env, agent.label) for env in SETS for agent in AGENTS]
    return sorted(rows.values(), key=lambda row: (order.index((row["env"], row["agent"])), row["seed"]))


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def spread(values: Sequence[float]) -> str:
    """Median, and the range."""
    middle, least, most = (f"{significant(v, 3):,g}" for v in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


def per_solved_run(rows: list[Row], *parts: str) -> float:
    """Expected processor time until a run solves its environment: that of all runs, divided by those that did.

    If none did, that of all runs, which is a lower bound.
    Source: Hansen et al., "COCO: Performance Assessment" (2016), where it is the expected running time.
    """
    total, solved = sum(row[part] for row in rows for part in parts), sum(row["solved"] for row in rows)
    return total / (solved or 1)  # type: ignore[no-any-return]


ALL = ("training_cpu", "trials_cpu", "evaluation_cpu")
NOTES = """\
Seconds of processor time on one core: median (range) over seeds, or the mean. Solved: 100 fresh greedy episodes reach
the environment's threshold. Training is acting, storing and learning; `≥` marks what includes unsolved runs, which end
after 500,000 steps.

- Per solved run: the time of all runs, divided by the number of solved ones: of training alone, and of all, which is
  training, trials and the evaluation by 100 fresh episodes.
- Everyone is tried by the same code: two sets of 100 greedy episodes, given up once it cannot pass or hardly. This
  project and its recipe in PyTorch ask each set to exceed the threshold by the standard errors that the parameters say
  (4, on Acrobot and LunarLander 3), the others by 2, so that they stop sooner. How often each is tried is in the table.
- Before its clock starts, everyone has made its agent and one update whose result is dropped: PyTorch imports much at
  the first Adam, and XLA compiles. That is the set-up. {late}
- This project learns from a transformed reward (`scale`, `shift` and `terminal` in its parameters) and, but for
  LunarLander, from targets clipped to the range of possible returns; the others learn from the reward as it is.
- Its parameters are set per environment, as the Zoo's are for Stable-Baselines3; CleanRL's are one set for all.
- The same recipe in PyTorch has this project's environments, replay, trials and parameters; only the updates differ.
"""


def table(rows: list[Row]) -> str:
    """The comparison in Markdown: medians and ranges, and how many times this project's time the others take."""
    packages = ", ".join(f"{p} {metadata.version(p)}" for p in ("tensorflow-cpu", "gymnasium", "numpy"))
    late = max(int(row["late_modules"]) for row in rows)
    note = f"At most {late} modules were imported after it." if late else "Nobody imported a module after it."
    lines = [
        f"Python {platform.python_version()}, {packages}, PyTorch 2.13.0, Stable-Baselines3 2.9.2.",
        *NOTES.format(late=note).splitlines(),
    ]
    head = (
        *("agent", "solved", "training", "times ours", "trials", "evaluation", "training per solved run"),
        *("all per solved run", "times ours", "tried every", "trials held", "steps", "updates", "import", "set-up"),
    )
    for env in dict.fromkeys(row["env"] for row in rows if row["agent"] == AGENTS[0].label):
        dates = "; ".join(sorted({row["measured"] for row in rows if row["env"] == env}))
        lines += ["", f"**{env}** ({dates})", "", f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
        agents = dict.fromkeys(row["agent"] for row in rows if row["env"] == env)
        groups = {a: [r for r in rows if (r["env"], r["agent"]) == (env, a)] for a in agents}
        ours = groups[AGENTS[0].label]
        for agent, found in groups.items():
            median = {name: statistics.median(row[name] for row in found) for name in MEASURES}
            mean = {name: statistics.fmean(row[name] for row in found) for name in MEASURES}
            bound = "" if all(row["solved"] for row in found) else "≥ "
            none = "" if any(row["solved"] for row in found) else "≥ "
            per_run = [per_solved_run(found, "training_cpu"), per_solved_run(found, *ALL)]
            cells = (
                agent,
                f"{sum(row['solved'] for row in found)} of {len(found)}",
                bound + spread([row["training_cpu"] for row in found]),
                f"{bound}{median['training_cpu'] / statistics.median(row['training_cpu'] for row in ours):.1f}",
                *(f"{significant(mean[name], 3):g}" for name in ALL[1:]),
                *(f"{none}{significant(value, 3):,g}" for value in per_run),
                f"{none}{per_run[1] / per_solved_run(ours, *ALL):.1f}",
                f"{median['every']:,.0f} steps",
                f"{mean['trials']:.0f}",
                spread([row["steps"] for row in found]),
                spread([row["updates"] for row in found]),
                *(f"{median[name]:.2f}" for name in ("import_cpu", "setup_cpu")),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(path: Path, rows: list[Row]) -> None:
    """Draw every run's training, one row an agent, one panel an environment; triangles are unsolved runs."""
    envs = list(dict.fromkeys(row["env"] for row in rows))
    agents = list(dict.fromkeys(row["agent"] for row in rows))[::-1]
    figure, axes = plt.subplots(1, len(envs), figsize=(4.4 * len(envs) + 2, 2.6), sharey=True, layout="constrained")
    for env, axis in zip(envs, axes if len(envs) > 1 else [axes], strict=True):
        for height, agent in enumerate(agents):
            found = [row for row in rows if (row["env"], row["agent"]) == (env, agent)]
            times = [row["training_cpu"] for row in found]
            for row in found:
                axis.plot(row["training_cpu"], height, "o" if row["solved"] else ">", color=f"C{height}", alpha=0.6)
            if times:
                axis.plot(statistics.median(times), height, "k|", markersize=16)
        axis.set(title=env, xscale="log", xlabel="processor time of training to solved (s)")
        axis.set_yticks(range(len(agents)), agents)
        axis.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=80, metadata={"Software": None})


def main() -> None:
    """Run all, keep each run in `dqn.csv`, write the tables in the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="runs of each agent in each environment")
    parser.add_argument("--slow-seeds", type=int, default=3, help="at most so many of those that take a minute")
    parser.add_argument("--envs", nargs="+", choices=SETS, default=list(SETS))
    modules = [agent.module for agent in AGENTS]
    parser.add_argument("--agents", nargs="+", choices=modules, default=modules)
    parser.add_argument("--missing", action="store_true", help="skip runs that dqn.csv holds")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()
    old, rows = measured_before(args.results / "dqn.csv"), []
    done = {(row["env"], row["agent"], row["seed"]) for row in old} if args.missing else set()
    for seed in range(args.seeds):
        for env in args.envs:
            for agent in (a for a in AGENTS if a.module in args.agents and not (a.slow and seed >= args.slow_seeds)):
                if (env, agent.label, seed) in done:
                    continue
                rows.append(run(agent, env, seed))
                print(json.dumps(rows[-1]), flush=True)
                write_table(args.results / "dqn.csv", merged(old, rows), COLUMNS)
    found = merged(old, rows)
    write_text(args.results / "dqn.md", table(found))
    plot(args.results / "dqn.png", found)


if __name__ == "__main__":
    main()
