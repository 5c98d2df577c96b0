"""The whole pipeline on little data, run on this processor and on emulated ones of two vendors: the same bytes.

QEMU translates every instruction, so that a program finds another processor's name, caches and instruction sets, and
gets the results of RSQRTPS and RCPPS from QEMU in place of this processor. That these differ is checked too.
"""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages.core.files import digest, write_json
from tests.conftest import set_key
from tests.pipeline.scratch import commands
from tests.processors.approximations import APPROXIMATE
from tools.scratch import clone

EMULATOR = "qemu-x86_64"
PROCESSORS = ("Haswell", "EPYC-Milan")
"""The emulated processors, of Intel and of AMD."""

REPORT = "python -m stages.report.build reports"

LITTLE: dict[str, object] = {
    "runtime.threads": 1,  # TensorFlow takes one number for all stages of a process
    "babyweight.prepare.source.rows": 1000,
    "babyweight.train.steps": 4,
    "babyweight.train.evaluate_every": 2,
    "mnist.train.steps": 2,
    "mnist.train.batch_size": 8,
    "mnist.train.micro_batches": 1,
    "mnist.train.evaluate_every": 1,
    "cartpole.train.total_timesteps": 768,
    "cartpole.train.learning_starts": 128,
    "cartpole.train.max_episode_steps": 30,
    "cartpole.train.stop.eval_freq": 10**6,  # two episodes may be solved by luck
    "cartpole.evaluate.episodes": 2,
    "cartpole.evaluate.gif.frames": 2,
}

SPLITS = ("train", "validation", "test")
LEFT_OUT = {
    "check",  # computes nothing
    "fetch@mnist",  # needs a network
    "prepare@mnist",  # copies whole numbers, and takes nothing but the 70,000 digits
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the bytes are promised for x86-64 processors"),
    pytest.mark.skipif(not shutil.which(EMULATOR), reason=f"needs {EMULATOR} (Debian's package qemu-user)"),
]


def lines() -> list[str]:
    """The declared stages' commands, in order, but for those in `LEFT_OUT`; then the approximate operations."""
    declared = {name: command for name, command in commands().items() if name not in LEFT_OUT}
    for name in declared:
        if name.startswith("predict@"):
            declared[name] = f"python -m tests.processors.answers {name.removeprefix('predict@')}"
    models = " ".join(name.replace("export@", "models/") for name in declared if name.startswith("export@"))
    return [
        *declared.values(),
        f"python -m tests.savedmodel.rows 1 60 {models}",  # fails where an answer depends on the call
        "python -m tests.processors.approximations approximations",
    ]


def prepare(folder: Path, **more: object) -> Path:
    """Make a clone in which the stages are quick: little to do, a few random pictures.

    Args:
        folder: where to.
        more: further parameters to change, by their full paths.
    """
    clone(folder)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    for key, value in (LITTLE | more).items():
        set_key(params, key, value)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    random = np.random.default_rng(0)
    for split in SPLITS:
        digits = folder / "data/mnist" / split
        digits.mkdir(parents=True)
        np.save(digits / "images.npy", random.integers(0, 256, [16, 784], np.uint8))
        np.save(digits / "labels.npy", random.integers(0, 10, [16], np.uint8))
    write_json(folder / "results/mnist/prepare.json", {f"{split}_images": 16 for split in SPLITS})
    write_json(folder / "data/requests/mnist.json", {"instances": random.random([10, 784]).round(6).tolist()})
    return folder


def start(folder: Path, processor: str | None, *stages: str) -> subprocess.Popen[str]:
    """Start stages' commands in a folder, on a named processor or on this one."""
    emulator = [EMULATOR, "-cpu", processor] if processor else []
    return subprocess.Popen(
        [*emulator, sys.executable, "-m", "tests.run_stages", *stages],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def digests(folder: Path, run: subprocess.Popen[str]) -> dict[str, str]:
    """SHA-256 of every file in the folder of a run, once that has ended."""
    output, _ = run.communicate()
    assert run.returncode == 0, f"{folder.name}: {output}"
    files = (path for path in folder.rglob("*") if path.is_file() and ".checkpoints" not in path.parts)
    return {path.relative_to(folder).as_posix(): digest(path) for path in files}


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder in which this processor ran the stages but for the report, and what it wrote."""
    folder = prepare(tmp_path_factory.mktemp("native") / "clone")
    return folder, digests(folder, start(folder, None, *(command for command in lines() if command != REPORT)))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_an_emulated_processor_writes_the_same_bytes(
    native: tuple[Path, dict[str, str]], tmp_path: Path, processor: str
) -> None:
    _, here = native
    folder = prepare(tmp_path / "clone")
    there = digests(folder, start(folder, processor, *(command for command in lines() if command != REPORT)))
    assert {Path(name).parts[0] for name in here} >= {"data", "models", "results", "weights"}
    different = {name for name in here.keys() | there.keys() if here.get(name) != there.get(name)}
    # The others start from the same instructions, but may round to the same numbers.
    assert {"approximations/Reciprocal.npy", "approximations/Rsqrt.npy"} <= different
    assert different - {f"approximations/{name}.npy" for name in APPROXIMATE} == set()


@pytest.mark.timeout(600)
def test_an_emulated_processor_draws_the_same_report(native: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    here, there = (shutil.copytree(native[0], tmp_path / name) for name in ("here", "there"))
    drawn = [digests(folder, start(folder, cpu, REPORT)) for folder, cpu in ((here, None), (there, "EPYC-Milan"))]
    assert drawn[0] == drawn[1]
    assert "reports/index.html" in drawn[0]
