"""Stable-Baselines3's DQN with the parameters that RL Baselines3 Zoo tuned for each environment.

Source of the parameters: https://github.com/DLR-RM/rl-baselines3-zoo/blob/22e3ff2/hyperparams/dqn.yml
"""

from typing import Any

import numpy.typing as npt
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.peers.common import MOST_STEPS, Contest

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


WARM_UP = {"buffer_size": 64, "learning_starts": 0, "train_freq": 1, "gradient_steps": 1}


class Stop(BaseCallback):  # type: ignore[misc]
    """Ends the training once a trial is passed."""

    def __init__(self, contest: Contest) -> None:
        super().__init__()
        self.contest = contest

    def act(self, observation: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Greedy actions."""
        with torch.no_grad():
            values = self.model.q_net(torch.from_numpy(observation))
        return values.argmax(1).numpy()  # type: ignore[no-any-return]

    def _on_step(self) -> bool:
        due = self.num_timesteps % self.contest.every == 0 and self.num_timesteps > self.model.learning_starts
        return not (due and self.contest.solved(self.act))


def main() -> None:
    """Train, save, report."""
    torch.set_num_threads(1)
    contest = Contest()
    steps, parameters = ZOO[contest.env]
    # The share of steps that explores is the Zoo's; here a run may go on after them.
    parameters = parameters | {"exploration_fraction": parameters["exploration_fraction"] * steps / MOST_STEPS}
    stop = Stop(contest)
    DQN("MlpPolicy", contest.env, **parameters | WARM_UP, device="cpu").learn(8, callback=stop)
    agent = DQN("MlpPolicy", contest.env, **parameters, seed=contest.seed, device="cpu")
    contest.start()
    agent.learn(MOST_STEPS, callback=stop)
    contest.finish(stop.act, agent.num_timesteps, agent._n_updates)
    agent.save(contest.weights)


if __name__ == "__main__":
    main()
