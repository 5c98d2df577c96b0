"""How the DQN's cost grows: with the size of its replay buffer, and with the number of environments.

Writes `dqn_scaling.md`.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.ablation import reader
from stages import runtime
from stages.cartpole.dqn.replay import transition_type
from stages.cartpole.params import Train
from stages.cartpole.train import DQN
from stages.core.files import write_text
from stages.core.params import Runtime, TrainParams

ROOT = Path(__file__).parents[1]
BUFFERS = tuple(2**power for power in (13, 16, 20))
ENVIRONMENTS = (1, 4, 16, 64, 256, 1024)
CALLS = 60


def training(params: TrainParams[Train], buffer: int, prioritized: bool) -> DQN:
    """A run whose replay buffer is full of made-up transitions."""
    replay = params.train.prioritized_replay.model_copy(update={"enabled": prioritized})
    train = params.train.model_copy(update={"buffer_size": buffer, "prioritized_replay": replay})
    run = DQN(params.model_copy(update={"train": train}))
    run.learner.compile()
    random = np.random.default_rng(0)
    transitions = np.zeros(buffer, transition_type(run.environment.observations))
    for name in ("observation", "next"):
        transitions[name] = random.normal(size=transitions[name].shape)
    transitions["action"] = random.integers(0, run.config["actions"], buffer)
    transitions["discount"] = 0.9
    run.replay.add(transitions)
    return run


def seconds(work: Callable[[], object], calls: int) -> float:
    """Processor seconds a call, the best of five."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(calls):
            work()
        best = min(best, (time.process_time() - began) / calls)
    return best


def buffers(params: TrainParams[Train]) -> list[str]:
    """Lines of the table by size of the replay buffer."""
    lines = ["| transitions | drawn | memory | sampling and learning, updates a second |", "|" + " --- |" * 4]
    for buffer in BUFFERS:
        for prioritized in (False, True):
            run = training(params, buffer, prioritized)
            size = sum(array.nbytes for array in run.replay.arrays.values())
            rate = params.train.gradient_steps / seconds(run.learn, CALLS)
            how = "by priority" if prioritized else "uniformly"
            lines.append(f"| {buffer:,} | {how} | {size / 1e6:.1f} MB | {rate:,.0f} |")
    return lines


def environments(params: TrainParams[Train]) -> list[str]:
    """Lines of the table by number of environments."""
    lines = [
        "| environments | steps a second, acting and remembering | microseconds a step of all |",
        "|" + " --- |" * 3,
    ]
    for envs in ENVIRONMENTS:
        train = params.train.model_copy(update={"n_envs": envs, "buffer_size": 2**16})
        run = DQN(params.model_copy(update={"train": train}))
        each = seconds(run.collect, CALLS)
        lines.append(f"| {envs:,} | {envs / each:,.0f} | {each * 1e6:,.0f} |")
    return lines


def main() -> None:
    """Measure both, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()
    runtime.configure(Runtime(threads=1))
    params = reader({})
    text = "\n".join([*buffers(params), "", *environments(params)]) + "\n"
    write_text(args.results / "dqn_scaling.md", text)
    print(text)


if __name__ == "__main__":
    main()
