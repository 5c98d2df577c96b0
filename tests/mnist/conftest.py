"""Digits for tests: the real ones, and a few random ones with their checksums."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.core.params import FetchParams
from stages.mnist.params import Fetch
from stages.mnist.source.download import fetch
from stages.mnist.source.idx import FILES, Digits, pack
from stages.mnist.source.local import from_folder
from tests.conftest import ROOT


def checksums(digits: Digits) -> dict[str, str]:
    return {key: hashlib.md5(pack(values)).hexdigest() for key, values in digits.items()}


def idx_folder(digits: Digits, folder: Path, suffix: str = "", prefix: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for key, values in digits.items():
        raw = pack(values)
        path = folder / f"{prefix}{FILES[key]}{suffix}"
        path.write_bytes(gzip.compress(raw, 1, mtime=0) if suffix else raw)
    return folder


@pytest.fixture(scope="session")
def mnist() -> Digits:
    """MNIST, from wherever this machine can have it."""
    md5 = FetchParams[Fetch].read(ROOT / "params.yaml").fetch.md5.model_dump()
    fetched = ROOT / "data" / "fetched" / "mnist"
    return from_folder(fetched, md5) if fetched.is_dir() else fetch("auto", "none", md5, 60)


def random_digits() -> Digits:
    """Sixty training and twenty test images with labels 0 to 9."""
    random = np.random.default_rng(0)
    made = {}
    for split, count in (("train", 60), ("test", 20)):
        made[f"{split}_images"] = random.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        made[f"{split}_labels"] = (np.arange(count) % 10).astype(np.uint8)
    return made


@pytest.fixture(scope="session")
def digits() -> Digits:
    """The random digits."""
    return random_digits()


@pytest.fixture
def own_params(params_file: Callable[..., Path], digits: Digits) -> Callable[..., Path]:
    """Parameters with the random digits as a path of the user's, and further changes."""

    def write(path: Path | str, **changes: Any) -> Path:
        md5 = {f"mnist.fetch.md5.{key}": value for key, value in checksums(digits).items()}
        return params_file({"mnist.fetch.source": "path", "mnist.fetch.path": str(path), **md5, **changes})

    return write
