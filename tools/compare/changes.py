"""What changed between two states, which stages ran because of it, and what that did to the metrics."""

import csv
import hashlib
import math
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from stages import workloads
from tools.compare.snapshot import FORMER, Snapshot, git, read_params

SEEDS = Path("benchmarks/results/seeds.csv")
WORDS = {"better": "better", "worse": "worse", "noise": "within seed noise", "same": "equal", "other": "not judged"}


@dataclass(frozen=True)
class ParamChange:
    """A parameter that changed, moved, came or went. A side without it has no key."""

    before_key: str | None
    after_key: str | None
    before: Any
    after: Any

    @property
    def moved_only(self) -> bool:
        """Whether only the key changed."""
        return self.before_key is not None and self.after_key is not None and self.before == self.after

    @property
    def key(self) -> str:
        """The present key, or the former one."""
        return self.after_key or self.before_key or ""

    @property
    def values(self) -> tuple[Any, Any]:
        """Both values; "absent" where there is no such key."""
        return (
            "absent" if self.before_key is None else self.before,
            "absent" if self.after_key is None else self.after,
        )

    @property
    def note(self) -> str:
        """The former key, if there is another now."""
        moved = self.before_key and self.after_key and self.before_key != self.after_key
        return f"was {self.before_key}" if moved else ""


