"""Stable-Baselines3's DQN with the parameters that RL Baselines3 Zoo tuned for each environment.

Source of the parameters: https://github.com/DLR-RM/rl-baselines3-zoo/blob/22e3ff2/hyperparams/dqn.yml
"""

import time
from typing import Any

import numpy.typing as npt
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.peers.common import MOST_STEPS, TRIAL_EVERY, Judge, arguments, report

WIDE = {"policy_kwargs": {"net_arch": [256, 256]}}
CARTPOLE = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1000,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
    **WIDE,
}
LUNAR_LANDER = {
    "learning_rate": 6.3e-4,
    "batch_size": 128,
    "buffer_size": 50_000,
    "learning_starts": 0,
    "target_update_interval": 250,
    "train_freq": 4,
    "gradient_steps": -1,
    "exploration_fraction": 0.12,
    "exploration_final_eps": 0.1,
    **WIDE,
}
MOUNTAIN_CAR = {
    "learning_rate": 4e-3,
    "batch_size": 128,
    "buffer_size": 10_000,
    "learning_starts": 1000,
    "gamma": 0.98,
    "target_update_interval": 600,
    "train_freq": 16,
    "gradient_steps": 8,
    "exploration_fraction": 0.2,
    "exploration_final_eps": 0.07,
    **WIDE,
}
ZOO: dict[str, tuple[int, dict[str, Any]]] = {
    "CartPole-v0": (50_000, CARTPOLE),
    "CartPole-v1": (50_000, CARTPOLE),
    "Acrobot-v1": (100_000, LUNAR_LANDER),
    "MountainCar-v0": (120_000, MOUNTAIN_CAR),
    "LunarLander-v3": (100_000, LUNAR_LANDER),
}
"""By environment: the steps that the Zoo trains for, and the agent's parameters."""


class Stop(BaseCallback):  # type: ignore[misc]
    """Ends the training once the judge is content."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge, self.every = judge, TRIAL_EVERY.get(judge.name, 1024)

    def act(self, observation: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Greedy actions."""
        with torch.no_grad():
            values = self.model.q_net(torch.from_numpy(observation))
        return values.argmax(1).numpy()  # type: ignore[no-any-return]

    def _on_step(self) -> bool:
        due = self.num_timesteps % self.every == 0 and self.num_timesteps > self.model.learning_starts
        return not (due and self.judge.solved(self.act))


def main() -> None:
    """Train, save, report."""
    args = arguments()
    torch.set_num_threads(1)
    imported = time.process_time()
    wall = time.perf_counter()
    steps, parameters = ZOO[args.env]
    # The share of steps that explores is the Zoo's; here a run may go on after them.
    parameters = parameters | {"exploration_fraction": parameters["exploration_fraction"] * steps / MOST_STEPS}
    agent = DQN("MlpPolicy", args.env, **parameters, seed=args.seed, device="cpu")
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
