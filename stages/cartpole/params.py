"""The schema of `cartpole` in `params.yaml`, and what each of its stages reads."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stages.core.params import (
    Count,
    Export,
    Fraction,
    Index,
    LayerSizes,
    Name,
    NonNegative,
    Positive,
    Runtime,
    Section,
    Seed,
    StageParams,
    Text,
    key,
)


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("should be a power of two")
    return value


def _lower_first(bounds: list[float]) -> list[float]:
    if bounds[0] >= bounds[1]:
        raise ValueError("should be a lower bound, then a higher one")
    return bounds


PowerOfTwo = Annotated[Count, AfterValidator(_power_of_two)]
Bounds = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_lower_first)]


class Network(Section):
    """The Q-network."""

    hidden_units: LayerSizes
    dueling: bool
    observation_scale: Annotated[list[Positive], Field(min_length=1)]
    head_scale: Positive


class TargetNetwork(Section):
    """How the target network follows the online one."""

    kind: Literal["hard", "soft"]
    every: Count
    rate: Annotated[float, Field(gt=0, le=1)]


class Prioritised(Section):
    """How transitions are sampled by their errors."""

    enabled: bool
    exponent: Fraction
    correction: Fraction


class Exploration(Section):
    """Random actions while training."""

    start: Fraction
    end: Fraction
    steps: Count
    hold: Annotated[float, Field(ge=1)]


class Reward(Section):
    """The reward that is learned from."""

    scale: float
    shift: float
    terminal: float


class Stop(Section):
    """When a run counts as solved."""

    threshold: float | None
    episodes: Annotated[int, Field(ge=2)]
    every: Count
    margin: NonNegative


class Train(Section):
    """A DQN's training run."""

    env: Text
    network: Network
    max_steps: Count
    envs: Count
    learning_starts: Count
    collect: Count
    updates: Count
    batch_size: Count
    buffer: PowerOfTwo
    learning_rate: Positive
    gamma: Fraction
    n_step: Count
    double: bool
    xla: bool
    target_network: TargetNetwork
    target_range: Bounds | None
    prioritised: Prioritised
    exploration: Exploration
    reward: Reward
    stop: Stop
    checkpoint_every: Count
    max_to_keep: Count


class Plane(Section):
    """The plane of two observations on which action values are drawn."""

    x: Index
    y: Index
    x_limit: Positive
    y_limit: Positive
    x_label: Text
    y_label: Text


class Gif(Section):
    """The animation of the trained agent."""

    frames: Count
    every: Count
    width: Annotated[int, Field(ge=16, le=1200)]


class Evaluate(Section):
    """What the evaluation plays and draws."""

    episodes: Count
    plane: Plane
    gif: Gif


class SignatureNames(Section):
    """Names in the serving signature."""

    input_name: Name


class Params(Section):
    """The deep Q-network."""

    train: Train
    evaluate: Evaluate
    export: SignatureNames


class TrainParams(StageParams):
    """What `train-cartpole` reads."""

    seed: Seed
    runtime: Runtime
    train: Train = key("cartpole.train")


class ExportParams(StageParams):
    """What `export@cartpole` reads."""

    runtime: Runtime
    export: Export
    names: SignatureNames = key("cartpole.export")


class EvaluateParams(StageParams):
    """What `evaluate-cartpole` reads."""

    runtime: Runtime
    evaluate: Evaluate = key("cartpole.evaluate")
