"""Real processes on loopback ports: where replicas run does not change a byte, and no process waits for a lost one."""

import json
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from stages.core.errors import InputError
from stages.core.files import digest
from stages.supervised.cluster import read_tf_config
from tests.conftest import assert_refused, run_stage, start_stage
from tools.train_cluster import environment, reserved_addresses

TIMEOUT = 600  # seconds; generous, for a machine under load
OUTPUTS = ("weights", "train.json", "curve.csv")
UNREACHABLE = 10**9
"""More steps than any test takes: such a run ends when it is killed, never before."""


class LocalCluster:
    """Processes that train a workload together, each in a folder of its own; the first is the chief."""

    def __init__(
        self, workload: str, data: Path, folder: Path, params: Path, processes: int, *other_params: Path
    ) -> None:
        self.chief = folder / "0"
        self.processes = []
        self._reserved = ExitStack()
        addresses = self._reserved.enter_context(reserved_addresses(processes))
        for index in range(processes):
            here = folder / str(index)
            here.mkdir(parents=True, exist_ok=True)
            if not (here / "data").exists():
                (here / "data").symlink_to(data)
            own_params = [params, *other_params][min(index, len(other_params))]
            command = [f"stages.{workload}.train", "data", *OUTPUTS, "--params", str(own_params)]
            settings: Any = environment(addresses, index) if processes > 1 else {}
            self.processes.append(start_stage(*command, cwd=here, **settings))

    def end(self) -> list[tuple[int, str]]:
        """Wait; return the exit code and standard error of each process."""
        with self._reserved:
            errors = [process.communicate(timeout=TIMEOUT)[1] for process in self.processes]
        return [(process.returncode or 0, error) for process, error in zip(self.processes, errors, strict=True)]

    def outputs(self) -> list[str]:
        """Wait for success; return the digests of the chief's outputs."""
        ended = self.end()
        self.errors = [error for _, error in ended]
        assert [code for code, _ in ended] == [0] * len(ended), ended
        for index in range(1, len(ended)):
            names = {path.name for path in (self.chief.parent / str(index)).iterdir()}
            assert names == {"data"}, "only the chief writes"
        return [digest(self.chief / name) for name in OUTPUTS]

    def weights(self) -> np.ndarray:
        arrays: list[np.ndarray] = []
        with h5py.File(self.chief / "weights/model.weights.h5") as file:
            file.visititems(lambda _, x: arrays.append(x[()].ravel()) if isinstance(x, h5py.Dataset) else None)
        return np.concatenate([a.astype(np.float64) for a in arrays if a.dtype.kind == "f"])

    def last_checkpoint(self) -> int:
        """The newest checkpoint's step; 0 without any."""
        steps = [int(path.stem.split("-")[1]) for path in self.chief.glob(".checkpoints/*/step-*.npz")]
        return max(steps, default=0)


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


def test_births_end_in_the_same_bytes_in_one_process_and_in_several(
    births: Path, tmp_path: Path, params_file: Callable[..., Path]
) -> None:
    keys = {"babyweight.train.steps": 60, "babyweight.train.evaluate_every": 25}
    single = LocalCluster("babyweight", births, tmp_path / "single", params_file(keys), 1)
    single.outputs()
    params = params_file(keys | {"babyweight.train.replicas": 4})
    one, several = (
        LocalCluster("babyweight", births, tmp_path / f"4 in {processes}", params, processes) for processes in (1, 4)
    )
    assert one.outputs() == several.outputs()
    assert several.last_checkpoint() == 0, "a finished run removes its checkpoints"
    expected, found = single.weights(), several.weights()
    assert 0 < np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


def test_digits_end_in_the_same_weights_however_many_replicas_share_the_micro_batches(
    digits: Path, tmp_path: Path, params_file: Callable[..., Path]
) -> None:
    changes = {"steps": 12, "batch_size": 64, "micro_batches": 4, "evaluate_every": 5, "network.dropout": 0.3}
    keys = {f"mnist.train.{key}": value for key, value in changes.items()}
    single = LocalCluster("mnist", digits, tmp_path / "single", params_file(keys), 1)
    _, *expected = single.outputs()
    for replicas, processes in ((4, 1), (2, 2)):
        params = params_file(keys | {"mnist.train.replicas": replicas})
        run = LocalCluster("mnist", digits, tmp_path / f"{replicas} in {processes}", params, processes)
        assert run.outputs()[1:] == expected
        assert (run.weights() == single.weights()).all()


