"""The same bytes from another clone, path, user, locale, time zone, hash seed, thread setting and processor count."""

import os
from pathlib import Path

import pytest
import yaml

from tests.fork_server import ForkServer
from tests.pipeline.scratch import dvc
from tools.scratch import clone, prepare_small

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


STAGES = ("evaluate@babyweight", "evaluate@mnist", "evaluate-cartpole")
LEFT_OUT = ("inspect@", "predict@", "card@", "report")
"""Stages that read the models above. Their bytes are compared on emulated processors."""


def lock(folder: Path) -> dict[str, str]:
    """MD5 of every output by stage and path."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    return {f"{name} {out['path']}": out["md5"] for name, stage in stages.items() for out in stage["outs"]}


def test_another_clone_makes_the_same_bytes(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = prepare_small(clone(tmp_path_factory.mktemp("another place, with spaces") / "ünïcode"))
    one_core = {min(os.sched_getaffinity(0))} if hasattr(os, "sched_setaffinity") else None
    environment = {**os.environ, **ELSEWHERE}
    server = ForkServer(environment, one_core)
    dvc(folder, "repro", "--quiet", *STAGES, server=server, environment=environment)
    server.close()
    found = {name: md5 for name, md5 in lock(folder).items() if not name.startswith(LEFT_OUT)}
    assert found == {name: md5 for name, md5 in lock(pipeline).items() if not name.startswith(LEFT_OUT)}
    assert len(found) > 25
