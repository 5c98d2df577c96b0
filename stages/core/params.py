"""The base of every parameter schema, and the reader of `params.yaml`.

A workload's schema stands beside its stages (`stages/<workload>/params.py`), a class for each stage's section. What
a stage reads besides is the same for all workloads and stands here, in a class that derives from `StageParams`.
`dvc.yaml` lists the same keys under `params:`, and `make lint` compares the two.
"""

import argparse
import functools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from operator import getitem
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML

from stages.core.errors import InputError, one_line

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
LayerSizes = Annotated[list[Count], Field(min_length=1)]


def _no_glob(path: str) -> str:
    if "*" in path:
        raise ValueError("expected a file or folder without *; the key `pattern` beside it chooses files in a folder")
    return path


def _below(pattern: str) -> str:
    if pattern.startswith("/") or ".." in PurePosixPath(pattern).parts:
        raise ValueError("expected a pattern of files below the folder, such as *.csv.gz")
    return pattern


Location = Annotated[Text, AfterValidator(_no_glob)]
"""Path or address of own data: a dependency of the stage that reads them."""
Pattern = Annotated[Text, AfterValidator(_below)]
"""A glob of files below a folder."""

Model = TypeVar("Model", bound=BaseModel)

Seed = Index
"""Seed of every random generator."""


class Section(BaseModel):
    """A section of `params.yaml`: its keys with types and ranges. Unknown keys and infinite numbers are errors."""

    # A stage reads few of the sections that it imports; the others' validators need not be built.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


SectionT = TypeVar("SectionT", bound=Section)


class Runtime(Section):
    """Settings of TensorFlow that every stage shares."""

    threads: Annotated[int, Field(ge=1, le=256)]


class Export(Section):
    """The format of every SavedModel."""

    as_text: bool


class Predict(Section):
    """The prediction check."""

    tolerance: Positive


class SupervisedTrain(Section):
    """A supervised training run: how long, how fast, how often it is evaluated."""

    steps: Count
    batch_size: Count
    learning_rate: Positive
    schedule: Literal["one_cycle", "constant"]
    evaluate_every: Count
    micro_batches: Count
    replicas: Count

    @model_validator(mode="after")
    def _divide_a_batch(self) -> Self:
        fewer, more = sorted((self.micro_batches, self.replicas))
        if more % fewer:
            raise ValueError("micro_batches must be a multiple of replicas, or replicas of micro_batches")
        if self.batch_size % more:
            raise ValueError("batch_size must be a multiple of micro_batches and replicas")
        return self


class Checkpointing(Section):
    """How often a run is saved."""

    checkpoint_every: Count
    max_to_keep: Count


class SupervisedOperation(Checkpointing):
    """How a supervised training run is carried out."""

    worker_timeout: Positive


class StageParams(BaseModel, Generic[SectionT]):
    """What one stage reads: the section of its workload that is called as the stage, and keys that all workloads share.

    `TrainParams[Train]`, with the class `Train` of `stages/mnist/params.py`, reads `mnist.train`.
    """

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)
    section: ClassVar[str] = ""
    """Name of the workload's section."""

    @classmethod
    def of(cls, schema: type[BaseModel]) -> "type[Self]":
        """This class for the workload whose whole section has this schema."""
        found: type[Self] = cls[schema.model_fields[cls.section].annotation]  # type: ignore[index]
        return found

    @classmethod
    def keys(cls) -> dict[str, str]:
        """Each field's name, and the key that it is bound to."""
        modules = {name: getattr(field.annotation, "__module__", "") for name, field in cls.model_fields.items()}
        own = {f"stages.{workload}.params": workload for workload in workload_names()}
        return {n: f"{own[module]}.{cls.section}" if module in own else n for n, module in modules.items()}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check this stage's part of a parameter file.

        Raises:
            InputError: as `load` and `validate` do.
        """
        values, found = load(path), {}
        for name, key in cls.keys().items():
            with suppress(KeyError, TypeError):
                found[name] = functools.reduce(getitem, key.split("."), values)
        return validate(cls, found, path)

    def as_dict(self) -> dict[str, Any]:
        """The keys and their values, nested as in `params.yaml`."""
        values: dict[str, Any] = {}
        for name, path in self.keys().items():
            *sections, last = path.split(".")
            section = values
            for part in sections:
                section = section.setdefault(part, {})
            section[last] = self.model_dump(include={name})[name]
        return values


class FetchParams(StageParams[SectionT]):
    """What `fetch@…` reads."""

    section = "fetch"
    fetch: SectionT


class PrepareParams(StageParams[SectionT]):
    """What `prepare@…` reads."""

    section = "prepare"
    seed: Seed
    prepare: SectionT


class TrainParams(StageParams[SectionT]):
    """What `train@…` reads."""

    section = "train"
    seed: Seed
    runtime: Runtime
    train: SectionT


class ExportParams(StageParams[SectionT]):
    """What `export@…` reads."""

    section = "export"
    runtime: Runtime
    export: Export
    names: SectionT


class EvaluateParams(StageParams[SectionT]):
    """What `evaluate@…` reads."""

    section = "evaluate"
    runtime: Runtime
    evaluate: SectionT


class OperationParams(StageParams[SectionT]):
    """How the stages of a workload are carried out: what cannot change a result, so no stage depends on it."""

    section = "operation"
    operation: SectionT


class PredictParams(StageParams[Section]):
    """What `predict@…` reads."""

    runtime: Runtime
    predict: Predict


def workload_names() -> list[str]:
    """The workloads' names, in alphabetical order: the folders of `stages` that have a schema."""
    return sorted(
        path.parent.name for path in Path(__file__).parents[1].glob("*/params.py") if path.parent.name != "core"
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of nested sections with its dotted key, in their order; a list is a value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def add_params(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names the parameter file."""
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameter file")


@functools.lru_cache(1)  # a stage reads its section and that of its operation
def _parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def load(path: Path) -> dict[str, Any]:
    """Read a YAML file of sections by the parser that DVC reads and writes it with: 3e-06 is a number, in YAML 1.2.

    Raises:
        InputError: if the file is missing or is not YAML with sections.
    """
    try:
        values = deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError:
        raise
    except Exception as error:  # not YAMLError alone: a date such as 2001-02-30 is a ValueError
        raise InputError(f"{path}: expected YAML: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected sections of parameters, found {type(values).__name__}")
    return values


def validate(schema: type[Model], values: dict[str, Any], path: Path) -> Model:
    """Check the values that `load` read from a file against a schema.

    Raises:
        InputError: if a key is unknown, missing, of the wrong type or out of range. The message names every such key
            with its full path, its value and what is allowed.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: " + "; ".join(_explain(e, schema) for e in error.errors())) from None


def _explain(error: Any, schema: Any) -> str:
    names = list(error["loc"])
    if issubclass(schema, StageParams):
        names[0] = schema.keys()[names[0]]
    path = ".".join(map(str, names))
    if error["type"] == "extra_forbidden":
        for field in error["loc"][:-1]:
            schema = schema.model_fields[field].annotation
        return f"{path}: unknown key; allowed here: {', '.join(sorted(schema.model_fields))}"
    if error["type"] == "missing":
        return f"{path}: missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{path}: {error['input']!r}: {message[0].lower()}{message[1:]}"
