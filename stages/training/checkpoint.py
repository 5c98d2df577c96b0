"""Checkpoints from which a killed run resumes to the same bytes.

A checkpoint is one `.npz` file with everything that changes while training, named by its global step and written
atomically. Zip's CRC-32 detects a damaged one. Checkpoints are not DVC outputs: they lie in a folder named by a digest
of everything the result depends on, so a run never resumes from another run's checkpoint.
"""

import copy
import fcntl
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from stages.core import files

FOLDER = Path(".checkpoints")
_NOTES = "notes.json"

Arrays = dict[str, npt.NDArray[Any]]


def run_digest(provenance: Mapping[str, Any], workload: str, irrelevant: Iterable[str]) -> str:
    """Digest of a run's provenance, which names the run.

    Args:
        provenance: what `collect_provenance` returns.
        workload: the workload's name.
        irrelevant: keys of its section `train`, such as `max_to_keep`, that do not change the result at any step.
    """
    relevant = copy.deepcopy(dict(provenance))
    for key in irrelevant:
        del relevant["parameters"][workload]["train"][key]
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]


class Checkpoints:
    """The checkpoints of one run. As a context, a lock: one process at a time trains a workload.

    Args:
        workload: the workload's name.
        run: the run's digest.
        max_to_keep: number of checkpoints to keep.
        folder: parent of the runs' folders.
    """

    def __init__(self, workload: str, run: str, max_to_keep: int, folder: Path = FOLDER) -> None:
        self.folder = folder / f"{workload}-{run}"
        self.max_to_keep = max_to_keep
        self._lock_path = folder / f"{workload}.lock"

    def __enter__(self) -> Self:
        """Wait until no other process trains this workload; a killed `dvc` leaves its stage running."""
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
        numbers = (path.stem.removeprefix("step-") for path in self.folder.glob("step-*.npz"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step}.npz"

    def save(self, step: int, arrays: Mapping[str, npt.NDArray[Any]], notes: Any) -> None:
        """Write the state at a global step, then remove all but the newest `max_to_keep` checkpoints.

        The state is arrays by name, and notes in JSON values, such as the learning curve.

        Raises:
            OSError: if the checkpoint cannot be written; earlier ones stay.
        """
        with files.whole_file(self._path(step)) as temporary, temporary.open("wb") as file:
            entries: dict[str, Any] = {_NOTES: np.frombuffer(json.dumps(notes).encode(), np.uint8), **arrays}
            np.savez(file, **entries)
        for old in self._steps()[: -self.max_to_keep]:
            self._path(old).unlink()

    def latest(self, at_most: int) -> tuple[int, Arrays, Any] | None:
        """Read the newest checkpoint at or before a step: its step, arrays and notes.

        A checkpoint that cannot be read is skipped with a warning.
        """
        for step in reversed([s for s in self._steps() if s <= at_most]):
            try:
                # NumPy leaves a damaged file open that it opened itself.
                with self._path(step).open("rb") as file, np.load(file, allow_pickle=False) as state:
                    arrays = {name: state[name] for name in state.files}
                return step, arrays, json.loads(arrays.pop(_NOTES).tobytes())
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                print(f"warning: {self._path(step)}: unreadable, skipped: {error}", file=sys.stderr)
        return None

    def clear(self) -> None:
        """Remove the run's checkpoints, once its result is on disk."""
        files.remove(self.folder)


def _identity(workload: str, provenance: Mapping[str, Any]) -> list[str]:
    """A run's digest without its number of steps, and with it."""
    return [run_digest(provenance, workload, irrelevant) for irrelevant in (["steps"], [])]


def note_finished(workload: str, provenance: Mapping[str, Any]) -> None:
    """Record which run of a workload finished last, for `explain_start`."""
    files.write_text(FOLDER / f"{workload}.finished", " ".join(_identity(workload, provenance)))


def explain_start(workload: str, provenance: Mapping[str, Any]) -> None:
    """If only the number of steps differs from the last finished run, say why this run starts over."""
    finished = FOLDER / f"{workload}.finished"
    last = finished.read_text(encoding="utf-8", errors="replace").split() if finished.exists() else []
    this = _identity(workload, provenance)
    if last != this and last[:1] == this[:1]:
        print(
            f"starting over: with {workload}.train.schedule one_cycle, every learning rate depends on "
            f"{workload}.train.steps (with constant, the run would be extended)",
            file=sys.stderr,
        )
