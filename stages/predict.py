"""Check an exported model's answers: by three loaders, to each row alone and among others; they must be right, too."""

import argparse
import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stages import runtime
from stages.core.errors import InputError, run
from stages.core.files import digest, read_json, write_json
from stages.core.params import NonNegative, PredictParams, Section, add_params, validate
from stages.rest.requests import Arrays, decode_request, fitting, predictions, read_instances
from stages.savedmodel.graph import SIGNATURE, TAG, read_provenance, serving_signature
from stages.savedmodel.predictor import Predictor

CLI_TIMEOUT = 120  # seconds; it starts a TensorFlow of its own


@contextmanager
def tf1_loader(model: Path) -> Iterator[Callable[[Arrays], Arrays]]:
    """A model in TensorFlow 1's loader, each tensor found by its name in the signature."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.loader.load(session, [TAG], str(model))
        signature = graph.signature_def[SIGNATURE]
        fetches = {key: info.name for key, info in sorted(signature.outputs.items())}

        def answer(inputs: Arrays) -> Arrays:
            found: Arrays = session.run(fetches, {signature.inputs[key].name: v for key, v in inputs.items()})
            return found

        yield answer


def by_tf1_loader(model: Path, inputs: Arrays) -> Arrays:
    """Answers of TensorFlow 1's loader."""
    with tf1_loader(model) as answer:
        return answer(inputs)


