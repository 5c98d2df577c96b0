"""The schema of `babyweight` in `params.yaml`."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from stages.core.params import (
    Count,
    Fraction,
    LayerSizes,
    Location,
    Name,
    Pattern,
    Positive,
    Section,
    SupervisedOperation,
    SupervisedTrain,
    Text,
)


class Source(Section):
    """Where births come from."""

    kind: Literal["synthetic", "files"]
    path: Location
    pattern: Pattern | None
    public: bool
    rows: Count

    @property
    def is_personal(self) -> bool:
        """Whether they are of people, and not for everybody to see one by one."""
        return self.kind == "files" and not self.public


class Dask(Section):
    """The cluster that encodes births."""

    scheduler: Text | None
    timeout: Positive


class Prepare(Section):
    """How births are read and split."""

    source: Source
    max_bad_share: Fraction
    max_unknown_share: Fraction
    validation_share: Fraction
    test_share: Fraction

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share + test_share must be below 1")
        return self


def _increasing(values: list[int]) -> list[int]:
    if values != sorted(set(values)):
        raise ValueError("boundaries must increase")
    return values


Boundaries = Annotated[LayerSizes, AfterValidator(_increasing)]


class Buckets(Section):
    """Boundaries of the wide part's buckets."""

    mother_age: Boundaries
    gestation_weeks: Boundaries


class Network(Section):
    """The wide-and-deep network."""

    buckets: Buckets
    hidden_units: LayerSizes
    embedding_dim: Count


class Train(SupervisedTrain):
    """The training run."""

    network: Network
    category_dropout: Annotated[float, Field(ge=0, lt=1)]
    validation_births: Count


class Evaluate(Section):
    """How births are grouped in the evaluation, and how many are written out."""

    preterm_weeks: Annotated[int, Field(ge=1, le=52)]
    examples: Count


class SignatureNames(Section):
    """Names in the serving signature."""

    output_name: Name


class Operation(SupervisedOperation):
    """How the stages are carried out."""

    dask: Dask


class Params(Section):
    """The birth-weight regressor."""

    prepare: Prepare
    train: Train
    evaluate: Evaluate
    export: SignatureNames
    operation: Operation
