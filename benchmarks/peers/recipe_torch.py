"""The same recipe in eager PyTorch: this project's loop, replay and stopping test with another learner."""

import sys
import types
from typing import Any

# The loop's modules name TensorFlow, and this process must not pay for it.
sys.modules["tensorflow"] = types.ModuleType("tensorflow")

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402

from stages import runtime  # noqa: E402
from stages.cartpole import model, train  # noqa: E402
from stages.cartpole.dqn import learner  # noqa: E402
from stages.cartpole.dqn.replay import transition_type  # noqa: E402
from stages.cartpole.params import Train  # noqa: E402

del sys.modules["tensorflow"]  # PyTorch looks for it


class QLearner:
    """Double DQN with Adam, as `stages.cartpole.dqn.learner.QLearner`, update by update; not for images."""

    def __init__(
        self, config: dict[str, Any], numbers: Train, random: np.random.Generator, stored: None = None
    ) -> None:
        self.config, self.numbers, self.updates = config, numbers, 0
        self.online = model.initial(config, random)
        self.network, self.valued = self._network(config), self._network(config)
        self.adam = torch.optim.Adam(self.network.parameters(), numbers.learning_rate, eps=learner.EPSILON)

    def _network(self, config: dict[str, Any]) -> torch.nn.Sequential:
        layers: list[torch.nn.Module] = []
        parts = model.split(self.online, config)
        for kernel, bias in zip(parts[::2], parts[1::2], strict=True):
            linear = torch.nn.Linear(*kernel.shape)
            linear.weight.data, linear.bias.data = torch.tensor(kernel.T.copy()), torch.tensor(bias)
            layers += [linear, torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1])

    @property
    def saved(self) -> npt.NDArray[np.float32]:
        """Weights of the network that trials play and that is saved."""
        return self._flat(self.valued) if self.numbers.tau < 1 else self.online

    def compile(self) -> None:
        """Let PyTorch import and start what it needs for an update, by one of a copy that is dropped."""
        shape = (1, self.numbers.batch_size)
        nothing = np.zeros(shape, transition_type(self.config["observations"]))
        QLearner(self.config, self.numbers, np.random.default_rng(0)).learn(nothing, np.ones(shape, np.float32))

    def learn(
        self, transitions: npt.NDArray[np.void], weights: npt.NDArray[np.float32], observations: tuple[()] = ()
    ) -> npt.NDArray[np.float32]:
        """Make one update with each batch."""
        errors = []
        low, high = self.numbers.target_clip or (-np.inf, np.inf)
        parts = [torch.tensor(transitions[name]) for name in transitions.dtype.names or ()]
        for observation, action, reward, discount, after, weight in zip(*parts, torch.from_numpy(weights), strict=True):
            with torch.no_grad():
                best = self.network(after).argmax(1, keepdim=True)
                worth = self.valued(after).gather(1, best)[:, 0]
                aim = (reward + discount * worth).clamp(low, high)
            error = aim - self.network(observation).gather(1, action[:, None].long())[:, 0]
            self.adam.zero_grad()
            (weight * error**2).mean().backward()
            self.adam.step()
            self.updates += 1
            if self.updates % self.numbers.target_update_interval == 0:
                for old, new in zip(self.valued.parameters(), self.network.parameters(), strict=True):
                    old.data.lerp_(new.data, self.numbers.tau)
            errors.append(error.detach())
        self.online = self._flat(self.network)
        return np.asarray(torch.stack(errors))

    def _flat(self, network: torch.nn.Module) -> npt.NDArray[np.float32]:
        parts = [p.detach().numpy().T.ravel() for p in network.parameters()]
        return np.concatenate(parts)


if __name__ == "__main__":
    torch.set_num_threads(1)
    setattr(train, "QLearner", QLearner)  # noqa: B010 - the one thing that differs
    setattr(runtime, "configure", lambda *_, **__: None)  # noqa: B010
    from benchmarks.peers import ours

    ours.main()
