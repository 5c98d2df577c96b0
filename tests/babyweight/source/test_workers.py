"""Births encoded by a real Dask cluster of processes on this machine."""

import functools
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from tests.ports import free_port

Write = Callable[..., Path]
Run = Callable[..., tuple[str, str]]
ROWS = 60_000
DASK = Path(sys.executable).with_name("dask")
BLOCK = 200_000  # bytes: some twenty blocks


@pytest.fixture(scope="module")
def births(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four shards, some rows of them bad; the first alone has a header."""
    folder = tmp_path_factory.mktemp("raw")
    lines = next(Generator(read_facts(FACTS), 2017).blocks(ROWS)).to_csv(index=False).splitlines()
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


def _params(path: Path) -> tuple[str, PrepareParams[Prepare], Path, Dask]:
    params, dask = PrepareParams[Prepare].read(path), OperationParams[Operation].read(path).operation.dask
    return params.prepare.source.path, params, FACTS, dask


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
    assert run(cluster.scheduler_address, block_bytes, path=".", pattern="births-*") == expected


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
        run(cluster.scheduler_address, path=str(tmp_path), pattern="b-*")


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
    assert run(cluster.scheduler_address, path=str(births) if sees_files else ".") == expected
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
    outputs = ("--sample", tmp_path / "sample.csv", tmp_path / "out", tmp_path / "prepare.json")
    done = run_stage("stages.babyweight.prepare", "--raw", "none", *outputs, "--params", params_file(changes))
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


@contextmanager
def by_commands(
    folders: Sequence[Path], protocol: str = "tcp", security: Any = None, **environment: str
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address and processes of a cluster that the documented commands start, with a worker in each folder."""
    port = free_port()
    address = f"{protocol}://127.0.0.1:{port}"

    def start(folder: Path, *command: str) -> "subprocess.Popen[bytes]":
        quiet = subprocess.DEVNULL
        return subprocess.Popen([DASK, *command], cwd=folder, stdout=quiet, stderr=quiet, env=os.environ | environment)

    options = ["--protocol", protocol] if protocol != "tcp" else []
    options += ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    processes = [start(ROOT, "scheduler", *options)]
    try:
        for folder in folders:
            processes.append(start(folder, "worker", address, "--no-dashboard", "--nthreads", "1"))
        with distributed.Client(address, timeout=60, set_as_default=False, security=security) as client:
            client.wait_for_workers(len(folders), 60)
        yield address, processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def test_the_documented_commands(run: Run, births: Path) -> None:
    text = (ROOT / "data/raw/babyweight/README.md").read_text()
    assert "dask scheduler --host 192.0.2.1" in text and "dask worker tcp://192.0.2.1:8786" in text
    with by_commands([ROOT]) as (address, _):
        assert run(address) == run()
        one = str(births / "births-0.csv")
        assert run(address, path=one) == run(path=one)


def test_a_worker_with_other_code_is_named(run: Run, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "stages", tmp_path / "other/stages", ignore=shutil.ignore_patterns("__pycache__"))
    changed = tmp_path / "other/stages/babyweight/source/births.py"
    changed.write_text(changed.read_text().replace("return (0.0 if flaw else pounds), flaw", "return pounds / 2, flaw"))
    with (
        by_commands([ROOT, tmp_path / "other"]) as (address, _),
        pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:\d+: expected this machine's code, and its versions"),
    ):
        run(address)


def test_a_worker_in_another_folder_is_named(run: Run, tmp_path: Path) -> None:
    with (
        by_commands([tmp_path]) as (address, _),
        pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:\d+: expected this project's code; start workers in its"),
    ):
        run(address)


def test_other_code_of_a_worker_that_comes_later_is_found() -> None:
    with (
        pytest.raises(InputError, match="expected this machine's code"),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=":0"
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        client.submit(workers.run_checked, "other", functools.partial(len, b"")).result(30)


def test_a_scheduler_that_dies_ends_in_one_line(
    run: Run, births: Path, params_file: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    with by_commands([ROOT]) as (address, (scheduler, _)):
        changes = {
            "babyweight.prepare.source.kind": "files",
            "babyweight.prepare.source.path": str(births),
            "babyweight.operation.dask.scheduler": address,
            "babyweight.operation.dask.timeout": 2.0,
        }
        capfd.readouterr()
        blocks = prepare.encoded(*_params(params_file(changes)))
        next(blocks)
        scheduler.kill()
        with pytest.raises(InputError, match=r"babyweight\.operation\.dask\.scheduler: tcp://") as error:
            list(blocks)
        assert "\n" not in str(error.value) and "Traceback" not in capfd.readouterr().err


def test_workers_that_do_not_see_the_files_are_told_of(
    run: Run, births: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(births)
    run(cluster.scheduler_address, path=".", pattern="births-*")
    assert "does not see births-0.csv as this machine does (FileNotFoundError: " in capfd.readouterr().err


def authority(folder: Path) -> dict[str, str]:
    """The variables that the documentation names, with certificates of a new authority."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command here")
    folder.mkdir()
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for command in (
        ["req", "-x509", *key, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"],
        ["req", *key, "-subj", "/CN=host", "-keyout", "host.key", "-out", "host.csr"],
        [
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            "host.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            "host.pem",
        ],
    ):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    text = (ROOT / "data/raw/babyweight/README.md").read_text()
    named = dict(re.findall(r"(DASK_DISTRIBUTED__COMM\w+)=(\S+)", text))
    assert len(named) == 4 and "so are the next two for SCHEDULER and WORKER" in text
    assert "dask scheduler --protocol tls --host 192.0.2.1\ndask worker tls://192.0.2.1:8786" in text
    values = {name: str(folder / value) if "." in value else value for name, value in named.items()}
    return values | {
        name.replace("CLIENT", of): value
        for name, value in values.items()
        if "CLIENT" in name
        for of in ("SCHEDULER", "WORKER")
    }


@pytest.mark.slow
def test_the_documented_certificates(tmp_path: Path, births: Path, params_file: Write) -> None:
    """In processes of their own: with a certificate of the common authority, and with one of another."""
    ours, other = authority(tmp_path / "ours"), authority(tmp_path / "other")
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    security = distributed.Security(
        tls_ca_file=ours[f"{prefix}CA_FILE"],
        tls_client_cert=ours[f"{prefix}CLIENT__CERT"],
        tls_client_key=ours[f"{prefix}CLIENT__KEY"],
        require_encryption=True,
    )

    def prepared(name: str, scheduler: str | None, **environment: str) -> subprocess.CompletedProcess[str]:
        source = {"babyweight.prepare.source.kind": "files", "babyweight.prepare.source.path": str(births)}
        dask = {"babyweight.operation.dask.scheduler": scheduler, "babyweight.operation.dask.timeout": 20.0}
        command = [sys.executable, "-m", "stages.babyweight.prepare", "--params", str(params_file(source | dask))]
        command += ["--raw", str(births), "--sample", str(tmp_path / f"{name}.csv")]
        command += [str(tmp_path / name), str(tmp_path / f"{name}.json")]
        variables = os.environ | environment
        return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)

    assert prepared("threads", None).returncode == 0
    with by_commands([ROOT], "tls", security, **ours) as (address, _):
        done = prepared("cluster", address, **ours)
        assert done.returncode == 0, done.stderr
        assert digest(tmp_path / "cluster") == digest(tmp_path / "threads")
        assert_refused(prepared("stranger", address, **other), address)
        assert_refused(prepared("plain", address.replace("tls", "tcp")), "expected a Dask scheduler")
    assert not (tmp_path / "stranger").exists() and not (tmp_path / "plain").exists()


def test_tls_without_certificates(params_file: Write, births: Path) -> None:
    changes = {"babyweight.operation.dask.scheduler": "tls://127.0.0.1:9", "babyweight.operation.dask.timeout": 1.0}
    with pytest.raises(InputError, match=r"tls://127\.0\.0\.1:9: expected certificates in DASK_DISTRIBUTED__COMM__TLS"):
        next(prepare.encoded(*_params(params_file(changes))))