def moves(before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    """Former key of each new key: moved to another section, or renamed.

    A key moved if its top section and last word are the same and so is its value, or one path holds all words of the
    other; it was renamed if it alone of a top section's old and new keys has its value.
    """
    gone, new = ([key for key in keys if key not in others] for keys, others in ((before, after), (after, before)))
    found: dict[str, str] = {}
    for key in new:
        words = key.split(".")
        like = [
            old
            for old in gone
            if (old.split(".")[0], old.split(".")[-1]) == (words[0], words[-1])
            and (before[old] == after[key] or set(old.split(".")) <= set(words) or set(words) <= set(old.split(".")))
        ]
        if like:
            found[key] = max(like, key=lambda old: SequenceMatcher(None, old, key).ratio())
            gone.remove(found[key])
    rest = [key for key in new if key not in found]
    for key in rest:
        mine = [k for k in rest if (k.split(".")[0], after[k]) == (key.split(".")[0], after[key])]
        theirs = [old for old in gone if (old.split(".")[0], before[old]) == (key.split(".")[0], after[key])]
        if len(mine) == len(theirs) == 1:
            found[key] = theirs[0]
    return found


def param_changes(a: Snapshot, b: Snapshot) -> list[ParamChange]:
    """The parameters that differ, in the order of the later file."""
    former = moves(a.params, b.params)
    changes = [
        ParamChange(old if old in a.params else None, key, a.params.get(old), value)
        for key, value in b.params.items()
        for old in [former.get(key, key)]
        if old != key or old not in a.params or a.params[old] != value
    ]
    gone = set(a.params) - set(b.params) - set(former.values())
    return changes + [ParamChange(key, None, a.params[key], None) for key in a.params if key in gone]


def follows(reason: str) -> bool:
    """Whether a reason among the data is another stage's output."""
    return ", from " in reason or reason.endswith("(newly named)")


@dataclass(frozen=True)
class StageChange:
    """A stage that ran anew, came or went: why, by kind of cause, and which of its outputs have other bytes."""

    name: str
    reasons: dict[str, list[str]]
    changed_outputs: list[str]

    @property
    def cause(self) -> str:
        """The kinds of its causes in a few words."""
        given = not all(map(follows, self.reasons.get("data", [])))
        kinds = [kind for kind in sorted(self.reasons) if kind != "data" or given]
        return ", ".join(kinds) or "other stages' outputs"

    @property
    def without_outputs(self) -> str:
        """What to say of a stage without changed outputs."""
        return "" if self.reasons.keys() & {"new", "gone"} else "same bytes"


class Causes:
    """Explains why stages ran: from two locks, and from the files that Git says changed between them."""

    def __init__(self, a: Snapshot, b: Snapshot) -> None:
        self.a, self.b = a, b
        revisions = [r for r in (a.commit, b.commit) if r]
        self.files = git(a.root, "diff", "--no-renames", "--name-only", *revisions).splitlines() if revisions else []
        self.former = moves(a.params, b.params)

    def packages(self) -> list[str]:
        """Packages whose versions differ, and how many came and went."""
        before, after = self.a.packages, self.b.packages
        both = sorted(name for name in before if after.get(name, before[name]) != before[name])
        texts = [f"{name} {before[name]} → {after[name]}" for name in both]
        counts = {"new": len(after.keys() - before.keys()), "gone": len(before.keys() - after.keys())}
        return texts + [f"{count} {word}" for word, count in counts.items() if count]

    def _made_by(self, path: str) -> str | None:
        """The stage that makes a path, or part of it."""
        for name, stage in self.b.lock.items():
            for out in stage.get("outs", []):
                if path == out["path"] or path.startswith(f"{out['path']}/") or out["path"].startswith(f"{path}/"):
                    return name
        return None

    def _dependencies(self, before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Kind and text of each dependency that differs."""
        present = {former: path for path, former in FORMER.items()}
        old, new = (
            {present.get(dep["path"], dep["path"]): dep["md5"] for dep in stage.get("deps", [])}
            for stage in (before, after)
        )
        for path in sorted({*old, *new}):
            if old.get(path) == new.get(path):
                continue
            maker = self._made_by(path)
            inside = [file for file in self.files if file == path or file.startswith(f"{path}/")]
            if maker:
                yield "data", f"{path}, from {maker}" if path in old and path in new else f"{path} (newly named)"
            elif path == "params.yaml":
                yield "parameters", path
            elif path.endswith(".lock"):
                yield from (("packages", text) for text in self.packages() or [f"{path} (no version changed)"])
            else:
                kind = "code" if path.startswith("stages") else "data"
                yield from ((kind, text) for text in inside or [path])

    def _params(self, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
        old, new = read_params(before), read_params(after)
        for key, value in new.items():
            former = key if key in old else self.former.get(key, key)
            if former not in old:
                yield f"{key} = {value} (newly read)"
            elif old[former] != value:
                yield f"{key}: {old[former]} → {value}"
        yield from (f"{key} (no longer read)" for key in old if key not in new and key not in self.former.values())

    def stage(self, name: str) -> StageChange | None:
        """Why a stage ran; None if it did not."""
        before, after = self.a.lock.get(name), self.b.lock.get(name)
        if before is None or after is None:
            return StageChange(name, {"new" if after else "gone": []}, [])
        reasons: dict[str, list[str]] = {}
        if params := list(self._params(before, after)):
            reasons["parameters"] = params
        for kind, text in self._dependencies(before, after):
            if text != "params.yaml" or kind not in reasons:
                reasons.setdefault(kind, []).append(text)
        if before["cmd"].split() != after["cmd"].split():
            reasons["command"] = [after["cmd"]]
        outs = {out["path"]: out["md5"] for out in before.get("outs", [])}
        changed = [out["path"] for out in after.get("outs", []) if outs.get(out["path"]) != out["md5"]]
        if not reasons and not changed:
            return None
        unique = {kind: list(dict.fromkeys(texts)) for kind, texts in reasons.items()}
        return StageChange(name, unique or {"nothing that the locks know of": []}, changed)

    def stages(self) -> list[StageChange]:
        """The stages that ran anew, came or went, in the order of the pipeline."""
        order = {verb: place for place, verb in enumerate(self.b.pipeline.get("stages", {}))}
        names = {*self.a.lock, *self.b.lock}
        ordered = sorted(names, key=lambda name: (order.get(name.partition("@")[0], len(order)), name))
        return [change for name in ordered if (change := self.stage(name))]


def stale(snapshot: Snapshot) -> list[str]:
    """Parameters and code files that differ from those that `dvc.lock` says the results were made with."""
    found: dict[str, None] = {}
    for stage in snapshot.lock.values():
        for key, value in read_params(stage).items():
            if snapshot.params.get(key, value) != value:
                found[key] = None
        for dep in stage.get("deps", []):
            if dep["path"].endswith((".py", ".lock")):
                text = snapshot.text(dep["path"])
                if text is None or hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() != dep["md5"]:
                    found[dep["path"]] = None
    return list(found)


def _condition(snapshot: Snapshot, workload: str, key: str) -> Any:
    """A parameter of a workload by its last word, whatever section had it."""
    keys = (k for k in snapshot.params if k.startswith(f"{workload}.") and k.split(".")[-1] == key.split(".")[-1])
    return next((snapshot.params[k] for k in keys), None)


def incomparable(a: Snapshot, b: Snapshot, workload: str) -> str | None:
    """Why a workload's metrics measure different things; None if they can be compared."""
    declared = workloads.find(workload)
    if declared.has_data and (size := declared.sample_size):
        before, after = (s.metrics.get(workload, {}).get(f"evaluate.{size}") for s in (a, b))
        if before is not None and after is not None and before != after:
            return f"another test split ({before:,} against {after:,} {size.removeprefix('test_')})"
    for key, title in declared.conditions.items():
        before, after = (_condition(s, workload, key) for s in (a, b))
        if before != after:
            return f"another {title} ({before} against {after})"
    return None


def caveats(a: Snapshot, b: Snapshot) -> list[str]:
    """What a reader must know before trusting the differences, a sentence each."""
    notes = []
    if not seed_noise(b.root):
        notes.append(
            f"`{SEEDS}` is missing or too short: how far seeds alone move a metric is not known, so any difference "
            "counts as better or worse."
        )
    for workload in b.workloads:
        if reason := incomparable(a, b, workload):
            notes.append(f"{workload}: metrics cannot be compared: {reason}.")
        elif a.outputs.get(f"data/{workload}") != b.outputs.get(f"data/{workload}"):
            notes.append(f"{workload}: the prepared data differ, though the test splits have the same size.")
        before, after = (s.json(f"models/{workload}/assets.extra/provenance.json") or {} for s in (a, b))
        for key, value in after.get("settings", {}).items():
            if before and before.get("settings", {}).get(key, value) != value:
                notes.append(f"{workload}: trained with {key} {value}, before with {before['settings'][key]}.")
    if a.workloads != b.workloads:
        notes.append(f"Not in both: {', '.join(sorted({*a.workloads} ^ {*b.workloads}))}.")
    if a.processor and b.processor and a.processor != b.processor:
        notes.append(f"Made on different processors: {a.processor} and {b.processor}.")
    if packages := Causes(a, b).packages():
        notes.append(f"Other packages: {', '.join(packages)}.")
    for snapshot in (a, b):
        if keys := stale(snapshot):
            more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
            notes.append(
                f"The results of {snapshot.name} were made before these changed: {', '.join(keys[:5])}{more}. "
                "`dvc repro` brings them up to date."
            )
    return notes


@dataclass(frozen=True)
class MetricChange:
    """A metric of a workload in two states; None is no value. `verdict` is better, worse, noise, same or other.

    `noise` is the difference that two seeds may make, if that is the verdict.
    """

    workload: str
    key: str
    before: Any
    after: Any
    verdict: str
    note: str = ""
    noise: float | None = None

    @property
    def difference(self) -> float | None:
        """After less before, if both are numbers."""
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in (self.before, self.after)):
            return None
        return float(f"{self.after - self.before:.6g}")


def seed_noise(root: Path) -> dict[tuple[str, str], float]:
    """Standard deviation over seeds of each workload's headline, by workload and key; that of the last recipe measured.

    Empty without `benchmarks/results/seeds.csv`.
    """
    if not (root / SEEDS).exists():
        return {}
    values: dict[str, dict[str, list[float]]] = {}
    with (root / SEEDS).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values.setdefault(row["workload"], {}).setdefault(row["recipe"], []).append(float(row["test"]))
    last = {workload: list(recipes.values())[-1] for workload, recipes in values.items()}
    return {
        (workload, f"evaluate.{headline}"): statistics.stdev(found)
        for workload, found in last.items()
        if (headline := workloads.find(workload).headline) and len(found) > 2
    }


def metric_changes(a: Snapshot, b: Snapshot) -> list[MetricChange]:
    """Every metric of either state, by workload.

    A difference within two standard deviations of that between two seeds counts as noise.
    """
    noise = seed_noise(a.root)
    return [
        _metric_change(workload, key, a, b, noise.get((workload, key)))
        for workload in dict.fromkeys([*b.workloads, *a.workloads])
        for key in dict.fromkeys([*b.metrics.get(workload, {}), *a.metrics.get(workload, {})])
    ]


def _metric_change(workload: str, key: str, a: Snapshot, b: Snapshot, deviation: float | None) -> MetricChange:
    old, new = (s.metrics.get(workload, {}) for s in (a, b))
    before, after = old.get(key), new.get(key)

    def change(verdict: str, note: str = "", noise: float | None = None) -> MetricChange:
        return MetricChange(workload, key, before, after, verdict, note, noise)

    if key not in old or key not in new:
        return change("other", f"only in {(a if key in old else b).name}")
    if before == after:
        return change("same")
    if reason := incomparable(a, b, workload):
        return change("other", reason)
    improved = workloads.find(workload).better(key.removeprefix("evaluate."), before, after)
    if improved is None or before is None or after is None:
        return change("other")
    limit = 2 * math.sqrt(2) * deviation if deviation else 0.0
    if abs(after - before) <= limit:
        return change("noise", f"±{limit:.3g}", limit)
    return change("better" if improved else "worse")


def counts(changes: Iterable[MetricChange]) -> dict[str, int]:
    """How many metrics have each verdict."""
    found: dict[str, int] = {}
    for change in changes:
        found[change.verdict] = found.get(change.verdict, 0) + 1
    return found
