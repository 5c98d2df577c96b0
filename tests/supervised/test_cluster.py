"""Real processes on loopback ports: where replicas run does not change a byte, and none waits for one that is gone."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from stages.core.errors import InputError
from stages.core.files import digest
from stages.supervised.cluster import Cluster, from_environment
from tests.conftest import ROOT, assert_refused, run_stage

TIMEOUT = 240


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def tf_config(ports: list[int], index: int) -> str:
    workers = [f"127.0.0.1:{port}" for port in ports]
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


class Local:
    """Processes that train a workload together, each in a folder of its own; the first is the chief."""

    def __init__(self, workload: str, data: Path, folder: Path, params: Path, processes: int, *others: Path) -> None:
        ports = free_ports(processes)
        self.chief = folder / "0"
        self.addresses = [f"127.0.0.1:{port}" for port in ports]
        self.processes = []
        for index in range(processes):
            here = folder / str(index)
            here.mkdir(parents=True, exist_ok=True)
            if not (here / "data").exists():
                (here / "data").symlink_to(data)
            command = ["-m", f"stages.{workload}.train", "data", "weights", "train.json", "curve.csv"]
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, *command, "--params", str([params, *others][min(index, len(others))])],
                    cwd=here,
                    env={"PYTHONPATH": str(ROOT)} | ({"TF_CONFIG": tf_config(ports, index)} if processes > 1 else {}),
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )

    def end(self) -> list[tuple[int, str]]:
        """Exit code and standard error of each."""
        errors = [process.communicate(timeout=TIMEOUT)[1] for process in self.processes]
        return [(process.returncode, error) for process, error in zip(self.processes, errors, strict=True)]

    def outputs(self) -> list[str]:
        ended = self.end()
        self.errors = [error for _, error in ended]
        assert [code for code, _ in ended] == [0] * len(ended), ended
        for index in range(1, len(ended)):
            assert {path.name for path in (self.chief.parent / str(index)).iterdir()} == {"data"}, (
                "only the chief writes"
            )
        return [digest(self.chief / name) for name in ("weights", "train.json", "curve.csv")]

    def weights(self) -> np.ndarray:
        arrays: list[np.ndarray] = []
        with h5py.File(self.chief / "weights/model.weights.h5") as file:
            file.visititems(lambda _, x: arrays.append(x[()].ravel()) if isinstance(x, h5py.Dataset) else None)
        return np.concatenate([a.astype(np.float64) for a in arrays if a.dtype.kind == "f"])


@pytest.fixture(scope="module")
def births(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 births whose weight follows the weeks."""
    folder = tmp_path_factory.mktemp("births")
    rng = np.random.default_rng(0)
    features = ["sex", "mother_race", "mother_married", "cigarette_use", "alcohol_use"]
    numbers = {"mother_age": (15, 45), "plurality": (1, 3), "gestation_weeks": (25, 42)}
    vocabularies = {name: ["a", "b"] for name in features}
    schema = {
        "features": [*features, *numbers],
        "vocabularies": vocabularies,
        "spellings": {name: {"a": 1, "b": 2} for name in features},
    }
    (folder / "schema.json").write_text(json.dumps(schema))
    for part, count in (("train", 2000), ("validation", 200)):
        (folder / part).mkdir()
        columns = [rng.integers(0, 3, count) for _ in features]
        columns += [rng.integers(low, high + 1, count) for low, high in numbers.values()]
        np.save(folder / part / "features.npy", np.stack(columns, axis=1).astype(np.uint8))
        np.save(folder / part / "weight_pounds.npy", (columns[-1] / 5 + rng.normal(0, 1, count)).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    rng = np.random.default_rng(0)
    for part, count in (("train", 320), ("validation", 32)):
        (folder / part).mkdir()
        np.save(folder / part / "labels.npy", rng.integers(0, 10, count).astype(np.uint8))
        np.save(folder / part / "images.npy", rng.integers(0, 256, (count, 784)).astype(np.uint8))
    return folder


def test_births_end_in_the_same_bytes_wherever_the_replicas_are(
    births: Path, tmp_path: Path, params_file: Callable[..., Path]
) -> None:
    steps = {"babyweight.train.steps": 60, "babyweight.train.evaluate_every": 25}
    one = Local("babyweight", births, tmp_path / "one", params_file(steps), 1)
    one.outputs()
    params = params_file(steps | {"babyweight.train.replicas": 4})
    runs = [Local("babyweight", births, tmp_path / str(n), params, n) for n in (1, 2, 4)]
    assert runs[0].outputs() == runs[1].outputs() == runs[2].outputs()
    expected, found = one.weights(), runs[0].weights()
    assert 0 < np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


def test_digits_end_in_the_same_weights_however_many_replicas_share_the_parts(
    digits: Path, tmp_path: Path, params_file: Callable[..., Path]
) -> None:
    changes = {"steps": 12, "batch_size": 64, "micro_batches": 4, "evaluate_every": 5}
    keys = {f"mnist.train.{key}": value for key, value in changes.items()} | {"mnist.model.dropout": 0.3}
    one = Local("mnist", digits, tmp_path / "one", params_file(keys), 1)
    _, *expected = one.outputs()
    for replicas, processes in ((4, 4), (2, 1), (2, 2)):
        params = params_file(keys | {"mnist.train.replicas": replicas})
        run = Local("mnist", digits, tmp_path / f"{replicas} in {processes}", params, processes)
        assert run.outputs()[1:] == expected
        assert (run.weights() == one.weights()).all()


def kill(run: Local, killed: int, after: int) -> None:
    """Kill a process once a checkpoint of a later step is there, and see the other end."""
    deadline = time.monotonic() + TIMEOUT
    while not any(int(path.stem.split("-")[1]) > after for path in run.chief.glob(".checkpoints/*/step-*.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    run.processes[killed].send_signal(signal.SIGKILL)
    at = time.monotonic()
    ended = run.end()
    assert time.monotonic() - at < 15
    assert ended[killed][0] == -signal.SIGKILL, "the run was over before it could be killed"
    code, error = ended[1 - killed]
    assert code == 1
    who = f"{'worker' if killed else 'the chief'} {run.addresses[killed]}"
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert lines == [f"error: {who} is gone; start all processes again to go on from the last checkpoint"]
    assert "Traceback" not in error


def test_a_killed_process_stops_the_others_and_the_next_run_ends_in_the_same_bytes(
    births: Path, tmp_path: Path, params_file: Callable[..., Path]
) -> None:
    changes = {"steps": 1000, "checkpoint_every": 20, "evaluate_every": 50, "replicas": 2}
    params = params_file({f"babyweight.train.{key}": value for key, value in changes.items()})
    kill(Local("babyweight", births, tmp_path / "cut", params, 2), killed=1, after=0)
    kill(Local("babyweight", births, tmp_path / "cut", params, 2), killed=0, after=200)
    last = Local("babyweight", births, tmp_path / "cut", params, 2)
    assert last.outputs() == Local("babyweight", births, tmp_path / "whole", params, 1).outputs()
    assert "resumed at step" in last.errors[0]


@pytest.mark.parametrize("missing", [0, 1], ids=["chief", "worker"])
def test_a_process_that_never_comes_is_named(
    births: Path, tmp_path: Path, params_file: Callable[..., Path], missing: int
) -> None:
    params = params_file({"babyweight.train.replicas": 2, "babyweight.train.worker_timeout": 1.0})
    ports = free_ports(2)
    outputs = (tmp_path / "weights", tmp_path / "train.json", tmp_path / "curve.csv")
    done = run_stage(
        "stages.babyweight.train", births, *outputs, "--params", params, TF_CONFIG=tf_config(ports, 1 - missing)
    )
    assert_refused(done, f"127.0.0.1:{ports[missing]}: did not come within 1 s")


def test_a_worker_with_other_parameters_is_refused(
    births: Path, tmp_path: Path, params_file: Callable[..., Path]
) -> None:
    other = params_file({"babyweight.train.replicas": 2, "seed": 1}).rename(tmp_path / "other.yaml")
    params = params_file({"babyweight.train.replicas": 2})
    run = Local("babyweight", births, tmp_path, params, 2, other)
    (_, chief), (code, worker) = run.end()
    assert code == 1
    assert "error: babyweight: this worker's parameters, data, code or libraries are not the chief's" in worker
    assert f"error: worker {run.addresses[1]} is gone" in chief


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "expected {"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "expected {"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', "expected {"),
        ('{"cluster": {"worker": ["a", "b:1"]}, "task": {"type": "worker", "index": 0}}', "expected {"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "each address once"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}', "ps: expected no"),
    ],
)
def test_a_wrong_tf_config_is_refused(monkeypatch: pytest.MonkeyPatch, text: str, words: str) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=r"^TF_CONFIG: ") as refused:
        from_environment()
    assert words in str(refused.value)


def test_the_chief_comes_first_and_no_cluster_is_this_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": jobs, "task": {"type": "worker", "index": 1}}))
    assert from_environment() == Cluster(("a:1", "b:1", "c:1"), 2)
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {}}))
    assert from_environment() == Cluster()
    monkeypatch.delenv("TF_CONFIG")
    assert from_environment() == Cluster()
