"""Measure the exported agent on fresh episodes of the environment that it was trained for; draw it."""

import argparse
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from stages import runtime
from stages.cartpole.params import EvaluateParams
from stages.cartpole.render import Answers, animate, plane_values
from stages.core.errors import InputError, run
from stages.core.files import significant, whole_folder, write_json, write_table
from stages.core.params import add_params
from stages.savedmodel.graph import PROVENANCE, read_provenance
from stages.savedmodel.predictor import Predictor


class Agent:
    """An exported agent and where it came from.

    Args:
        path: the SavedModel.

    Raises:
        InputError: if it is damaged, or does not say what it was trained for.
    """

    def __init__(self, path: Path) -> None:
        self.predictor = Predictor(path)
        (self.input,) = self.predictor.signature.inputs.values()
        try:
            trained = read_provenance(path)["parameters"]
            self.env, seed = trained["cartpole"]["train"]["env"], trained["seed"]
            self.threshold = trained["cartpole"]["train"]["stop"]["threshold"]
        except KeyError as error:
            raise InputError(f"{path / PROVENANCE}: expected parameters.{error.args[0]}") from None
        if self.threshold is None:
            self.threshold = gym.spec(self.env).reward_threshold
        # Training's seeds are below 2**31.
        self.first_seed = 2**32 * (1 + seed)

    def predict(self, observations: npt.ArrayLike) -> Answers:
        """`actions` [n] and `q_values` [n, actions] for observations [n, size]."""
        return self.predictor(**{self.input.key: observations})


def play(agent: Agent, episodes: int) -> npt.NDArray[np.float64]:
    """Returns of greedy episodes [episodes], each in an environment and of a seed of its own."""
    envs = gym.make_vec(agent.env, episodes, "sync")
    observation, _ = envs.reset(seed=[agent.first_seed + episode for episode in range(episodes)])
    returns, running = np.zeros(episodes), np.ones(episodes, np.bool_)
    while running.any():
        actions = agent.predict(observation)["actions"] + envs.single_action_space.start
        observation, reward, terminated, truncated, _ = envs.step(actions)
        returns += np.where(running, reward, 0.0)
        running &= ~(terminated | truncated)
    envs.close()
    return returns


def main() -> None:
    """Write the metrics, the returns, the animation and the action values."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="SavedModel to measure")
    parser.add_argument("metrics", type=Path, help="file to write the metrics to")
    parser.add_argument("plots", type=Path, help="folder to write the returns and the animation to")
    parser.add_argument("examples", type=Path, help="file to write the action values over a plane of states to")
    add_params(parser)
    args = parser.parse_args()
    params = EvaluateParams.read(args.params)

    runtime.configure(params.runtime)
    gym.logger.min_level = gym.logger.ERROR  # it says that CartPole-v0 is out of date
    agent = Agent(args.model)
    returns = play(agent, params.evaluate.episodes)
    values = plane_values(agent.predict, agent.input.shape[1] or 0, params.evaluate.plane)
    offset = int(gym.make(agent.env).action_space.start)
    with whole_folder(args.plots) as folder:
        rows = [{"episode": i, "return": significant(value)} for i, value in enumerate(returns, 1)]
        write_table(folder / "returns.csv", rows, ["episode", "return"])
        if not animate(
            folder / "agent.gif",
            agent.env,
            lambda observation: int(agent.predict(observation[None])["actions"][0]) + offset,
            agent.first_seed,
            params.evaluate.gif,
        ):
            print(f"{agent.env} draws no pictures: no agent.gif", file=sys.stderr)
    write_table(args.examples, values, list(values[0]))
    metrics = {
        "mean_return": significant(returns.mean()),
        "min_return": significant(returns.min()),
        "std_return": significant(returns.std()),
        "episodes": params.evaluate.episodes,
        "threshold": agent.threshold,
        "solved": bool(agent.threshold is not None and returns.mean() >= agent.threshold),
    }
    write_json(args.metrics, metrics)


if __name__ == "__main__":
    run(main)
