"""The usual single-file DQN in PyTorch: one environment, CleanRL's published hyperparameters, written anew.

Source of the hyperparameters: https://docs.cleanrl.dev/rl-algorithms/dqn/ (its package on PyPI is of 2021 and
needs the Gym of then).
"""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.peers.common import MOST_STEPS, Contest

STARTS, EVERY, COPY, BATCH, MEMORY, GAMMA, RATE = 10_000, 10, 500, 128, 10_000, 0.99, 2.5e-4
START, END, FALL = 1.0, 0.05, 0.5 * MOST_STEPS


def network(observations: int, actions: int) -> torch.nn.Sequential:
    """Two hidden layers of 120 and 84."""
    return torch.nn.Sequential(
        torch.nn.Linear(observations, 120),
        torch.nn.ReLU(),
        torch.nn.Linear(120, 84),
        torch.nn.ReLU(),
        torch.nn.Linear(84, actions),
    )


class Agent:
    """Online and target network, their optimiser, and a memory that overwrites its oldest."""

    def __init__(self, observations: int, actions: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.online, self.target = network(observations, actions), network(observations, actions)
        self.target.load_state_dict(self.online.state_dict())
        self.adam = torch.optim.Adam(self.online.parameters(), RATE)
        self.random = np.random.default_rng(seed)
        self.before, self.after = (np.zeros((MEMORY, observations), np.float32) for _ in range(2))
        self.action = np.zeros(MEMORY, np.int64)
        self.reward, self.over = np.zeros(MEMORY, np.float32), np.zeros(MEMORY, np.float32)
        self.count = 0

    def act(self, observation: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Greedy actions."""
        with torch.no_grad():
            return self.online(torch.from_numpy(observation)).argmax(1).numpy()  # type: ignore[no-any-return]

    def remember(self, before: Any, action: int, reward: float, over: bool, after: Any) -> None:
        """Keep one step."""
        place = self.count % MEMORY
        self.before[place], self.after[place], self.action[place] = before, after, action
        self.reward[place], self.over[place] = reward, over
        self.count += 1

    def update(self) -> None:
        """One step of gradient descent on a batch drawn uniformly."""
        places = self.random.integers(0, min(self.count, MEMORY), BATCH)
        with torch.no_grad():
            worth = self.target(torch.from_numpy(self.after[places])).max(1).values
            aim = torch.from_numpy(self.reward[places]) + GAMMA * worth * (1 - torch.from_numpy(self.over[places]))
        actions = torch.from_numpy(self.action[places])[:, None]
        taken = self.online(torch.from_numpy(self.before[places])).gather(1, actions)[:, 0]
        self.adam.zero_grad()
        torch.nn.functional.mse_loss(aim, taken).backward()
        self.adam.step()


def main() -> None:
    """Train, save, report."""
    torch.set_num_threads(1)
    contest = Contest()
    env = gym.make(contest.env)
    size, actions = env.observation_space.shape[0], int(env.action_space.n)
    warm = Agent(size, actions, 0)
    warm.remember(np.zeros(size, np.float32), 0, 0.0, True, np.zeros(size, np.float32))
    warm.update()
    agent = Agent(size, actions, contest.seed)
    contest.start()
    observation, _ = env.reset(seed=contest.seed)
    updates = step = 0
    for step in range(1, MOST_STEPS + 1):
        share = max(END, START + (END - START) * step / FALL)
        explore = agent.random.random() < share
        action = int(agent.random.integers(actions) if explore else agent.act(observation[None])[0])
        after, reward, terminated, truncated, _ = env.step(action)
        agent.remember(observation, action, float(reward), terminated, after)
        observation = env.reset()[0] if terminated or truncated else after
        if step > STARTS:
            if step % EVERY == 0:
                agent.update()
                updates += 1
            if step % COPY == 0:
                agent.target.load_state_dict(agent.online.state_dict())
            if step % contest.every == 0 and contest.solved(agent.act):
                break
    contest.finish(agent.act, step, updates)
    torch.save(agent.online.state_dict(), contest.weights)


if __name__ == "__main__":
    main()