def by_cli(model: Path, inputs: Arrays) -> Arrays:
    """Answers of `saved_model_cli run`, a process of its own, through `.npy` files.

    Raises:
        InputError: if it fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for key, values in inputs.items():
            np.save(folder / f"{key}.npy", values.astype(bytes) if values.dtype == object else values)
        command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "run", "--dir", str(model)]
        command += ["--tag_set", TAG, "--signature_def", SIGNATURE, "--outdir", str(folder / "answers")]
        command += ["--inputs", ";".join(f"{key}={folder / key}.npy" for key in inputs)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLI_TIMEOUT, check=False)
        if done.returncode:
            raise InputError(f"{model}: saved_model_cli failed: {done.stderr.strip().splitlines()[-1:]}")
        return {path.stem: np.load(path) for path in sorted((folder / "answers").glob("*.npy"))}


def disagreement(name: str, expected: Arrays, found: Arrays, tolerance: float) -> Iterator[str]:
    """Where answers differ from those of `tf.saved_model.load` to the whole request by more than a share of them."""
    if set(expected) != set(found):
        yield f"{name}: expected the outputs {sorted(expected)}, found {sorted(found)}"
        return
    for key, values in expected.items():
        close = np.isclose(found[key], values, rtol=tolerance, atol=tolerance)
        for index in np.flatnonzero(~close.reshape(len(values), -1).all(axis=1)):
            yield f"{name}: instance {index}: {key}: expected {values[index]}, found {found[key][index]}"


class Rule(Section):
    """What the answers of an output should be: `values`, each met within a distance, and what they are together."""

    values: list[float]
    within: NonNegative = 0.0
    positive: bool = False
    decreasing: bool = False


def read_rules(expected: dict[str, Any], outputs: Iterable[str], source: Path) -> dict[str, Rule]:
    """The rules of each output that the expected answers name.

    Raises:
        InputError: naming the key that is no output of the model, or no part of a rule.
    """
    if unknown := sorted(set(expected) - set(outputs)):
        raise InputError(f"{source}: {', '.join(unknown)}: expected outputs of the model: {', '.join(outputs)}")
    return {key: validate(Rule, rule, Path(f"{source}: {key}")) for key, rule in expected.items()}


def mistakes(answers: Arrays, rules: dict[str, Rule]) -> Iterator[str]:
    """Where answers [n] by output are not what they should be."""
    for key, rule in rules.items():
        found = answers[key].astype(float)
        if found.shape != (len(rule.values),):
            yield f"{key}: expected {len(rule.values)} answers, found the shape {list(found.shape)}"
            continue
        for index, (value, wanted) in enumerate(zip(found, rule.values, strict=True)):
            if not abs(value - wanted) <= rule.within:
                yield f"instance {index}: {key}: expected {wanted:g} within {rule.within:g}, found {value:g}"
            if rule.positive and not 0 < value < np.inf:
                yield f"instance {index}: {key}: expected a finite positive number, found {value:g}"
        if rule.decreasing and not (np.diff(found) < 0).all():
            yield f"{key}: expected each answer below the one before, found {found.tolist()}"


def applies(expected: dict[str, Any], facts: dict[str, Any], source: Path) -> bool:
    """Whether the expected answers are those of this model to this request.

    Args:
        expected: `applies_to` names facts by their full paths, each with the values that it may have.
        facts: the model's parameters, and the SHA-256 of the `request`.
        source: the file of `expected`, for messages.

    Raises:
        InputError: naming the fact that there is not.
    """
    for key, allowed in expected.get("applies_to", {}).items():
        try:
            value = functools.reduce(getitem, key.split("."), facts)
        except (LookupError, TypeError):
            raise InputError(
                f"{source}: applies_to: {key}: expected a key of the model's parameters, or request"
            ) from None
        if value not in allowed:
            return False
    return True


@dataclass(frozen=True)
class Checked:
    """A model's answers that passed.

    Args:
        predictions: in row format.
        independent: whether each row's answer was the same, within the tolerance, when it was asked for alone.
        same_bytes: whether it was the same to the byte.
    """

    predictions: list[Any]
    independent: bool
    same_bytes: bool

    def record(self, model: Path) -> dict[str, Any]:
        """What `predictions.json` holds, and what a server joins requests by."""
        rows = {"independent": self.independent, "same_bytes": self.same_bytes}
        return {"predictions": self.predictions, "checks_passed": True, "model_digest": digest(model), "rows": rows}


def ask_one_by_one(predict: Predictor, inputs: Arrays) -> Arrays | None:
    """Answers to each row by itself; None if there are no two, or the model does not take any number of them."""
    signature, rows = predict.signature, len(next(iter(inputs.values())))
    if rows < 2 or not signature.has_rows:
        return None
    answers = [predict(**{key: values[row : row + 1] for key, values in inputs.items()}) for row in range(rows)]
    return {key: np.concatenate([answer[key] for answer in answers]) for key in answers[0]}


def check(
    model: Path, instances: list[Any], expected: dict[str, Any], tolerance: float, where: str, source: Path
) -> Checked:
    """Ask the model in three ways, and for each row by itself, and compare.

    Args:
        model: the SavedModel.
        instances: the request's instances.
        expected: what the answers should be, by output, as `Rule` says.
        tolerance: the largest relative difference between two answers.
        where: the request's file, for messages.
        source: the file of `expected`, for messages.

    Raises:
        InputError: naming each instance whose answers differ or are wrong, or the output that is not of numbers, one
            row for each instance.
    """
    signature = serving_signature(model)
    inputs, rules = decode_request(instances, signature, where), read_rules(expected, signature.outputs, source)
    for key, tensor in signature.outputs.items():
        if not tensor.dtype.is_numpy_compatible or tensor.dtype == tf.string:
            raise InputError(f"{model}: output {key!r}: expected numbers, found {tensor.dtype.name}")
    with ThreadPoolExecutor() as beside:  # the process imports TensorFlow while this one loads the model twice
        cli, predict = beside.submit(by_cli, model, inputs), Predictor(model)
        answers = predict(**inputs)
        for key, values in answers.items():
            if values.shape[:1] != (len(instances),):
                shape = list(values.shape)
                raise InputError(f"{model}: output {key!r}: expected {len(instances)} rows, found the shape {shape}")
        alone = ask_one_by_one(predict, inputs)
        wrong = [*disagreement("TF1 loader", answers, by_tf1_loader(model, inputs), tolerance)]
        wrong += disagreement("saved_model_cli", answers, cli.result(), tolerance)
        wrong += disagreement("asked for alone", answers, alone or answers, tolerance)
    if wrong:
        raise InputError(f"{model}: {'; '.join(wrong)}")
    if wrong := list(mistakes(answers, rules)):
        raise InputError(
            f"{model}: {'; '.join(wrong)}. {source} holds the answers of a model trained on the project's own data: "
            "if your data give others, write them there, or {} to accept any"
        )
    same_bytes = alone is not None and all(alone[key].tobytes() == values.tobytes() for key, values in answers.items())
    return Checked(predictions(answers), alone is not None, same_bytes)


def main() -> None:
    """Write the answers, if every check passes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("model", type=Path, help="SavedModel to check")
    parser.add_argument("request", type=Path, help='{"instances": [...]} to send')
    parser.add_argument("expected", type=Path, help="what the answers should be")
    parser.add_argument("predictions", type=Path, help="file to write the answers to")
    add_params(parser)
    args = parser.parse_args()
    params = PredictParams.read(args.params)

    runtime.configure(params.runtime)
    expected = read_json(args.expected)
    instances = read_instances(args.request)
    facts = read_provenance(args.model)["parameters"] | {"request": digest(args.request)}
    if not applies(expected, facts, args.expected):
        instances, expected = fitting(instances, serving_signature(args.model)), {}
    rules = {key: rule for key, rule in expected.items() if key != "applies_to"}
    checked = check(args.model, instances, rules, params.predict.tolerance, str(args.request), args.expected)
    write_json(args.predictions, checked.record(args.model))


if __name__ == "__main__":
    run(main)
