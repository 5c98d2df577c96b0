"""What a person does by accident, and what becomes of it."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.core.files import digest
from stages.training.checkpoint import Checkpoints
from tests.conftest import assert_refused, finish, run_stage, start_stage
from tests.pipeline.scratch import dvc, ran


def cached(folder: Path, path: str) -> Path:
    """DVC's cached copy of a file inside an output of a clone."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"].values()
    outs = {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}
    out = next(name for name in outs if path.startswith(f"{name}/"))
    cache = folder / ".dvc" / "cache" / "files" / "md5"
    listing = json.loads((cache / outs[out][:2] / outs[out][2:]).read_text())
    md5: str = next(entry["md5"] for entry in listing if f"{out}/{entry['relpath']}" == path)
    return cache / md5[:2] / md5[2:]


def test_a_deleted_output_comes_back(pipeline: Path) -> None:
    before = digest(pipeline / "models" / "mnist")
    shutil.rmtree(pipeline / "models" / "mnist")
    assert ran(dvc(pipeline, "repro", "export@mnist")) == set(), "it is in the cache"
    assert digest(pipeline / "models" / "mnist") == before


def test_a_truncated_model_is_noticed_and_comes_back(pipeline: Path) -> None:
    model = pipeline / "models" / "cartpole"
    before = digest(model)
    graph = model / "saved_model.pb"
    raw = graph.read_bytes()
    graph.chmod(0o644)
    graph.write_bytes(raw[:-100])
    request = pipeline / "data" / "requests" / "cartpole.json"
    expected = pipeline / "data" / "requests" / "expected" / "cartpole.json"
    done = run_stage("stages.predict", "cartpole", model, request, expected, pipeline / "p.json", cwd=pipeline)
    assert_refused(done, "damaged SavedModel")
    assert not (pipeline / "p.json").exists()
    assert "modified" in dvc(pipeline, "status", "export@cartpole").stdout
    dvc(pipeline, "repro", "predict@cartpole")
    assert digest(model) == before


def test_a_damaged_cache_is_reported_and_rebuilt(pipeline: Path) -> None:
    before = digest(pipeline / "weights" / "cartpole")
    copy = cached(pipeline, "weights/cartpole/model.weights.h5")
    copy.chmod(0o644)
    copy.write_bytes(copy.read_bytes()[:-100])
    shutil.rmtree(pipeline / "weights" / "cartpole")
    done = dvc(pipeline, "repro", "train-cartpole", check=False)
    assert digest(pipeline / "weights" / "cartpole") == before, done.stdout + done.stderr
    assert "train-cartpole" in ran(done)


def test_of_two_runs_at_once_the_second_stops_and_nothing_is_damaged(pipeline: Path) -> None:
    before = (pipeline / "dvc.lock").read_text()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["dvc", "repro", "--single-item", "--force", "--no-run-cache", "train-cartpole"]
    # While this process holds the workload's checkpoints, the first run waits in its stage, for as long as it takes.
    with Checkpoints("cartpole", "none", 1, pipeline / ".checkpoints"):
        first = subprocess.Popen(command, cwd=pipeline, env=environment, stderr=subprocess.PIPE, text=True)
        assert first.stderr is not None
        assert any(line.startswith("waiting: another process holds") for line in first.stderr)
        second = dvc(pipeline, *command[1:], check=False)
        assert second.returncode != 0 and "is being blocked by" in second.stderr, second.stderr
        assert first.poll() is None
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors
    assert (pipeline / "dvc.lock").read_text() == before
    assert "up to date" in dvc(pipeline, "status", "train-cartpole").stdout


@pytest.mark.parametrize("limit", [4_000, 100_000])
def test_a_full_disk_stops_with_one_line_and_no_partial_output(pipeline: Path, tmp_path: Path, limit: int) -> None:
    outputs = [tmp_path / name for name in ("weights", "train.json", "curve.csv")]
    process = start_stage("stages.mnist.train", "data/mnist", *outputs, "--params", "small.yaml", cwd=small(pipeline))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    assert_refused(finish(process), "File too large")
    assert list(tmp_path.iterdir()) == []
    assert not list((pipeline / ".checkpoints").rglob("*.tmp"))


def small(pipeline: Path) -> Path:
    """The clone, with parameters of a very short run in `small.yaml`."""
    params = yaml.safe_load((pipeline / "params.yaml").read_text())
    params["mnist"]["train"] |= {"steps": 20, "micro_batches": 1}
    params["mnist"]["operation"]["checkpoint_every"] = 10
    (pipeline / "small.yaml").write_text(yaml.safe_dump(params))
    return pipeline
