"""Births encoded by a real Dask cluster of processes on this machine."""

import functools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest

from stages.babyweight import prepare
from stages.babyweight.params import PrepareParams
from stages.babyweight.prepare import write_splits
from stages.babyweight.source import csvfiles, workers
from stages.babyweight.source.births import FACTS
from stages.babyweight.source.synthetic import Generator, read_facts
from stages.core.errors import InputError
from stages.core.files import digest
from tests.conftest import ROOT, assert_refused, run_stage

Write = Callable[..., Path]
ROWS = 60_000
BLOCK = 200_000  # bytes: some twenty blocks


@pytest.fixture(scope="module")
def births(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "births.csv"
    frame = next(Generator(read_facts(ROOT / FACTS), 2017).blocks(ROWS))
    text = frame.to_csv(index=False).splitlines()
    text[100::9000] = ["7.5,True,26"] * len(text[100::9000])
    path.write_text("\n".join(text))
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=":0"
    ) as local:
        yield local


@pytest.fixture
def run(tmp_path: Path, births: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """Prepare the births in small blocks; a digest of the arrays, and counts and sample as text."""
    params = PrepareParams.read(ROOT / "params.yaml")

    def run(scheduler: str | None = None, block_bytes: int = BLOCK, **source: Any) -> tuple[str, str]:
        changes = {
            "source": params.prepare.source.model_copy(update={"kind": "csv", "path": str(births), **source}),
            "dask": params.prepare.dask.model_copy(update={"scheduler": scheduler}),
        }
        chosen = params.model_copy(update={"prepare": params.prepare.model_copy(update=changes)})
        folder = tmp_path / str(time.monotonic_ns())
        folder.mkdir()
        whole = csvfiles.read
        with monkeypatch.context() as patch:
            patch.setattr(csvfiles, "read", lambda file: whole(file, block_bytes))
            tally, sample = write_splits(folder, chosen, ROOT / FACTS)
        return digest(folder), json.dumps(tally.metrics("csv")) + str(sample)

    return run


def test_the_same_bytes_whatever_the_workers_and_the_blocks(
    run: Callable[..., Any], cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(block_bytes=1 << 30)
    for threads in (1, 3):
        with monkeypatch.context() as patch:
            patch.setattr(os, "cpu_count", lambda threads=threads: threads)
            assert run() == expected, f"{threads} threads"
    assert run(cluster.scheduler_address) == expected
    assert run(cluster.scheduler_address, BLOCK * 3) == expected


def test_synthetic_births_from_a_cluster(run: Callable[..., Any], cluster: Any) -> None:
    synthetic = {"kind": "synthetic", "rows": 150_000}
    assert run(cluster.scheduler_address, **synthetic) == run(**synthetic)


def test_a_worker_that_is_killed_is_survived(
    run: Callable[..., Any], cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run()
    victims = [worker.pid for worker in cluster.workers.values()]
    results = workers.on_cluster
    killed: list[int] = []

    def kill_after_three(*arguments: Any) -> Iterator[Any]:
        for number, result in enumerate(results(*arguments)):
            if number == 2:
                os.kill(victims[0], signal.SIGKILL)
                killed.append(victims[0])
            yield result

    monkeypatch.setattr(workers, "on_cluster", kill_after_three)
    assert run(cluster.scheduler_address) == expected
    assert killed, "the worker died in the middle"


@pytest.mark.filterwarnings("error:Sending large graph")
def test_a_task_may_carry_a_whole_block(cluster: Any) -> None:
    work = [functools.partial(len, bytes(csvfiles.BLOCK_BYTES)) for _ in range(3)]
    assert list(workers.on_cluster(iter(work), cluster.scheduler_address, 30)) == [csvfiles.BLOCK_BYTES] * 3


def test_a_cluster_that_is_not_there(tmp_path: Path, params_file: Write) -> None:
    changes = {"babyweight.prepare.dask.scheduler": "tcp://127.0.0.1:9", "babyweight.prepare.dask.timeout": 1.0}
    out = (tmp_path / "out", tmp_path / "sample.csv", tmp_path / "prepare.json")
    done = run_stage("stages.babyweight.prepare", *out, "--params", params_file(changes))
    assert_refused(
        done, "babyweight.prepare.dask.scheduler: tcp://127.0.0.1:9: expected a Dask scheduler with a worker"
    )
    assert not (tmp_path / "out").exists()


def test_a_cluster_without_workers(params_file: Write) -> None:
    with distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as empty:
        params = params_file(
            {"babyweight.prepare.dask.scheduler": empty.scheduler_address, "babyweight.prepare.dask.timeout": 1.0}
        )
        with pytest.raises(InputError, match="expected a Dask scheduler with a worker"):
            next(prepare.encoded(PrepareParams.read(params), ROOT / FACTS))
