"""What changed between two agents' actions."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.cartpole.environments import Environment
from stages.cartpole.params import Train
from stages.core.params import validate
from stages.report.predictions import SHOWN, PredictionChanges
from stages.savedmodel.graph import PROVENANCE, read_provenance

Array = npt.NDArray[Any]
MOST_SHOWN = 8  # values of an observation


def compare(models: tuple[Any, Any], model: Path) -> PredictionChanges:
    """States of an episode that the later agent plays, in which the two agents' actions or values differ most."""
    parameters = read_provenance(model)["parameters"]
    environment = Environment(validate(Train, parameters["cartpole"]["train"], model / PROVENANCE))
    name, (given,) = environment.name, models[1].signature.inputs.values()
    env = environment.make()
    observation, _ = env.reset(seed=parameters["seed"])
    visited: list[Array] = []
    ended = False
    while not ended and len(visited) < 1000:
        visited.append(np.reshape(observation, given.shape[1:]).astype(given.numpy_type))
        action = models[1](**{given.key: visited[-1][None]})["actions"][0]
        observation, _, terminated, truncated, _ = env.step(action + environment.first_action)
        ended = terminated or truncated
    observations = np.stack(visited)
    old, new = (model(**{next(iter(model.signature.inputs)): observations}) for model in models)
    differs = old["actions"] != new["actions"]
    gap = np.abs(new["q_values"] - old["q_values"]).max(axis=1)
    top = np.lexsort((-gap, ~differs))[:SHOWN]
    summary = (
        f"{len(observations)} states of one episode that B plays in {name}: the agents choose another action in "
        f"{int(differs.sum())} of them; the value of an action moves by {gap.mean():.3g} in the mean."
    )
    header = ("step", "state", "A", "B", "values, A", "values, B")
    rows = [
        (int(i), _numbers(observations[i]), f"action {old['actions'][i]}", f"action {new['actions'][i]}",
         _numbers(old["q_values"][i]), _numbers(new["q_values"][i]))
        for i in top
    ]  # fmt: skip
    return PredictionChanges(summary, header, rows)


def _numbers(values: Array) -> str:
    shown = ", ".join(f"{value:.3g}" for value in values.ravel()[:MOST_SHOWN])
    return shown if values.size <= MOST_SHOWN else f"{shown}, ... ({values.size} values)"
