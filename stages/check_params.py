"""Check all of `params.yaml` before any other stage runs, and write its JSON Schema.

DVC deletes a stage's outputs before it runs the stage. All other stages depend on this one, so a wrong parameter stops
the pipeline while all outputs still exist.
"""

import argparse
import importlib
from pathlib import Path
from typing import Any

from pydantic import create_model

from stages.core.errors import InputError, run
from stages.core.files import write_json, write_text
from stages.core.filesystems import is_remote
from stages.core.params import (
    Export,
    Predict,
    Runtime,
    Section,
    Seed,
    add_params,
    flatten,
    load,
    validate,
    workload_names,
)


def schema() -> type[Section]:
    """The schema of the whole file: the shared sections, and one for each workload."""
    own = {name: importlib.import_module(f"stages.{name}.params").Params for name in workload_names()}
    fields: dict[str, Any] = {"seed": Seed, "runtime": Runtime, **own, "export": Export, "predict": Predict}
    return create_model("Params", __base__=Section, __doc__="All of params.yaml.", **fields)


def check(path: Path) -> None:
    """Check a whole parameter file.

    Raises:
        InputError: if the file is missing, or a key is unknown, missing, of the wrong type or out of range, or if a
            key called `path` names nothing: DVC would see that too late, with the outputs gone.
    """
    values = load(path)
    validate(schema(), values, path)
    for key, value in flatten(values):
        if key.endswith(".path") and not is_remote(value) and not Path(value).exists():
            raise InputError(f"{path}: {key}: {value}: no such file or folder")


def main() -> None:
    """Write the schema, and a file that says that the parameters were checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("schema", type=Path, help="file to write the JSON Schema to")
    parser.add_argument("checked", type=Path, help="file to write if all parameters are valid")
    add_params(parser)
    args = parser.parse_args()

    check(args.params)
    write_json(args.schema, schema().model_json_schema())
    write_text(args.checked, "All parameters are valid.\n")


if __name__ == "__main__":
    run(main)
