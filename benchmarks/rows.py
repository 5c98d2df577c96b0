"""What it costs that an answer does not depend on the other rows of its call: exported models with and without it.

Needs `weights` and `data/requests` (`dvc repro`). Both forms are called in turn, so that other load meets
both.
"""

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stages  # noqa: F401 - its settings come before TensorFlow

# isort: split
import numpy as np
import tensorflow as tf

from stages import runtime, weights
from stages.core.files import read_json
from stages.core.params import ExportParams
from stages.export import write_savedmodel
from stages.rest.requests import decode_request, read_instances
from stages.savedmodel.folding import fold_batch_normalization
from stages.savedmodel.independence import independent_of_batch
from stages.savedmodel.predictor import Predictor

ROOT = Path(__file__).parents[1]
CALLS = {1: 40, 10_000: 1}
"""Calls in a row, by their number of rows."""


def serving(workload: str) -> tuple[Any, Any]:
    """A workload's network with its trained weights, and its serving function."""
    network = importlib.import_module(f"stages.{workload}.model")
    schema = importlib.import_module(f"stages.{workload}.params").Params
    params: ExportParams[Any] = ExportParams.of(schema).read(ROOT / "params.yaml")
    config = read_json(ROOT / "weights" / workload / weights.CONFIG)
    model = network.build(config)
    model.load_weights(ROOT / "weights" / workload / weights.WEIGHTS)
    model = fold_batch_normalization(model)
    return model, network.serving_function(model, config, params.names)


def seconds(call: Callable[[], Any], calls: int) -> float:
    """The mean time of some calls."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    schema = importlib.import_module("stages.mnist.params").Params
    runtime.configure(ExportParams.of(schema).read(ROOT / "params.yaml").runtime, seed=None)
    print("| workload | rows | as it is, ms | independent, ms | ratio | its quartiles |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for workload in sorted(path.name for path in (ROOT / "weights").iterdir()):
        request = ROOT / f"data/requests/{workload}.json"
        model, plain = serving(workload)
        with tempfile.TemporaryDirectory() as folder:
            answers = []
            for name, form in (("plain", plain), ("independent", independent_of_batch(plain))):
                write_savedmodel(Path(folder) / name, model, {"serving_default": form}, {})
                answers.append(Predictor(Path(folder) / name))
        for rows, calls in CALLS.items():
            arrays = {
                key: tf.constant(np.resize(values, [rows, *values.shape[1:]]), answers[0].signature.inputs[key].dtype)
                for key, values in decode_request(read_instances(request), answers[0].signature, str(request)).items()
            }
            times: list[list[float]] = [[], []]
            for number in range(args.rounds if rows == 1 else max(args.rounds // 4, 3)):
                for form in (0, 1) if number % 2 else (1, 0):
                    times[form].append(seconds(lambda: answers[form]._function(**arrays), calls))  # noqa: B023
            ratios = [two / one for one, two in zip(*times, strict=True)][1:]
            low, _, high = statistics.quantiles(ratios)
            one, two = (1000 * statistics.median(form) for form in times)
            middle = statistics.median(ratios)
            print(
                f"| {workload} | {rows:,} | {one:.3g} | {two:.3g} | {middle:.2f} | {low:.2f} to {high:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
