"""The predictions that changed most between two exported models: births, digits and states.

The models and the test data come from DVC's cache or a remote. TensorFlow is imported only if a model changed.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

import stages  # noqa: F401 - sets up TensorFlow before its import
from stages.core.errors import InputError
from stages.core.files import read_json
from stages.report.page import image
from tools.compare.snapshot import Snapshot

SHOWN = 12
BATCH = 4096

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PredictionChanges:
    """A workload's predictions in two states.

    Args:
        workload: its name.
        summary: what changed, in a sentence, or why nothing can be said.
        header: names of the columns of `rows`.
        rows: the inputs whose predictions changed most.
        pictures: a picture for each row, if inputs are pictures.
    """

    workload: str
    summary: str
    header: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    pictures: list[Markup] = field(default_factory=list)


def births(models: tuple[Any, Any], data: Path) -> PredictionChanges:
    """Test births whose predicted weight moved furthest."""
    from stages.babyweight.evaluate import instances, load

    schema = read_json(data / "schema.json")
    codes, pounds = load(data, "test")
    inputs = instances(codes, schema)
    before, after = (next(iter(model.batched(BATCH, **inputs).values())).astype(float) for model in models)
    difference = after - before
    top = np.argsort(-np.abs(difference), kind="stable")[:SHOWN]
    summary = (
        f"{len(pounds):,} test births: the prediction moves by {np.abs(difference).mean():.3f} lb in the mean and by "
        f"{np.abs(difference).max():.2f} lb at most; "
        f"{(np.abs(after - pounds) < np.abs(before - pounds)).mean():.0%} come closer to the actual weight."
    )
    header = (*schema["features"], "actual lb", "A", "B", "B - A")
    rows = [
        (
            *(str(values[i]) if values.dtype.kind in "US" else f"{values[i]:g}" for values in inputs.values()),
            *(f"{value:.2f}" for value in (pounds[i], before[i], after[i])),
            f"{difference[i]:+.2f}",
        )
        for i in top
    ]
    return PredictionChanges("babyweight", summary, header, rows)


def _picture(pixels: Array, label: str) -> Markup:
    buffer = BytesIO()
    Image.fromarray(255 - pixels.reshape(28, 28)).save(buffer, "png", optimize=True)
    return image(buffer.getvalue(), "png", label, 56, 56)


def digits(models: tuple[Any, Any], data: Path) -> PredictionChanges:
    """Test images whose class changed, and those whose probability of the right one moved furthest."""
    images, labels = (np.load(data / f"test/{part}.npy") for part in ("images", "labels"))
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    outputs = [model.batched(BATCH, **{next(iter(model.signature.inputs)): pixels}) for model in models]
    (old, new), (p, q) = ([o[key] for o in outputs] for key in ("classes", "probabilities"))
    right = np.arange(len(labels)), labels
    moved = np.abs(q[right] - p[right])
    top = np.lexsort((-moved, old == new))[:SHOWN]
    fixed, broken = int(((old != labels) & (new == labels)).sum()), int(((old == labels) & (new != labels)).sum())
    summary = (
        f"{len(labels):,} test images: {int((old != new).sum())} answers changed, {fixed} of them now right and "
        f"{broken} now wrong; {int((old != labels).sum())} were wrong, {int((new != labels).sum())} are."
    )
    header = ("test image", "digit", "A", "B", "probability of the digit, A", "B")
    rows = [
        (int(i), str(labels[i]), str(old[i]), str(new[i]), f"{p[i, labels[i]]:.3f}", f"{q[i, labels[i]]:.3f}")
        for i in top
    ]
    pictures = [_picture(images[i].reshape(-1), f"test image {i}, a {labels[i]}") for i in top]
    return PredictionChanges("mnist", summary, header, rows, pictures)


def states(models: tuple[Any, Any], data: Path) -> PredictionChanges:
    """States of an episode that the later agent plays, in which the two agents' actions or values differ most."""
    import gymnasium as gym

    parameters = read_json(data)["parameters"]
    name, seed = parameters["cartpole"]["train"]["env"], parameters["seed"]
    gym.logger.min_level = gym.logger.ERROR
    env = gym.make(name)
    observation, _ = env.reset(seed=2**32 * (1 + seed))
    visited: list[Array] = []
    ended, key = False, next(iter(models[1].signature.inputs))
    while not ended and len(visited) < 1000:
        visited.append(np.asarray(observation, np.float32))
        action = models[1](**{key: visited[-1][None]})["actions"][0]
        observation, _, terminated, truncated, _ = env.step(action + env.action_space.start)
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
    return PredictionChanges("cartpole", summary, header, rows)


def _numbers(values: Array) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


COMPARERS = {"babyweight": births, "mnist": digits, "cartpole": states}


def _compare(workload: str, a: Snapshot, b: Snapshot, folder: Path) -> PredictionChanges:
    model = f"models/{workload}"
    for snapshot in (a, b):
        if model not in snapshot.outputs:
            return PredictionChanges(workload, f"{snapshot.name} has no {model}.")
    if a.outputs[model] == b.outputs[model]:
        return PredictionChanges(workload, "The models have the same bytes: no prediction changed.")
    paths = [snapshot.get(model, folder / side / workload) for snapshot, side in ((a, "a"), (b, "b"))]
    test = f"{model}/assets.extra/provenance.json" if workload == "cartpole" else f"data/{workload}"
    data = b.get(test, folder / "data" / workload)
    for snapshot, path in zip((a, b, b), (*paths, data), strict=True):
        if path is None:
            what = "model" if path is not data else "test data"
            hint = "`dvc pull --all-commits` fetches what a remote has"
            return PredictionChanges(workload, f"The {what} of {snapshot.name} is not in the cache; {hint}.")
    from stages.savedmodel.predictor import Predictor

    assert data and paths[0] and paths[1]
    models = Predictor(paths[0]), Predictor(paths[1])
    forms = [[(t.dtype, t.shape) for t in model.signature.inputs.values()] for model in models]
    if forms[0] != forms[1] or (
        len(forms[0]) > 1 and set(models[0].signature.inputs) != set(models[1].signature.inputs)
    ):
        return PredictionChanges(workload, "The models take different inputs: their predictions cannot be compared.")
    return COMPARERS[workload](models, data)


def prediction_changes(a: Snapshot, b: Snapshot) -> Iterator[PredictionChanges]:
    """The predictions that changed most, for each workload that has test inputs."""
    with tempfile.TemporaryDirectory() as folder:
        for workload in (name for name in b.workloads if name in COMPARERS):
            try:
                yield _compare(workload, a, b, Path(folder))
            except (InputError, KeyError, ValueError) as error:
                yield PredictionChanges(workload, f"The predictions cannot be compared: {error}")
