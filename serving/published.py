"""The layout of published models, which is TensorFlow Serving's: `published/<model>/<version>/`.

Beside a model's versions lie `labels.json` (a version's number by label), `.number` (the highest number
ever given, so that a withdrawn version's is not given again) and `.lock`. TensorFlow Serving looks only at
folders whose name is a number.
"""

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core import files
from stages.core.errors import InputError

PUBLISHED = Path("published")
ROWS = Path("assets.extra/rows.json")
"""Of a version, as its check found: whether answers are `independent` of a call's other rows, and the `same_bytes`."""

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_., -]*[A-Za-z0-9_-])?")
_LABELS = "labels.json"
_NUMBER = ".number"


def check_name(name: str, what: str = "model") -> str:
    """Return a name that is fit to be a folder's and part of a URL.

    Raises:
        InputError: if it is not.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r}: expected a {what}'s name of letters, digits and ._-, with no dot or comma at its end"
        )
    return name


def local_folder(text: str) -> Path:
    """The folder that a command line names.

    Raises:
        InputError: if it is an address, since nothing there can be locked or renamed.
    """
    if "://" in text:
        raise InputError(f"{text}: expected a local folder; change that one, then copy it (`aws s3 sync --delete`)")
    return Path(text)


def models(published: Path) -> list[str]:
    """Names of the published models."""
    return sorted(path.name for path in published.glob("[!.]*") if path.is_dir())


def versions(model: Path) -> dict[int, Path]:
    """A model's versions by number, oldest first, each with its folder.

    The number may have leading zeros. Of two folders with the same number, the last by name counts.

    Raises:
        OSError: if the model's folder cannot be read.
    """
    paths = sorted(path for path in model.iterdir() if re.fullmatch(r"[0-9]{1,40}", path.name) and path.is_dir())
    numbered = [(int(path.name), path) for path in paths]
    return {number: path for number, path in sorted(numbered) if number < 2**63}


def labels(model: Path) -> dict[str, int]:
    """A model's labels, each with the number of the version that it stands for.

    Raises:
        InputError: if the file is damaged.
    """
    path = model / _LABELS
    if not path.exists():
        return {}
    found = files.read_json(path)
    if not isinstance(found, dict) or not all(type(number) is int for number in found.values()):
        raise InputError(f"{path}: expected a version's number by label, found {found!r}")
    return found


def write_labels(model: Path, numbers: dict[str, int]) -> None:
    """Replace a model's labels."""
    files.write_json(model / _LABELS, numbers)


def next_number(model: Path) -> int:
    """Take the number after the highest that was ever given to a version of a model."""
    path = model / _NUMBER
    given = int(path.read_text(encoding="utf-8")) if path.exists() else 0
    number = max([given, *versions(model)]) + 1
    files.write_text(path, f"{number}\n")
    return number


def withdraw(model: Path, number: int) -> None:
    """Remove a version: a reader sees all of it or nothing."""
    hidden = model / f".{number}.withdrawn"
    files.remove(hidden)
    versions(model)[number].rename(hidden)
    files.remove(hidden)


@contextmanager
def locked(model: Path) -> Iterator[None]:
    """Let one process at a time change a model's versions.

    Raises:
        InputError: if there is no such model.
    """
    if not model.is_dir():
        raise InputError(f"{model}: no such published model")
    with (model / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
