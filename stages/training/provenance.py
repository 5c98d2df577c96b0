"""What a trained model's bytes depend on: recorded with the model, and used to name its checkpoints."""

import os
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from stages import times
from stages.core.files import digest
from stages.core.params import StageParams

PACKAGES = ("gymnasium", "h5py", "keras", "numpy", "pandas", "tensorflow")
"""Libraries whose versions can change a trained model's bytes."""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return metadata.version(f"{package}-cpu")


def _code() -> dict[str, str]:
    """Digests of the files in `stages` that this process has imported, but for the one that only keeps times."""
    root = Path(__file__).parents[2]
    stages = [module for name, module in sys.modules.items() if name.split(".")[0] in {"stages", "__main__"}]
    files = {Path(file).resolve() for module in stages if (file := getattr(module, "__file__", None))}
    files.discard(Path(times.__file__).resolve())
    return {str(p.relative_to(root)): digest(p) for p in sorted(files) if p.is_relative_to(root / "stages")}


def collect_provenance(params: StageParams[Any], inputs: Iterable[Path] = (), device: str = "CPU") -> dict[str, Any]:
    """Collect everything that a training run's result depends on; no time, host or path outside the project.

    Args:
        params: the stage's parameters.
        inputs: the files and folders that the stage reads.
        device: the kind of device that it runs on.

    Returns:
        JSON values: `parameters`, `inputs` and `code` (SHA-256 by path), `packages` (version by name), `settings`.
    """
    return {
        "parameters": params.as_dict(),
        "inputs": {path.as_posix(): digest(path) for path in inputs},
        "code": _code(),
        "packages": {package: _version(package) for package in PACKAGES},
        "settings": {
            "device": device,
            "instruction_set": f"{platform.machine()} {os.environ['ONEDNN_MAX_CPU_ISA']}",
            "onednn": os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1",
        },
    }
