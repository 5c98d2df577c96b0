"""Stable-Baselines3's DQN with the parameters that RL Baselines3 Zoo tuned for CartPole."""

import time
from typing import Any

import numpy.typing as npt
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.peers.common import MOST_STEPS, Judge, arguments, report

EVERY = 1024
# The Zoo trains 50,000 steps and explores during the first 16 % of them; here a run may go on.
EXPLORATION = 0.16 * 50_000 / MOST_STEPS


class Stop(BaseCallback):  # type: ignore[misc]
    """Ends the training once the judge is content."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge

    def act(self, observation: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Greedy actions."""
        with torch.no_grad():
            values = self.model.q_net(torch.from_numpy(observation))
        return values.argmax(1).numpy()  # type: ignore[no-any-return]

    def _on_step(self) -> bool:
        due = self.num_timesteps % EVERY == 0 and self.num_timesteps > self.model.learning_starts
        return not (due and self.judge.solved(self.act))


def main() -> None:
    """Train, save, report."""
    args = arguments()
    torch.set_num_threads(1)
    imported = time.process_time()
    wall = time.perf_counter()
    agent = DQN(
        "MlpPolicy",
        args.env,
        learning_rate=2.3e-3,
        batch_size=64,
        buffer_size=100_000,
        learning_starts=1000,
        gamma=0.99,
        target_update_interval=10,
        train_freq=256,
        gradient_steps=128,
        exploration_fraction=EXPLORATION,
        exploration_final_eps=0.04,
        policy_kwargs={"net_arch": [256, 256]},
        seed=args.seed,
        device="cpu",
    )
    stop = Stop(Judge(args.env, args.seed))
    agent.learn(MOST_STEPS, callback=stop)
    looped, wall = time.process_time(), time.perf_counter() - wall
    agent.save(args.weights)
    measured = {
        "import_cpu": imported,
        "compile_cpu": 0.0,
        "training_cpu": looped - imported - stop.judge.cpu,
        "training_wall": wall - stop.judge.wall,
        "trials_cpu": stop.judge.cpu,
        "process_cpu": time.process_time() - stop.judge.cpu,
        "steps": agent.num_timesteps,
        "updates": agent._n_updates,
    }
    report(args, stop.act, measured)


if __name__ == "__main__":
    main()
