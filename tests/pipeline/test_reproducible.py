"""The same bytes from another clone, path, user, locale, time zone, hash seed, thread setting and processor count."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.files import digest
from tests.conftest import clone
from tests.pipeline.scratch import commands, prepare_small

ELSEWHERE = {
    "PYTHONHASHSEED": "4711",
    "TZ": "Pacific/Chatham",
    "LC_ALL": "C",
    "USER": "somebody",
    "HOSTNAME": "elsewhere",
    "OMP_NUM_THREADS": "7",
    "OPENBLAS_NUM_THREADS": "5",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
}


GROUPS = (
    ("prepare@babyweight", "prepare@mnist"),
    *((stage,) for stage in ("train@babyweight", "train@mnist", "train-cartpole")),
    *((f"export@{name}",) for name in ("babyweight", "mnist", "cartpole")),
    ("evaluate@babyweight", "evaluate@mnist", "evaluate-cartpole"),
)
"""Stages by process. A model tells of the process that trained it, and TensorFlow numbers the functions of the one that
exports it. The models decide the bytes of the stages that follow."""

OUTPUTS = ("data/babyweight", "data/mnist", "data/samples", "models", "results", "weights")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that the stages of `GROUPS` write."""
    files = [path for name in OUTPUTS for path in (folder / name).rglob("*") if path.is_file()]
    later = ("signature", "predictions")
    return {path.relative_to(folder).as_posix(): digest(path) for path in files if not path.stem.startswith(later)}


def test_another_clone_makes_the_same_bytes(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = prepare_small(clone(tmp_path_factory.mktemp("another place, with spaces") / "ünïcode"))
    shutil.rmtree(folder / "results")
    shutil.copytree(pipeline / "data" / "fetched", folder / "data" / "fetched", dirs_exist_ok=True)
    one_core = {min(os.sched_getaffinity(0))} if hasattr(os, "sched_setaffinity") else None
    declared = commands()
    for group in GROUPS:
        subprocess.run(
            [sys.executable, "-m", "tests.run_stages", *(declared[stage] for stage in group)],
            cwd=folder,
            env={**os.environ, **ELSEWHERE},
            preexec_fn=(lambda: os.sched_setaffinity(0, one_core)) if one_core else None,
            check=True,
        )
    found = digests(folder)
    assert found == digests(pipeline)
    assert len(found) > 50
