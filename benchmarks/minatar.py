"""MinAtar's parameter sets over several seeds, beside the returns of DQN in MinAtar's paper.

Trains on one thread until a trial is passed or the steps are used up, then plays fresh episodes: greedily, and with one
action in ten random, as the paper's agents play. Needs `pip install "minatar>=1.0.15"`. Writes `minatar.csv` and
`minatar.md`; runs that the table has, of the same parameters, are not made again.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation import ROOT, reader, trained
from benchmarks.peers.common import Act, returns
from stages import runtime
from stages.cartpole.environments import evaluation_seed
from stages.cartpole.params import Train
from stages.core.files import significant, write_table, write_text
from stages.core.params import Runtime, TrainParams
from stages.evaluation.seeds import recipe, table
from tools.param_overrides import read
from tools.processor import describe

PAPER = {"Breakout": 10.1, "Asterix": 16.8}
"""Mean return of DQN's training episodes near frame 5,000,000, of which one action in ten is random, over 30 seeds.

Read off the learning curves of Young and Tian, "MinAtar: An Atari-Inspired Testbed" (2019); it gives no numbers."""
EPISODES = 200
RANDOM, ALL_ACTIONS = 0.1, 6
"""Share of random actions, and of how many they are drawn: the paper's agents have actions that do nothing as well."""
COLUMNS = (
    *("set", "recipe", "seed", "passed", "steps", "updates", "cpu_seconds"),
    *("greedy_mean", "greedy_std", "exploring_mean", "exploring_std", "processor"),
)
Row = dict[str, Any]


def exploring(act: Act, actions: int, seed: int) -> Act:
    """Greedy actions, some replaced by random ones, as the paper's agents explore."""
    random = np.random.default_rng(seed)

    def explore(observation: Any) -> Any:
        best = act(observation)
        drawn = random.integers(0, ALL_ACTIONS, len(best))
        drawn[drawn >= actions] = 0  # the first action does nothing, as do those that these environments leave out
        return np.where(random.random(len(best)) < RANDOM, drawn, best)

    return explore


def play(params: TrainParams[Train]) -> Row:
    """Train once, and judge on fresh episodes."""
    run, passed, cpu = trained(params)
    row: Row = {
        "seed": params.seed,
        "passed": int(passed),
        "steps": run.steps,
        "updates": run.learner.updates,
        "cpu_seconds": significant(cpu, 3),
    }
    explore = exploring(run.act, run.environment.actions, params.seed)
    for name, act in (("greedy", run.act), ("exploring", explore)):
        found = returns(run.environment, act, EPISODES, evaluation_seed(params.seed))
        row[f"{name}_mean"], row[f"{name}_std"] = significant(found.mean()), significant(found.std())
    return row | {"processor": describe()}


def summary(rows: list[Row]) -> str:
    """The runs of each set in Markdown: medians and means over seeds."""
    head = (
        *("set", "seeds", "trial passed", "steps, median", "most", "training, min of CPU, median", "most"),
        *("greedy return, mean", "standard deviation", "lowest", "one action in ten random, mean", "lowest"),
        *("DQN in MinAtar's paper", "processor"),
    )
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for name, paper in PAPER.items():
        group = [row for row in rows if row["set"] == name]
        if not group:
            continue
        values = {key: [float(row[key]) for row in group] for key in ("steps", "cpu_seconds")}
        greedy, explored = ([float(row[f"{kind}_mean"]) for row in group] for kind in ("greedy", "exploring"))
        cells = (
            *(name, len(group), sum(int(row["passed"]) for row in group)),
            *(f"{statistics.median(values['steps']):,.0f}", f"{max(values['steps']):,.0f}"),
            *(f"{statistics.median(values['cpu_seconds']) / 60:.1f}", f"{max(values['cpu_seconds']) / 60:.1f}"),
            *(f"{statistics.mean(greedy):.1f}", f"{statistics.stdev(greedy):.1f}", f"{min(greedy):.1f}"),
            *(f"{statistics.mean(explored):.1f}", f"{min(explored):.1f}"),
            *(paper, "; ".join(sorted({row["processor"] for row in group}))),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the runs that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(PAPER), choices=list(PAPER))
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5), help="one run of each set for each")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()
    runtime.configure(Runtime(threads=1))
    path = args.results / "minatar.csv"
    sets = {name: reader(read(ROOT / f"params/MinAtar-{name}-v1.yaml")) for name in PAPER}
    recipes = {name: recipe("cartpole", {"cartpole": params.train.model_dump()}) for name, params in sets.items()}
    for name in args.sets:
        for seed in args.seeds:
            key = {"set": name, "recipe": recipes[name], "seed": seed}
            if any(all(row[column] == str(value) for column, value in key.items()) for row in table(path)):
                continue
            print(row := key | play(sets[name].model_copy(update={"seed": seed})), flush=True)
            write_table(path, [*table(path), row], COLUMNS)
    rows = [row for row in table(path) if row["recipe"] == recipes[row["set"]]]
    write_text(path.with_suffix(".md"), summary(rows))


if __name__ == "__main__":
    main()
