"""The schema of `wines` in `params.yaml`."""

from typing import Self

from pydantic import model_validator

from stages.core.params import Count, Fraction, LayerSizes, Name, Section, SupervisedOperation, SupervisedTrain


class Prepare(Section):
    """How the table is split."""

    validation_share: Fraction
    test_share: Fraction

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share + test_share must be below 1")
        return self


class Network(Section):
    """The network."""

    hidden_units: LayerSizes


class Train(SupervisedTrain):
    """The training run."""

    network: Network


class Evaluate(Section):
    """What the evaluation lists."""

    worst: Count


class SignatureNames(Section):
    """Names in the serving signature."""

    output_name: Name


class Operation(SupervisedOperation):
    """How the stages are carried out."""


class Params(Section):
    """The classifier of wines."""

    prepare: Prepare
    train: Train
    evaluate: Evaluate
    export: SignatureNames
    operation: Operation
