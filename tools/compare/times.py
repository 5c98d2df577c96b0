"""How long the stages of a state took on this machine, and how much memory they needed."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stages import times
from tools.compare.snapshot import Snapshot, git


@dataclass(frozen=True)
class StageTime:
    """How long a stage took, in seconds, the most memory it had, in bytes, when it began, and what to mind."""

    seconds: float
    peak_bytes: int
    started: float
    notes: tuple[str, ...] = ()

    @property
    def time(self) -> str:
        """The time with its unit."""
        return duration(self.seconds)

    @property
    def memory(self) -> str:
        """The memory with its unit."""
        return f"{self.peak_bytes / 1e6:,.0f}\N{NO-BREAK SPACE}MB"


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    if round(seconds, 1) < 100:
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}:{minutes:02}:{rest:02}\N{NO-BREAK SPACE}h" if hours else f"{minutes}:{rest:02}\N{NO-BREAK SPACE}min"
    )


def blobs(snapshot: Snapshot) -> Callable[[str], str | None]:
    """Finds the name that Git gives a file's contents, by its path; None if there is no such file."""
    if snapshot.commit is None:
        return lambda path: times.blob(file.read_bytes()) if (file := snapshot.root / path).is_file() else None
    lines = git(snapshot.root, "ls-tree", "-r", "-z", snapshot.commit).split("\0")
    found = {name: head.split()[2] for head, _, name in (line.partition("\t") for line in lines) if name}
    return found.get


def is_of(record: dict[str, Any], locked: dict[str, Any], blob: Callable[[str], str | None]) -> bool:
    """Whether a record is of a locked stage: it has its command, its outputs and the code that it depends on."""
    deps = [dep["path"] for dep in locked.get("deps", [])]
    outs = {out["path"]: out["md5"] for out in locked.get("outs", [])}
    code = {
        path: name
        for path, name in record["code"].items()
        if any(path == dep or path.startswith(f"{dep}/") for dep in deps)
    }
    return (
        shlex.split(locked["cmd"]) == record["command"]
        and outs.items() <= record["outputs"].items()
        and all(blob(path) == name for path, name in code.items())
    )


def known(snapshot: Snapshot) -> dict[str, StageTime]:
    """The times of the runs that made a state's outputs, by stage; of several such runs, the last one's."""
    found: dict[str, StageTime] = {}
    blob: Callable[[str], str | None] | None = None
    for path in sorted((snapshot.root / times.FOLDER).glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            name = record["stage"].replace("-", "@")
            time = StageTime(record["seconds"], record["peak_bytes"], record["started"], tuple(record["notes"]))
            if name not in snapshot.lock or (name in found and found[name].started > time.started):
                continue
            blob = blob or blobs(snapshot)
            if is_of(record, snapshot.lock[name], blob):
                found[name] = time
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged, or of another version
            continue
    return found


@dataclass(frozen=True)
class TimeChange:
    """A stage whose runs in both states are known, and are not the same run."""

    stage: str
    before: StageTime
    after: StageTime

    @property
    def cells(self) -> tuple[str, ...]:
        """Its cells under `HEADER`."""
        notes = [f"{side}: {words}" for side, time in (("A", self.before), ("B", self.after)) for words in time.notes]
        ratios = [
            f"{new / old:.2f}" if old else ""
            for old, new in (
                (self.before.seconds, self.after.seconds),
                (self.before.peak_bytes, self.after.peak_bytes),
            )
        ]
        return (
            self.stage, self.before.time, self.after.time, ratios[0], self.before.memory, self.after.memory, ratios[1],
            "; ".join(notes),
        )  # fmt: skip


HEADER = ("stage", "time, A", "B", "B / A", "most memory, A", "B", "B / A", "note")
MEANING = (
    "Single runs on this machine: whatever else it did counts. A stage that both states share, or that DVC took from "
    "its cache, did not run again and is left out, as is one that did not run here."
)


def time_changes(a: Snapshot, b: Snapshot) -> list[TimeChange]:
    """The stages that ran anew between two states, where this machine knows the times of both runs."""
    before, after = known(a), known(b)
    return [
        TimeChange(name, before[name], after[name])
        for name in b.in_order(b.lock)
        if name in before and name in after and before[name] != after[name]
    ]
