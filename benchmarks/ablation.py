"""What each part of the DQN is worth: the recipe with one part changed at a time, several seeds each.

Writes `ablation.csv` and `ablation.md`. A single change is also a DVC experiment, as its column says:

    dvc exp run --set-param cartpole.train.double_q=false
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.peers.common import EPISODES, returns
from stages import runtime
from stages.cartpole.environments import evaluation_seed
from stages.cartpole.params import Train
from stages.cartpole.train import DQN
from stages.core.files import significant, write_table, write_text
from stages.core.params import Runtime, TrainParams
from tools.param_overrides import override, read

ROOT = Path(__file__).parents[1]
VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "no double": {"cartpole.train.double_q": False},
    "dueling": {"cartpole.train.network.dueling": True},
    "1-step": {"cartpole.train.n_steps": 1},
    "10-step": {"cartpole.train.n_steps": 10},
    "prioritized": {"cartpole.train.prioritized_replay.enabled": True},
    "soft target": {"cartpole.train.target_update_interval": 1, "cartpole.train.tau": 0.01},
    "random actions not repeated": {"cartpole.train.exploration.mean_repeat": 1.0},
    "targets not clipped": {"cartpole.train.target_clip": None},
    "8 environments": {"cartpole.train.n_envs": 8, "cartpole.train.train_freq": 32},
    "128 environments": {"cartpole.train.n_envs": 128, "cartpole.train.train_freq": 2},
}
COLUMNS = ("variant", "seed", "solved", "fresh_return", "steps", "updates", "loop_cpu")
Row = dict[str, Any]


def reader(changes: dict[str, Any]) -> TrainParams[Train]:
    """The training stage's parameters with some changed."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "params.yaml"
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        path.write_text(yaml.safe_dump(override(params, changes)))
        return TrainParams[Train].read(path)


def trained(params: TrainParams[Train]) -> tuple[DQN, bool, float]:
    """Train until a trial is passed or the steps are used up: the run, whether one was, the processor's seconds."""
    run, passed = DQN(params), False
    run.learner.compile()
    began = time.process_time()
    while run.steps < params.train.total_timesteps and not passed:
        passed = bool(run.round())
    return run, passed, time.process_time() - began


def play(params: TrainParams[Train]) -> Row:
    """Train once, and judge on fresh episodes."""
    run, _, loop = trained(params)
    fresh = float(returns(run.environment, run.act, EPISODES, evaluation_seed(params.seed)).mean())
    counts = {"steps": run.steps, "updates": run.learner.updates}
    values = {"fresh_return": significant(fresh), "loop_cpu": significant(loop, 3)}
    return {"seed": params.seed, "solved": fresh >= run.trial.threshold, **counts, **values}


def table(rows: list[Row], env: str) -> str:
    """The ablation in Markdown: medians over seeds."""
    head = ("variant", "change", f"{env} solved", "steps, median", "most", "updates", "loop, s of CPU")
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for variant, changes in VARIANTS.items():
        group = [row for row in rows if row["variant"] == variant]
        cells = (
            variant,
            " ".join(f"`{key}={json.dumps(value)}`" for key, value in changes.items()),
            f"{sum(row['solved'] for row in group)} of {len(group)}",
            f"{statistics.median(row['steps'] for row in group):,.0f}",
            f"{max(row['steps'] for row in group):,}",
            f"{statistics.median(row['updates'] for row in group):,.0f}",
            f"{statistics.median(row['loop_cpu'] for row in group):.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run every variant with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="runs of each variant")
    parser.add_argument("--set", type=Path, default=ROOT / "params/CartPole-v1.yaml", help="parameter set to vary")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()
    runtime.configure(Runtime(threads=1))
    base, rows = read(args.set), []
    for variant, changes in VARIANTS.items():
        params = reader(base | changes)
        for seed in range(args.seeds):
            rows.append({"variant": variant, **play(params.model_copy(update={"seed": seed}))})
        print(json.dumps(rows[-args.seeds :]), flush=True)
    write_table(args.results / "ablation.csv", rows, COLUMNS)
    write_text(args.results / "ablation.md", table(rows, base["cartpole.train.env"]))


if __name__ == "__main__":
    main()
