"""The typed schema of `params.yaml`, and what each stage reads of it.

Each stage has one reader here: a class whose fields name the keys. `dvc.yaml` lists the same keys under
`params:`, and `make lint` holds the two together.
"""

import argparse
import dataclasses
import functools
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from stages.shared import files
from stages.shared.errors import InputError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Threads = Annotated[int, Field(ge=1, le=256)]
Layers = Annotated[list[Count], Field(min_length=1)]


class Section(BaseModel):
    """A section of `params.yaml`: its keys, their types and ranges, nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Runtime(Section):
    """What the bytes depend on beside the inputs."""

    threads: Threads


class Schedule(Section):
    """A supervised training run: how long, how fast, how often it is measured and saved."""

    steps: Count
    batch_size: Count
    learning_rate: Positive
    schedule: Literal["one_cycle", "constant"]
    evaluate_every: Count
    checkpoint_every: Count
    keep: Count
    parts: Count
    replicas: Count
    worker_timeout: Positive

    @model_validator(mode="after")
    def _divide_a_batch(self) -> Self:
        fewer, more = sorted((self.parts, self.replicas))
        if more % fewer:
            raise ValueError("parts must be a multiple of replicas, or replicas of parts")
        if self.batch_size % more:
            raise ValueError("batch_size must be a multiple of parts and replicas")
        return self


class BabyweightSource(Section):
    """Where births come from."""

    kind: Literal["synthetic", "csv"]
    path: Text
    rows: Count


class BabyweightDask(Section):
    """Where blocks of births are encoded."""

    scheduler: Text | None
    timeout: Positive


class BabyweightPrepare(Section):
    """How births are divided."""

    validation_share: Share
    test_share: Share

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share + test_share must be below 1")
        return self


def _increasing(values: list[int]) -> None:
    if values != sorted(set(values)):
        raise ValueError("boundaries must increase")


class BabyweightBuckets(Section):
    """Boundaries of the wide part's buckets."""

    mother_age: Layers
    gestation_weeks: Layers

    @model_validator(mode="after")
    def _boundaries_increase(self) -> Self:
        _increasing(self.mother_age)
        _increasing(self.gestation_weeks)
        return self


class BabyweightModel(Section):
    """The wide-and-deep network."""

    hidden_units: Layers
    embedding_dim: Count
    hidden_share: Annotated[float, Field(ge=0, lt=1)]


class BabyweightEvaluate(Section):
    """What the evaluation tells apart."""

    preterm_weeks: Annotated[int, Field(ge=1, le=52)]


class BabyweightExport(Section):
    """The signature's names."""

    output_name: Name


class Babyweight(Section):
    """The birth-weight regressor."""

    source: BabyweightSource
    max_bad_share: Share
    dask: BabyweightDask
    prepare: BabyweightPrepare
    buckets: BabyweightBuckets
    model: BabyweightModel
    train: Schedule
    evaluate: BabyweightEvaluate
    export: BabyweightExport


class MnistSource(Section):
    """Where the digits come from."""

    kind: Literal["auto", "keras", "npm", "path"]
    path: Text


class MnistPrepare(Section):
    """How the digits are divided."""

    validation_images: Annotated[int, Field(ge=1, le=30000)]


class MnistAugment(Section):
    """Random distortions of a training image."""

    rotation: Annotated[float, Field(ge=0, le=180)]
    shift: Annotated[float, Field(ge=0, le=14)]
    scale: Annotated[float, Field(ge=0, lt=1)]
    shear: Annotated[float, Field(ge=0, lt=1)]


class MnistModel(Section):
    """The digits' network."""

    network: Literal["strided", "original"]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class MnistEvaluate(Section):
    """How the evaluation divides confidence."""

    calibration_bins: Count


class MnistExport(Section):
    """The signature's names."""

    input_name: Name


class Mnist(Section):
    """The digit classifier."""

    source: MnistSource
    timeout: Positive
    prepare: MnistPrepare
    augment: MnistAugment
    model: MnistModel
    train: Schedule
    evaluate: MnistEvaluate
    export: MnistExport


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


class CartpoleModel(Section):
    """The Q-network."""

    hidden_units: Layers
    dueling: bool
    observation_scale: Annotated[list[Positive], Field(min_length=1)]
    head_scale: Positive


class CartpoleTarget(Section):
    """How the target network follows the online one."""

    kind: Literal["hard", "soft"]
    every: Count
    rate: Annotated[float, Field(gt=0, le=1)]


class CartpolePrioritised(Section):
    """How transitions are drawn by their errors."""

    enabled: bool
    exponent: Share
    correction: Share


