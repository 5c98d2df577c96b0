"""A training stage's outputs: a folder of weights, configuration and provenance; metrics; a learning curve."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.files import significant, whole_folder, write_json, write_table
from stages.core.params import add_params

WEIGHTS = "model.weights.h5"
CONFIG = "config.json"
PROVENANCE = "provenance.json"


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every training stage takes."""
    parser.add_argument("weights", type=Path, help="folder to write weights, configuration and provenance to")
    parser.add_argument("metrics", type=Path, help="file to write the last metrics to")
    parser.add_argument("curve", type=Path, help="file to write the learning curve to")
    add_params(parser)


def write_weights(
    folder: Path, save: Callable[[Path], object], config: Mapping[str, Any], provenance: Mapping[str, Any]
) -> None:
    """Write a trained model's folder atomically.

    `save` writes the weights to a path, as Keras' `save_weights`; `config` is what the workload's `model.build` takes.
    """
    with whole_folder(folder) as temporary:
        save(temporary / WEIGHTS)
        write_json(temporary / CONFIG, config)
        write_json(temporary / PROVENANCE, provenance)


def write_curve(path: Path, history: Sequence[Mapping[str, float]], columns: Sequence[str]) -> None:
    """Write a learning curve as CSV, one point per line, numbers to six significant digits."""
    write_table(path, [{name: significant(value) for name, value in point.items()} for point in history], columns)
