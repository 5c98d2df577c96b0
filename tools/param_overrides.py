"""Parameter sets that differ from `params.yaml` in some keys, for `dvc exp run` and for scripts.

python -m tools.param_overrides params/Acrobot-v1.yaml | xargs dvc exp run
"""

import argparse
import copy
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import InputError, run
from stages.core.params import flatten, load

FREE = "env_kwargs"
"""A section with any keys."""


def read(path: Path) -> dict[str, Any]:
    """Full paths and values of a file's keys.

    Raises:
        InputError: if the file is missing or holds no sections.
    """
    return dict(flatten(load(path)))


def override(params: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with the keys of `changes`, given by their full paths, replaced.

    Raises:
        InputError: if there is no such key.
    """
    changed = copy.deepcopy(dict(params))
    for path, value in changes.items():
        *sections, last = path.split(".")
        section: Any = changed
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if not isinstance(section, dict) or (last not in section and sections[-1] != FREE):
            raise InputError(f"{path}: unknown key")
        section[last] = value
    return changed


def hydra(value: Any) -> str:
    """A value in the syntax of DVC's `--set-param`: JSON whose keys are not quoted."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra(part)}" for key, part in value.items()) + "}"
    return f"[{','.join(map(hydra, value))}]" if isinstance(value, list) else json.dumps(value)


def main() -> None:
    """Print a file's keys as arguments of `dvc exp run`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overlay", type=Path, help="YAML file with the keys that differ")
    for key, value in read(parser.parse_args().overlay).items():
        # JSON's quotes are for DVC, the shell's for xargs.
        new = "++" if f".{FREE}." in key else ""
        print(shlex.quote(f"--set-param={new}{key}={hydra(value)}"))


if __name__ == "__main__":
    run(main)
