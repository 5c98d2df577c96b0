"""The schema of `cartpole` in `params.yaml`."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from stages.core.errors import InputError
from stages.core.params import (
    Checkpointing,
    Count,
    Fraction,
    Index,
    LayerSizes,
    Name,
    NonNegative,
    Positive,
    Section,
    Text,
)


def _lower_first(bounds: list[float]) -> list[float]:
    if bounds[0] >= bounds[1]:
        raise ValueError("should be a lower bound, then a higher one")
    return bounds


MOST_EPISODES = 2**16
"""Episodes of an evaluation; their seeds do not reach those of another run's."""

Bounds = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_lower_first)]


class Network(Section):
    """The Q-network."""

    hidden_units: LayerSizes
    dueling: bool
    observation_scale: Annotated[list[Positive], Field(min_length=1)]
    head_scale: Positive


class PrioritizedReplay(Section):
    """How transitions are sampled by their temporal-difference errors."""

    enabled: bool
    alpha: Fraction
    beta: Fraction


class Exploration(Section):
    """Random actions while training."""

    initial_eps: Fraction
    final_eps: Fraction
    decay_steps: Count
    mean_repeat: Annotated[float, Field(ge=1)]


class Reward(Section):
    """The reward that is learned from."""

    scale: float
    shift: float
    terminal: float


class Stop(Section):
    """When a run counts as solved."""

    reward_threshold: float | None
    n_eval_episodes: Annotated[int, Field(ge=2)]
    eval_freq: Count
    margin: NonNegative
    time_limits: Count


class Train(Section):
    """A DQN's training run."""

    env: Text
    env_kwargs: dict[str, Any]
    wrappers: list[Annotated[dict[Text, dict[str, Any]], Field(min_length=1)]]
    max_episode_steps: Count | None
    network: Network
    total_timesteps: Count
    n_envs: Count
    learning_starts: Count
    train_freq: Count
    gradient_steps: Count
    batch_size: Count
    buffer_size: Count
    learning_rate: Positive
    gamma: Fraction
    n_steps: Count
    double_q: bool
    jit_compile: bool
    target_update_interval: Count
    tau: Annotated[float, Field(gt=0, le=1)]
    target_clip: Bounds | None
    prioritized_replay: PrioritizedReplay
    exploration: Exploration
    reward: Reward
    stop: Stop


class Plane(Section):
    """The plane of two observations on which action values are drawn."""

    x: Index
    y: Index
    x_limit: Positive
    y_limit: Positive
    x_label: Text
    y_label: Text

    def check(self, observations: int) -> None:
        """Raise an `InputError` if an environment with so many observations lacks one of the two."""
        for key, index in (("x", self.x), ("y", self.y)):
            if index >= observations:
                most = f"expected at most {observations - 1}, or null as cartpole.evaluate.plane for no plot"
                raise InputError(f"cartpole.evaluate.plane.{key}: {index}: {most}")


class Gif(Section):
    """The animation of the trained agent."""

    frames: Count
    every: Count
    width: Annotated[int, Field(ge=16, le=1200)]


class Evaluate(Section):
    """What the evaluation plays and draws."""

    episodes: Annotated[int, Field(ge=1, le=MOST_EPISODES)]
    plane: Plane | None
    gif: Gif | None


class SignatureNames(Section):
    """Names in the serving signature."""

    input_name: Name


class Operation(Checkpointing):
    """How the stages are carried out."""


class Params(Section):
    """The deep Q-network."""

    train: Train
    evaluate: Evaluate
    export: SignatureNames
    operation: Operation
