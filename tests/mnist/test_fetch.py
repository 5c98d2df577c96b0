import functools
import http.server
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from stages.core.files import digest
from stages.mnist.source.idx import FILES, Digits
from tests.conftest import assert_refused, run_stage
from tests.mnist.conftest import idx_folder
from tests.mnist.source.test_local import npz
from tests.s3 import running


def fetch(output: Path, params: Path, **environment: Any) -> "subprocess.CompletedProcess[str]":
    raw = yaml.safe_load(params.read_text())["mnist"]["fetch"]["path"]
    return run_stage("stages.mnist.fetch", "--raw", raw, output, "--params", params, **environment)


def test_the_files_are_written_uncompressed_under_mnists_names(
    digits: Digits, tmp_path: Path, own_params: Callable[..., Path]
) -> None:
    params = own_params(idx_folder(digits, tmp_path / "gz", ".gz", "emnist-digits-"))
    done = fetch(tmp_path / "fetched", params)
    assert done.returncode == 0, done.stderr
    assert "mnist: fetched from path" in done.stderr
    assert sorted(path.name for path in (tmp_path / "fetched").iterdir()) == sorted(FILES.values())
    assert digest(tmp_path / "fetched") == digest(idx_folder(digits, tmp_path / "plain"))


def test_an_earlier_output_is_kept_if_its_bytes_are_right(
    digits: Digits, tmp_path: Path, own_params: Callable[..., Path]
) -> None:
    fetched = idx_folder(digits, tmp_path / "fetched")
    command = (fetched, own_params(tmp_path / "none"))
    done = fetch(*command)
    assert done.returncode == 0, done.stderr
    assert "fetched from" not in done.stderr
    (fetched / FILES["test_labels"]).write_bytes(b"damaged")
    assert_refused(fetch(*command), "none: no such file or folder (mnist.fetch.path)")


def test_nothing_is_written_if_a_file_is_damaged(
    digits: Digits, tmp_path: Path, own_params: Callable[..., Path]
) -> None:
    folder = idx_folder(digits, tmp_path / "idx")
    (folder / FILES["test_labels"]).write_bytes(b"damaged")
    done = fetch(tmp_path / "fetched", own_params(folder))
    assert_refused(done, FILES["test_labels"], "expected an IDX file")
    assert not (tmp_path / "fetched").exists()


def test_a_pattern_chooses_in_a_folder(digits: Digits, tmp_path: Path, own_params: Callable[..., Path]) -> None:
    folder = idx_folder(digits, tmp_path / "idx", ".gz", "mine-")
    for name in FILES.values():
        (folder / f"other-{name}").write_bytes(b"no IDX file")
    output = tmp_path / "fetched"
    assert_refused(fetch(output, own_params(folder, **{"mnist.fetch.pattern": "other-*"})), "other-", "IDX file")
    done = fetch(output, own_params(folder, **{"mnist.fetch.pattern": "mine-*"}))
    assert done.returncode == 0, done.stderr
    assert digest(output) == digest(idx_folder(digits, tmp_path / "plain"))


def test_an_archive_of_a_web_server(digits: Digits, tmp_path: Path, own_params: Callable[..., Path]) -> None:
    (tmp_path / "served").mkdir()
    npz(digits, tmp_path / "served" / "own.npz")
    (tmp_path / "served" / "bad.npz").write_bytes(b"damaged")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address, output = f"http://127.0.0.1:{server.server_port}", tmp_path / "fetched"
        assert_refused(fetch(output, own_params(f"{address}/none.npz")), f"{address}/none.npz: cannot be read:")
        assert_refused(fetch(output, own_params(f"{address}/bad.npz")), f"{address}/bad.npz: expected a zip archive")
        done = fetch(output, own_params(f"{address}/own.npz"))
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert digest(output) == digest(idx_folder(digits, tmp_path / "plain"))


def test_a_folder_and_an_archive_of_s3(digits: Digits, tmp_path: Path, own_params: Callable[..., Path]) -> None:
    folder = idx_folder(digits, tmp_path / "idx", ".gz")
    npz(digits, folder / "own.npz")
    with running() as storage:
        storage.put_folder(folder, "digits/raw")
        for number, address in enumerate(("s3://digits/raw", "s3://digits/raw/", "s3://digits/raw/own.npz")):
            done = fetch(tmp_path / f"fetched-{number}", own_params(address), **storage.environment)
            assert done.returncode == 0, done.stderr
            assert digest(tmp_path / f"fetched-{number}") == digest(idx_folder(digits, tmp_path / "plain"))
        done = fetch(tmp_path / "fetched", own_params("s3://digits/none"), **storage.environment)
        assert_refused(done, "mnist.fetch.path: s3://digits/none: cannot be read:")
