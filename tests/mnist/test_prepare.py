import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import InputError
from stages.core.files import digest, read_json
from stages.mnist.prepare import split
from stages.mnist.source.idx import FILES, Digits
from tests.conftest import ROOT, assert_refused, run_stage
from tests.mnist.conftest import idx_folder


def prepare(raw: Path, folder: Path, params: Path) -> "subprocess.CompletedProcess[str]":
    outputs = ("--sample", folder / "request.json", folder / "data", folder / "metrics.json")
    return run_stage("stages.mnist.prepare", "--raw", raw, *outputs, "--params", params)


def test_the_prepared_digits_are_all_of_mnist(mnist: Digits, tmp_path: Path, params_file: Callable[..., Path]) -> None:
    done = prepare(idx_folder(mnist, tmp_path / "raw"), tmp_path, params_file())
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "metrics.json") == {
        "train_images": 58000,
        "validation_images": 2000,
        "test_images": 10000,
    }
    parts = [np.load(tmp_path / "data" / part / "images.npy") for part in ("train", "validation")]
    together = np.concatenate(parts)
    assert sorted(map(bytes, together)) == sorted(map(bytes, mnist["train_images"].reshape(60000, 784)))
    (instances,) = json.loads((tmp_path / "request.json").read_text()).values()
    assert np.allclose(instances, mnist["test_images"][:10].reshape(10, 784) / 255, atol=1e-6)
    expected = read_json(ROOT / "data/requests/expected/mnist.json")
    assert expected["applies_to"] == {"request": [digest(tmp_path / "request.json")]}
    assert expected["classes"]["values"] == mnist["test_labels"][:10].tolist()


def test_the_seed_chooses_the_validation_images(digits: Digits) -> None:
    one, same, other = (split(digits, 20, seed)["validation"] for seed in (1, 1, 2))
    assert (one[0] == same[0]).all()
    assert (one[0] != other[0]).any()
    for images, labels in (one, other):
        rows = [np.flatnonzero((digits["train_images"].reshape(60, -1) == image).all(axis=1))[0] for image in images]
        assert (digits["train_labels"][rows] == labels).all()


def test_images_are_transposed(digits: Digits, tmp_path: Path, params_file: Callable[..., Path]) -> None:
    changes = {"mnist.prepare.validation_images": 20}
    transposed = {key: values.swapaxes(1, 2) if values.ndim == 3 else values for key, values in digits.items()}
    results = []
    for name, raw, transpose in (("a", digits, False), ("b", transposed, True)):
        (tmp_path / name).mkdir()
        params = params_file(changes | {"mnist.prepare.transpose": transpose})
        done = prepare(idx_folder(raw, tmp_path / name / "raw"), tmp_path / name, params)
        assert done.returncode == 0, done.stderr
        results.append((digest(tmp_path / name / "data"), digest(tmp_path / name / "request.json")))
    assert results[0] == results[1]


def test_digits_that_leave_nothing_to_learn_are_refused(digits: Digits) -> None:
    with pytest.raises(InputError, match=r"validation_images: 60: expected fewer than the 60 to train on"):
        split(digits, 60, 1)
    unknown = digits | {"test_labels": digits["test_labels"] + np.uint8(5)}
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte: expected the training images' labels, found \[10, "):
        split(unknown, 20, 1)


def test_nothing_is_written_if_a_file_is_damaged(
    digits: Digits, tmp_path: Path, params_file: Callable[..., Path]
) -> None:
    raw = idx_folder(digits, tmp_path / "raw")
    (raw / FILES["train_labels"]).write_bytes(b"damaged")
    done = prepare(raw, tmp_path, params_file({"mnist.prepare.validation_images": 20}))
    assert_refused(done, FILES["train_labels"], "expected an IDX file")
    assert not any((tmp_path / name).exists() for name in ("data", "request.json", "metrics.json"))
