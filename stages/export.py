"""Turn a workload's trained weights into a SavedModel with its serving signature."""

import argparse
import importlib
from pathlib import Path
from typing import Any

from stages.shared import runtime, savedmodel, weights
from stages.shared.errors import InputError, run
from stages.shared.files import read_json
from stages.shared.params import READERS, add_params


def main() -> None:
    """Write `models/<workload>`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("weights", type=Path, help="folder of the trained weights")
    parser.add_argument("model", type=Path, help="SavedModel to write")
    add_params(parser)
    args = parser.parse_args()
    params: Any = READERS[f"export@{args.workload}"].read(args.params)
    network = importlib.import_module(f"stages.{args.workload}.model")

    runtime.configure(params.runtime)
    config = read_json(args.weights / weights.CONFIG)
    model = network.build(config)
    try:
        model.load_weights(args.weights / weights.WEIGHTS)
    except (OSError, ValueError) as error:
        raise InputError(f"{args.weights / weights.WEIGHTS}: {' '.join(str(error).split())}") from None
    signatures = {savedmodel.SIGNATURE: network.serve(model, config, params.names)}
    provenance = read_json(args.weights / weights.PROVENANCE)
    savedmodel.write(args.model, model, signatures, provenance, params.form.as_text)


if __name__ == "__main__":
    run(main)