class CartpoleExploration(Section):
    """Random actions while training."""

    start: Share
    end: Share
    steps: Count
    hold: Annotated[float, Field(ge=1)]


class CartpoleReward(Section):
    """The reward that is learned from."""

    scale: float
    shift: float
    terminal: float


class CartpoleStop(Section):
    """When a run counts as solved."""

    threshold: float | None
    episodes: Annotated[int, Field(ge=2)]
    every: Count
    margin: NotNegative


class CartpoleTrain(Section):
    """A DQN's training run."""

    max_steps: Count
    envs: Count
    learning_starts: Count
    collect: Count
    updates: Count
    batch_size: Count
    buffer: PowerOfTwo
    learning_rate: Positive
    gamma: Share
    n_step: Count
    double: bool
    xla: bool
    target: CartpoleTarget
    prioritised: CartpolePrioritised
    exploration: CartpoleExploration
    reward: CartpoleReward
    targets: Bounds | None
    stop: CartpoleStop
    checkpoint_every: Count
    keep: Count


class CartpolePlane(Section):
    """The plane of two observations on which action values are drawn."""

    x: Index
    y: Index
    x_limit: Positive
    y_limit: Positive
    x_label: Text
    y_label: Text


class CartpoleGif(Section):
    """The animation of the trained agent."""

    frames: Count
    every: Count
    width: Annotated[int, Field(ge=16, le=1200)]


class CartpoleEvaluate(Section):
    """What the evaluation plays and draws."""

    episodes: Count
    plane: CartpolePlane
    gif: CartpoleGif


class CartpoleExport(Section):
    """The signature's names."""

    input_name: Name


class Cartpole(Section):
    """The deep Q-network."""

    env: Text
    model: CartpoleModel
    train: CartpoleTrain
    evaluate: CartpoleEvaluate
    export: CartpoleExport


class Export(Section):
    """The form of every SavedModel."""

    as_text: bool


class Predict(Section):
    """The prediction check."""

    tolerance: Positive


class ServingLimits(Section):
    """What the prediction server refuses to take on."""

    body_bytes: Count
    instances: Count
    nesting: Annotated[int, Field(ge=1, le=254)]
    concurrency: Count
    seconds: Positive


class ServingBatching(Section):
    """How the prediction server joins concurrent requests into one call."""

    rows: Count
    wait_ms: NotNegative


class ServingSection(Section):
    """Published versions and the prediction server."""

    keep: Count
    poll_seconds: Positive
    limits: ServingLimits
    batching: ServingBatching


class Params(Section):
    """All of `params.yaml`."""

    seed: Index
    runtime: Runtime
    babyweight: Babyweight
    mnist: Mnist
    cartpole: Cartpole
    export: Export
    predict: Predict
    serving: ServingSection