def kill(run: LocalCluster, killed: int) -> int:
    """Kill a process once it has written a new checkpoint, and see the other end; return the newest one's step."""
    before, deadline = run.last_checkpoint(), time.monotonic() + TIMEOUT
    while run.last_checkpoint() <= before:
        assert time.monotonic() < deadline
        assert [process.poll() for process in run.processes] == [None, None], run.end()
        time.sleep(0.005)
    run.processes[killed].send_signal(signal.SIGKILL)
    at = time.monotonic()
    ended = run.end()
    assert time.monotonic() - at < 60, "worker_timeout"
    assert ended[killed][0] == -signal.SIGKILL
    code, error = ended[1 - killed]
    assert code == 1
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, error
    assert lines[0].startswith("error: TF_CONFIG: another process ended; start all again to resume from the last")
    assert "Traceback" not in error
    return run.last_checkpoint()


def test_a_killed_process_ends_the_others_and_the_next_run_ends_in_the_same_bytes(
    births: Path, tmp_path: Path, params_file: Callable[..., Path]
) -> None:
    # At a constant rate the number of steps does not name a run, so one that never ends is resumed by one that does.
    def params(steps: int) -> Path:
        changes = {"steps": steps, "schedule": "constant", "replicas": 2, "evaluate_every": 50}
        kept = {"babyweight.operation.checkpoint_every": 20, "babyweight.operation.max_to_keep": 10**6}
        return params_file(kept | {f"babyweight.train.{key}": value for key, value in changes.items()})

    for killed in (1, 0):
        run = LocalCluster("babyweight", births, tmp_path / "cut", params(UNREACHABLE), 2)
        last = kill(run, killed)
    resumed = LocalCluster("babyweight", births, tmp_path / "cut", params(last + 30), 2)
    whole = LocalCluster("babyweight", births, tmp_path / "whole", params(last + 30), 1)
    assert resumed.outputs() == whole.outputs()
    assert f"resumed at step {last}" in resumed.errors[0]


@pytest.mark.parametrize("missing", [0, 1], ids=["chief", "worker"])
def test_a_process_does_not_wait_for_one_that_never_starts(
    births: Path, tmp_path: Path, params_file: Callable[..., Path], missing: int
) -> None:
    params = params_file({"babyweight.train.replicas": 2, "babyweight.operation.worker_timeout": 1.0})
    outputs = (tmp_path / "weights", tmp_path / "train.json", tmp_path / "curve.csv")
    with reserved_addresses(2) as addresses:
        settings: Any = environment(addresses, 1 - missing)
        done = run_stage("stages.babyweight.train", births, *outputs, "--params", params, **settings)
    assert_refused(done, f"TF_CONFIG: {addresses[missing]}: expected a process there within 1 s")


def test_replicas_must_fit_the_processes(births: Path, tmp_path: Path, params_file: Callable[..., Path]) -> None:
    params = params_file({"babyweight.train.replicas": 4})
    outputs = (tmp_path / "weights", tmp_path / "train.json", tmp_path / "curve.csv")
    settings: Any = environment(["127.0.0.1:1", "127.0.0.1:2"], 0)
    done = run_stage("stages.babyweight.train", births, *outputs, "--params", params, **settings)
    assert_refused(done, "replicas: 4: expected 2: 2 processes with one CPU each")


def test_a_worker_with_other_parameters_is_refused(
    births: Path, tmp_path: Path, params_file: Callable[..., Path]
) -> None:
    other = params_file({"babyweight.train.replicas": 2, "babyweight.train.batch_size": 64})
    other = other.rename(tmp_path / "other.yaml")
    params = params_file({"babyweight.train.replicas": 2})
    run = LocalCluster("babyweight", births, tmp_path, params, 2, other)
    (chief_code, chief), (code, worker) = run.end()
    assert (chief_code, code) == (1, 1)
    found = ": babyweight.train.batch_size: 64; the chief has 512; expected the same in every process"
    for error in (chief, worker):
        (line,) = (line for line in error.splitlines() if line.startswith("error: "))
        assert line.startswith("error: TF_CONFIG: 127.0.0.1:") and line.endswith(found) and "Traceback" not in error


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
        read_tf_config()
    assert words in str(refused.value)


def test_the_chief_comes_first_and_no_cluster_is_this_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": jobs, "task": {"type": "worker", "index": 1}}))
    assert read_tf_config() == (["a:1", "b:1", "c:1"], 2)
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {}}))
    assert read_tf_config() == ([], 0)
    monkeypatch.delenv("TF_CONFIG")
    assert read_tf_config() == ([], 0)
