"""Births encoded by a real Dask cluster of processes on this machine."""

import functools
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest

from stages.babyweight import prepare
from stages.babyweight.params import Dask, Operation, Prepare
from stages.babyweight.source import csv_file, workers
from stages.babyweight.source.births import FACTS
from stages.babyweight.source.facts import read_facts
from stages.babyweight.source.synthetic import Generator
from stages.core.errors import InputError
from stages.core.files import digest
from stages.core.params import OperationParams, PrepareParams
from tests.conftest import ROOT, assert_refused, run_stage

Write = Callable[..., Path]
Run = Callable[..., tuple[str, str]]
ROWS = 60_000
BLOCK = 200_000  # bytes: some twenty blocks


@pytest.fixture(scope="module")
def births(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four shards, some rows of them bad; the first alone has a header."""
    folder = tmp_path_factory.mktemp("raw")
    lines = next(Generator(read_facts(ROOT / FACTS), 2017).blocks(ROWS)).to_csv(index=False).splitlines()
    lines[100::9000] = ["7.5,True,26"] * len(lines[100::9000])
    for number in range(4):
        text = "\n".join(lines[number * 15_001 : (number + 1) * 15_001]).encode()
        packed = number % 2
        (folder / f"births-{number}.csv{'.gz' * packed}").write_bytes(gzip.compress(text) if packed else text)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    # Dask tries for 30 s to reach a worker that was killed.
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "5s"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=":0"
        ) as local,
    ):
        yield local


def _params(path: Path) -> tuple[PrepareParams[Prepare], Path, Dask]:
    dask = OperationParams[Operation].read(path).operation.dask
    return PrepareParams[Prepare].read(path), ROOT / FACTS, dask


@pytest.fixture
def run(tmp_path: Path, births: Path, params_file: Write, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Prepare the births in small blocks; a digest of the arrays, and counts and sample as text."""

    def run(scheduler: str | None = None, block_bytes: int = BLOCK, **source: Any) -> tuple[str, str]:
        values = {"kind": "files", "path": str(births), **source}
        changes = {f"babyweight.prepare.source.{key}": value for key, value in values.items()}
        path = params_file(changes | {"babyweight.operation.dask.scheduler": scheduler})
        folder = tmp_path / str(time.monotonic_ns())
        folder.mkdir()
        block_tasks = functools.partial(csv_file.block_tasks, block_bytes=block_bytes)
        with monkeypatch.context() as patch:
            patch.setattr(csv_file, "block_tasks", block_tasks)
            counts, sample = prepare.write_splits(folder, *_params(path))
        return digest(folder), json.dumps(counts.metrics("files")) + str(sample)

    return run


def test_the_same_bytes_whatever_the_threads(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(block_bytes=1 << 30)
    for threads in (1, 3):
        monkeypatch.setattr(os, "cpu_count", lambda threads=threads: threads)
        assert run() == expected, f"{threads} threads"


def test_the_same_bytes_from_workers_that_read_the_files(
    run: Run, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run()

    def refuse(*_: Any) -> Iterator[Any]:
        raise AssertionError("this process reads no file")
        yield

    monkeypatch.setattr(prepare, "all_block_tasks", refuse)
    assert run(cluster.scheduler_address) == expected


@pytest.mark.parametrize("block_bytes", [BLOCK, BLOCK * 3])
def test_the_same_bytes_from_workers_that_do_not_see_the_files(
    run: Run, births: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    expected = run()
    monkeypatch.chdir(births)  # the workers stay where they are
    assert run(cluster.scheduler_address, block_bytes, path="births-*") == expected


def test_the_same_bytes_from_one_file(run: Run, births: Path, cluster: Any) -> None:
    path = str(births / "births-0.csv")
    assert run(cluster.scheduler_address, path=path) == run(path=path)


def test_synthetic_births_from_a_cluster(run: Run, cluster: Any) -> None:
    synthetic = {"kind": "synthetic", "rows": 150_000}
    assert run(cluster.scheduler_address, **synthetic) == run(**synthetic)


def test_a_bad_file_that_a_worker_reads_is_named(
    run: Run, births: Path, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (tmp_path / f"b-{number}.csv").write_text("weight_pounds,mother_age,plurality,gestation_weeks\n7,26,1,39\n")
    (tmp_path / "b-3.csv").write_text("weight_pounds,plurality\n")
    with pytest.raises(InputError, match=r"b-3\.csv:1: no column 'mother_age'"):
        run(cluster.scheduler_address, path=str(tmp_path / "b-*"))


@pytest.mark.parametrize("sees_files", [True, False])
def test_a_worker_that_is_killed_is_survived(
    run: Run, births: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch, sees_files: bool
) -> None:
    expected = run()
    on_cluster = workers.on_cluster
    victim = next(worker.pid for worker in cluster.workers.values())
    killed: list[int] = []

    def kill_after_the_first(*arguments: Any) -> Iterator[Any]:
        for result in on_cluster(*arguments):
            if not killed:
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
            yield result

    monkeypatch.setattr(workers, "on_cluster", kill_after_the_first)
    if not sees_files:
        monkeypatch.chdir(births)
    assert run(cluster.scheduler_address, path=str(births) if sees_files else "births-*") == expected
    assert killed


def test_a_cluster_whose_workers_are_gone_is_given_up(run: Run, params_file: Write, births: Path) -> None:
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=":0"
    ) as local:
        changes = {
            "babyweight.prepare.source.kind": "files",
            "babyweight.prepare.source.path": str(births),
            "babyweight.operation.dask.scheduler": local.scheduler_address,
            "babyweight.operation.dask.timeout": 2.0,
        }
        blocks = prepare.encoded(*_params(params_file(changes)))
        next(blocks)
        local.scale(0)
        with pytest.raises(InputError, match=r"no answer for 2 s; are its workers alive|KilledWorker"):
            list(blocks)


@pytest.mark.filterwarnings("error:Sending large graph")
def test_a_task_may_carry_a_whole_block(cluster: Any) -> None:
    tasks = [functools.partial(len, bytes(4 * csv_file.BLOCK_BYTES)) for _ in range(3)]
    results = workers.on_cluster(iter(tasks), [], [], cluster.scheduler_address, 30)
    assert list(results) == [4 * csv_file.BLOCK_BYTES] * 3


def test_a_cluster_that_is_not_there(tmp_path: Path, params_file: Write) -> None:
    changes = {"babyweight.operation.dask.scheduler": "tcp://127.0.0.1:9", "babyweight.operation.dask.timeout": 1.0}
    out = ("data/raw/babyweight", tmp_path / "out", tmp_path / "sample.csv", tmp_path / "prepare.json")
    done = run_stage("stages.babyweight.prepare", *out, "--params", params_file(changes))
    assert_refused(
        done, "babyweight.operation.dask.scheduler: tcp://127.0.0.1:9: expected a Dask scheduler with a worker"
    )
    assert not (tmp_path / "out").exists()


def test_a_cluster_without_workers(params_file: Write) -> None:
    with distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as empty:
        params = params_file(
            {"babyweight.operation.dask.scheduler": empty.scheduler_address, "babyweight.operation.dask.timeout": 1.0}
        )
        with pytest.raises(InputError, match="expected a Dask scheduler with a worker"):
            next(prepare.encoded(*_params(params)))


def test_threads_need_no_dask() -> None:
    code = "import sys, stages.babyweight.prepare; sys.exit('dask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
