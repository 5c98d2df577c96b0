"""TensorFlow's wheel for 64-bit ARM, run by QEMU, answers as this processor does.

The Python comes from Debian's packages for that architecture, the libraries from `requirements/cpu.lock`.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.core.params import workload_names
from tests.conftest import ROOT

EMULATOR = "qemu-aarch64"
PYTHON = "python3.11"
WORKLOADS = workload_names()
COMMANDS = [f"python -m tests.processors.answers {workload}" for workload in WORKLOADS]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(platform.machine() == "aarch64", reason="this is such a processor: every other test runs on it"),
    pytest.mark.skipif(not shutil.which(EMULATOR), reason=f"needs {EMULATOR} (Debian's package qemu-user)"),
    pytest.mark.skipif(not shutil.which("apt-get"), reason="takes its Python from Debian's packages"),
]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Debian's Python for 64-bit ARM and the locked packages, in `site`."""
    folder = tmp_path_factory.mktemp("aarch64")
    for name in ("lists", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
    }
    options = [f"-o{key}={value}" for key, value in settings.items()]
    subprocess.run(["apt-get", "-qq", *options, "update"], check=True)
    install = ["install", "--yes", "--no-install-recommends", "--download-only", PYTHON, "libstdc++6"]
    subprocess.run(["apt-get", "-qq", *options, *install], check=True)
    for package in (folder / "archives").glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
    wheels = ["--python-platform", "aarch64-manylinux_2_28", "--python-version", "3.11", "--require-hashes"]
    target = ["--quiet", "--target", str(folder / "site"), "-r", str(ROOT / "requirements/cpu.lock")]
    subprocess.run(["uv", "pip", "install", "--python", sys.executable, *wheels, *target], check=True)
    return folder


def numbers(value: Any) -> Iterator[float]:
    """Every number in an answer, in order."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    else:
        yield value


def answers(folder: Path) -> dict[str, np.ndarray]:
    """Every number that each workload's model answered."""
    files = {workload: folder / f"results/{workload}/predictions.json" for workload in WORKLOADS}
    return {
        name: np.fromiter(numbers(json.loads(path.read_text())["predictions"]), float) for name, path in files.items()
    }


def test_the_models_answer_alike(pipeline: Path, system: Path, tmp_path: Path) -> None:
    pythons = {"here": [sys.executable], "aarch64": [EMULATOR, "-L", str(system), str(system / "usr/bin" / PYTHON)]}
    found = {}
    for name, python in pythons.items():
        folder = tmp_path / name
        for part in ("models", "data/requests", "stages", "tests"):
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            (folder / part).symlink_to(pipeline / part)
        environment = dict(os.environ)
        if name == "aarch64":
            environment["PYTHONPATH"] = str(system / "site")
        command = [*python, "-m", "tests.run_stages", *COMMANDS]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found[name] = answers(folder)
    for workload in WORKLOADS:
        assert len(found["here"][workload]) >= 2
        np.testing.assert_allclose(found["aarch64"][workload], found["here"][workload], rtol=0, atol=1e-5)