def add_params(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names the parameters file."""
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameters file")


@functools.cache
def load(path: Path) -> Params:
    """Read and check a parameter file.

    Raises:
        InputError: if the file is missing or no YAML, or a key is unknown, missing, of the wrong type or
            out of range; the message names the key's full path, the value and what is allowed.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected sections of parameters, found {type(values).__name__}")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: " + "; ".join(map(_explain, error.errors()))) from None


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        section: Any = Params
        for part in error["loc"][:-1]:
            section = section.model_fields[part].annotation
        return f"{key}: unknown key; allowed here: {', '.join(sorted(section.model_fields))}"
    if error["type"] == "missing":
        return f"{key}: missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {error['input']!r}: {message[0].lower()}{message[1:]}"


def key(path: str) -> Any:
    """Bind a reader's field to a key of `params.yaml`."""
    return dataclasses.field(metadata={"key": path})


class Reader:
    """What a stage reads: a frozen dataclass, each field bound to a key or a whole section by `key()`."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @classmethod
    def keys(cls) -> dict[str, str]:
        """Each field's name and the key that it is bound to."""
        return {field.name: field.metadata["key"] for field in dataclasses.fields(cls)}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Check the whole parameter file, then pick this stage's part.

        Raises:
            InputError: as `load` does.
        """
        params = load(path)
        return cls(**{name: functools.reduce(getattr, key.split("."), params) for name, key in cls.keys().items()})

    def as_dict(self) -> dict[str, Any]:
        """The keys and their values, for a record: sections as dicts."""
        values = {key: getattr(self, name) for name, key in self.keys().items()}
        return {k: v.model_dump() if isinstance(v, BaseModel) else v for k, v in values.items()}


@dataclasses.dataclass(frozen=True)
class PrepareBabyweight(Reader):
    """What `prepare@babyweight` reads."""

    seed: int = key("seed")
    source: BabyweightSource = key("babyweight.source")
    max_bad_share: float = key("babyweight.max_bad_share")
    dask: BabyweightDask = key("babyweight.dask")
    prepare: BabyweightPrepare = key("babyweight.prepare")


@dataclasses.dataclass(frozen=True)
class PrepareMnist(Reader):
    """What `prepare@mnist` reads."""

    seed: int = key("seed")
    source: MnistSource = key("mnist.source")
    timeout: float = key("mnist.timeout")
    prepare: MnistPrepare = key("mnist.prepare")


@dataclasses.dataclass(frozen=True)
class TrainBabyweight(Reader):
    """What `train@babyweight` reads."""

    seed: int = key("seed")
    runtime: Runtime = key("runtime")
    buckets: BabyweightBuckets = key("babyweight.buckets")
    model: BabyweightModel = key("babyweight.model")
    train: Schedule = key("babyweight.train")


@dataclasses.dataclass(frozen=True)
class TrainMnist(Reader):
    """What `train@mnist` reads."""

    seed: int = key("seed")
    runtime: Runtime = key("runtime")
    augment: MnistAugment = key("mnist.augment")
    model: MnistModel = key("mnist.model")
    train: Schedule = key("mnist.train")


@dataclasses.dataclass(frozen=True)
class ExportBabyweight(Reader):
    """What `export@babyweight` reads."""

    runtime: Runtime = key("runtime")
    form: Export = key("export")
    names: BabyweightExport = key("babyweight.export")


@dataclasses.dataclass(frozen=True)
class ExportMnist(Reader):
    """What `export@mnist` reads."""

    runtime: Runtime = key("runtime")
    form: Export = key("export")
    names: MnistExport = key("mnist.export")


@dataclasses.dataclass(frozen=True)
class EvaluateBabyweight(Reader):
    """What `evaluate@babyweight` reads."""

    runtime: Runtime = key("runtime")
    evaluate: BabyweightEvaluate = key("babyweight.evaluate")


@dataclasses.dataclass(frozen=True)
class EvaluateMnist(Reader):
    """What `evaluate@mnist` reads."""

    runtime: Runtime = key("runtime")
    evaluate: MnistEvaluate = key("mnist.evaluate")


@dataclasses.dataclass(frozen=True)
class TrainCartpole(Reader):
    """What `train@cartpole` reads."""

    seed: int = key("seed")
    runtime: Runtime = key("runtime")
    env: str = key("cartpole.env")
    model: CartpoleModel = key("cartpole.model")
    train: CartpoleTrain = key("cartpole.train")


@dataclasses.dataclass(frozen=True)
class ExportCartpole(Reader):
    """What `export@cartpole` reads."""

    runtime: Runtime = key("runtime")
    form: Export = key("export")
    names: CartpoleExport = key("cartpole.export")


@dataclasses.dataclass(frozen=True)
class EvaluateCartpole(Reader):
    """What `evaluate@cartpole` reads."""

    runtime: Runtime = key("runtime")
    evaluate: CartpoleEvaluate = key("cartpole.evaluate")


@dataclasses.dataclass(frozen=True)
class PredictModel(Reader):
    """What `predict@…` reads."""

    runtime: Runtime = key("runtime")
    predict: Predict = key("predict")


@dataclasses.dataclass(frozen=True)
class Serving(Reader):
    """What `python -m serving` and `serving.publish` read."""

    runtime: Runtime = key("runtime")
    serving: ServingSection = key("serving")


READERS: dict[str, type[Reader]] = {
    "prepare@babyweight": PrepareBabyweight,
    "prepare@mnist": PrepareMnist,
    "train@babyweight": TrainBabyweight,
    "train@mnist": TrainMnist,
    "train@cartpole": TrainCartpole,
    "export@babyweight": ExportBabyweight,
    "export@mnist": ExportMnist,
    "export@cartpole": ExportCartpole,
    "evaluate@babyweight": EvaluateBabyweight,
    "evaluate@mnist": EvaluateMnist,
    "evaluate@cartpole": EvaluateCartpole,
    "predict@babyweight": PredictModel,
    "predict@mnist": PredictModel,
    "predict@cartpole": PredictModel,
    "serving": Serving,
}
"""Each stage's reader; a stage that is not named here reads no parameter."""


def main() -> None:
    """Write the JSON Schema that editors complete and check `params.yaml` from."""
    (path,) = sys.argv[1:]
    files.write_json(Path(path), Params.model_json_schema())


if __name__ == "__main__":
    main()
