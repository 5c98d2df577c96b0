"""A trained model's folder: its weights, their configuration and their provenance."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.core.files import whole_folder, write_json

WEIGHTS = "model.weights.h5"
CONFIG = "config.json"
PROVENANCE = "provenance.json"


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
