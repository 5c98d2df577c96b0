"""Checkpoints that a killed run resumes from to the same bytes.

A checkpoint is one `.npz` file of everything that changes while training, written whole under the number
of its global step. Zip's CRC-32 tells a damaged one. They lie outside DVC's outputs, in a folder named by a
digest of all that the result depends on, so that a run never picks up another run's.
"""

import copy
import fcntl
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from stages.core import files

FOLDER = Path(".checkpoints")
_NOTES = "notes.json"

Arrays = dict[str, npt.NDArray[Any]]


def run_digest(provenance: Mapping[str, Any], irrelevant: tuple[str, ...]) -> str:
    """Digest that names a run, of its provenance.

    Args:
        provenance: what `provenance.describe` returns.
        irrelevant: keys below `parameters` (dotted below a section: `mnist.train.keep`) that do not change
            the result at any step.
    """
    known = copy.deepcopy(dict(provenance))
    for name in irrelevant:
        *sections, key = name.split(".")
        section = known["parameters"]
        for part in sections:
            section = section[part]
        del section[key]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


class Checkpoints:
    """The checkpoints of one run; at most one process at a time trains a workload.

    Args:
        workload: the workload's name.
        run: the run's digest.
        keep: how many of the newest to keep.
        folder: where the runs' folders lie.
    """

    def __init__(self, workload: str, run: str, keep: int, folder: Path = FOLDER) -> None:
        self.folder = folder / f"{workload}-{run}"
        self.keep = keep
        self._lock_path = folder / f"{workload}.lock"

    def __enter__(self) -> Self:
        """Wait until no other process trains this workload: a killed `dvc` leaves its stage running."""
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._lock_path.open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting: another process holds {self._lock_path}", file=sys.stderr)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def _steps(self) -> list[int]:
        found = (re.fullmatch(r"step-(\d+)\.npz", path.name) for path in self.folder.glob("step-*.npz"))
        return sorted(int(match[1]) for match in found if match)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step}.npz"

    def save(self, step: int, arrays: Mapping[str, npt.NDArray[Any]], notes: Any) -> None:
        """Write the state at a global step, then drop what is older than the newest `keep`.

        Args:
            step: the global step.
            arrays: what changes, by name.
            notes: what changes and is JSON: a metric history, a generator's state.

        Raises:
            OSError: if it cannot be written; earlier checkpoints stay.
        """
        with files.whole_file(self._path(step)) as temporary, temporary.open("wb") as file:
            entries: dict[str, Any] = {_NOTES: np.frombuffer(json.dumps(notes).encode(), np.uint8), **arrays}
            np.savez(file, **entries)
        for old in self._steps()[: -self.keep]:
            self._path(old).unlink()

    def latest(self, at_most: int) -> tuple[int, Arrays, Any] | None:
        """The newest readable checkpoint at or before a step: its step, arrays and notes.

        One that cannot be read is skipped with a warning, in favour of the one before.
        """
        for step in reversed([s for s in self._steps() if s <= at_most]):
            try:
                with np.load(self._path(step), allow_pickle=False) as state:
                    arrays = {name: state[name] for name in state.files}
                return step, arrays, json.loads(arrays.pop(_NOTES).tobytes())
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                print(f"warning: {self._path(step)}: unreadable, skipped: {error}", file=sys.stderr)
        return None

    def clear(self) -> None:
        """Remove the run's folder: its result is on disk."""
        files.remove(self.folder)


def _finished(workload: str) -> Path:
    return FOLDER / f"{workload}.json"


def note_finished(workload: str, provenance: Mapping[str, Any]) -> None:
    """Remember what the last finished run of a workload depended on."""
    files.write_json(_finished(workload), provenance)


def explain_start(workload: str, provenance: Mapping[str, Any]) -> None:
    """Say why a run starts over that differs from the last finished one in its number of steps alone."""
    try:
        last = json.loads(_finished(workload).read_text())
        last["parameters"][workload]["train"]["steps"] = provenance["parameters"][workload]["train"]["steps"]
    except (OSError, ValueError, KeyError):
        return
    if last == provenance:
        print(
            f"starting over: with {workload}.train.schedule one_cycle every step's rate depends on "
            f"{workload}.train.steps (constant would go on)",
            file=sys.stderr,
        )
