"""Check an exported model's answers: three independent loaders must agree, and the answers must be right."""

import argparse
import functools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stages import runtime
from stages.core.errors import InputError, run
from stages.core.files import digest, read_json, write_json
from stages.core.params import PredictParams, add_params
from stages.rest.requests import Arrays, decode_request, fitting, predictions, read_instances
from stages.savedmodel.graph import SIGNATURE, TAG, read_provenance, serving_signature
from stages.savedmodel.predictor import Predictor

CLI_TIMEOUT = 120  # seconds; it starts a TensorFlow of its own


def by_tf1_loader(model: Path, inputs: Arrays) -> Arrays:
    """Answers of TensorFlow 1's loader, each tensor found by its name in the signature."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.loader.load(session, [TAG], str(model))
        signature = graph.signature_def[SIGNATURE]
        feeds = {signature.inputs[key].name: values for key, values in inputs.items()}
        fetches = {key: info.name for key, info in sorted(signature.outputs.items())}
        answers: Arrays = session.run(fetches, feeds)
    return answers


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
    """Where a loader's answers differ from `tf.saved_model.load`'s by more than a share of them."""
    if set(expected) != set(found):
        yield f"{name}: expected the outputs {sorted(expected)}, found {sorted(found)}"
        return
    for key, values in expected.items():
        close = np.isclose(found[key], values, rtol=tolerance, atol=tolerance)
        for index in np.flatnonzero(~close.reshape(len(values), -1).all(axis=1)):
            yield f"{name}: instance {index}: {key}: expected {values[index]}, found {found[key][index]}"


def mistakes(answers: Arrays, expected: dict[str, Any]) -> Iterator[str]:
    """Where answers are not what they should be.

    Args:
        answers: values [n] by output.
        expected: for an output: `values`, each to be met `within` a distance (0 if not said), and whether
            they must be `positive` or `decreasing`.
    """
    for key, rule in expected.items():
        found = answers[key].astype(float)
        if len(found) != len(rule["values"]):
            yield f"{key}: expected {len(rule['values'])} answers, found {len(found)}"
            continue
        within = rule.get("within", 0)
        for index, (value, wanted) in enumerate(zip(found, rule["values"], strict=True)):
            if not abs(value - wanted) <= within:
                yield f"instance {index}: {key}: expected {wanted} within {within}, found {value:g}"
            if rule.get("positive") and not 0 < value < np.inf:
                yield f"instance {index}: {key}: expected a finite positive number, found {value:g}"
        if rule.get("decreasing") and not (np.diff(found) < 0).all():
            yield f"{key}: expected each answer below the one before, found {found.tolist()}"


def applies(expected: dict[str, Any], facts: dict[str, Any]) -> bool:
    """Whether the expected answers are those of this model to this request.

    Args:
        expected: `applies_to` names facts by their full paths, each with the values that it may have.
        facts: the model's parameters, and the SHA-256 of the `request`.
    """
    return all(
        functools.reduce(getitem, key.split("."), facts) in allowed
        for key, allowed in expected.get("applies_to", {}).items()
    )


def check(
    model: Path, instances: list[Any], expected: dict[str, Any], tolerance: float, where: str, source: str = "expected"
) -> list[Any]:
    """Ask the model in three ways and compare.

    Args:
        model: the SavedModel.
        instances: the request's instances.
        expected: what the answers should be, as `mistakes` takes it.
        tolerance: the largest relative difference between two loaders.
        where: the request's file, for messages.
        source: the file of `expected`, for messages.

    Returns:
        The predictions in row format.

    Raises:
        InputError: naming each instance whose answers differ or are wrong.
    """
    inputs = decode_request(instances, serving_signature(model), where)
    with ThreadPoolExecutor() as beside:  # the process imports TensorFlow while this one loads the model twice
        cli = beside.submit(by_cli, model, inputs)
        answers = Predictor(model)(**inputs)
        wrong = [
            *disagreement("TF1 loader", answers, by_tf1_loader(model, inputs), tolerance),
            *disagreement("saved_model_cli", answers, cli.result(), tolerance),
        ]
    if wrong:
        raise InputError(f"{model}: {'; '.join(wrong)}")
    if wrong := list(mistakes(answers, expected)):
        raise InputError(
            f"{model}: {'; '.join(wrong)}. {source} holds the answers of a model trained on the project's own data: "
            "if your data give others, write them there, or {} to accept any"
        )
    return predictions(answers)


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
    if not applies(expected, read_provenance(args.model)["parameters"] | {"request": digest(args.request)}):
        instances, expected = fitting(instances, serving_signature(args.model)), {}
    rules = {key: rule for key, rule in expected.items() if key != "applies_to"}
    answers = check(args.model, instances, rules, params.predict.tolerance, str(args.request), str(args.expected))
    record = {"predictions": answers, "checks_passed": True, "model_digest": digest(args.model)}
    write_json(args.predictions, record)


if __name__ == "__main__":
    run(main)
