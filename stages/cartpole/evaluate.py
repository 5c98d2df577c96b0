"""Measure the exported agent on fresh episodes of the environment that it was trained for; draw it."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages import runtime
from stages.cartpole.environments import Environment, Player, evaluation_seed
from stages.cartpole.params import Evaluate, Train
from stages.cartpole.render import Answers, animate, plane_values
from stages.core.arguments import evaluation_arguments
from stages.core.errors import InputError, run
from stages.core.files import significant, whole_folder, write_json, write_table
from stages.core.params import EvaluateParams, validate
from stages.evaluation.statistics import NOTHING, bootstrapped, interquartile_mean, plain_mean, share
from stages.savedmodel.graph import PROVENANCE, read_provenance
from stages.savedmodel.predictor import Predictor


class Agent:
    """An exported agent and the environment that it was trained for.

    Args:
        path: the SavedModel.

    Raises:
        InputError: if it is damaged, or does not say what it was trained for.
    """

    def __init__(self, path: Path) -> None:
        self.predictor = Predictor(path)
        (self.input,) = self.predictor.signature.inputs.values()
        provenance = read_provenance(path)
        try:
            trained, seed = provenance["parameters"]["cartpole"]["train"], provenance["parameters"]["seed"]
        except KeyError as error:
            raise InputError(f"{path / PROVENANCE}: expected parameters.{error.args[0]}") from None
        self.environment = Environment(validate(Train, trained, path / PROVENANCE))
        self.first_seed = evaluation_seed(seed)

    def predict(self, observations: npt.ArrayLike) -> Answers:
        """`actions` [n] and `q_values` [n, actions] for observations [n, size], flat or as the model takes them."""
        shaped = np.reshape(observations, [-1, *map(int, self.input.shape[1:])])  # type: ignore[arg-type]
        return self.predictor(**{self.input.key: shaped})

    def act(self, observations: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The environment's actions [n] for its observations [n, size]."""
        actions: npt.NDArray[np.int64] = self.predict(observations)["actions"] + self.environment.first_action
        return actions


def main() -> None:
    """Write the metrics, the returns, the animation and the action values."""
    args = evaluation_arguments(__doc__, has_data=False)
    params = EvaluateParams[Evaluate].read(args.params)

    runtime.configure(params.runtime)
    agent = Agent(args.model)
    environment, episodes = agent.environment, params.evaluate.episodes
    plane, gif = params.evaluate.plane, params.evaluate.gif
    if plane is not None and environment.image:
        print(f"no plot of action values: observations of {environment.name} are images", file=sys.stderr)
        plane = None
    values = [] if plane is None else plane_values(agent.predict, environment.observations, plane)
    returns = Player(environment).play(range(agent.first_seed, agent.first_seed + episodes), agent.act)
    with whole_folder(args.plots) as folder:
        rows = [{"episode": i, "return": significant(value)} for i, value in enumerate(returns, 1)]
        write_table(folder / "returns.csv", rows, ["episode", "return"])
        if gif is not None and environment.is_drawn:
            try:
                animate(folder / "agent.gif", environment, agent.act, agent.first_seed, gif)
            except InputError as error:
                print(f"no agent.gif: {error}", file=sys.stderr)
        elif gif is not None:
            print(f"no agent.gif: {environment.name} draws no pictures", file=sys.stderr)
    write_table(args.examples, values, list(values[0]) if values else [])
    threshold = environment.reward_threshold
    reached = NOTHING if threshold is None else share(int((returns >= threshold).sum()), episodes)
    metrics = {
        **bootstrapped(returns, plain_mean).metrics("mean_return"),
        **bootstrapped(returns, interquartile_mean).metrics("interquartile_mean_return"),
        "min_return": significant(returns.min()),
        **reached.metrics("share_solved"),
        "std_return": significant(returns.std()),
        "episodes": episodes,
        "threshold": threshold,
        "solved": threshold is not None and bool(returns.mean() >= threshold),
    }
    write_json(args.metrics, metrics)


if __name__ == "__main__":
    run(main)
