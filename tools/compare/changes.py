"""What changed between two states, which stages ran because of it, and what that did to the metrics."""

import hashlib
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from stages import workloads
from stages.evaluation.judge import Difference, Measure, Verdict, judge, paired
from stages.evaluation.seeds import SEEDS, read
from tools.compare.snapshot import FORMER, Snapshot, git, read_params

OF_TRAINING = "measured while training, on data that steered it: how far chance moves it is not known"


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

    def _made_by(self, path: str) -> list[str]:
        """The stages that make a path, or part of it; of several, those whose part has other bytes."""
        makers: dict[str, bool] = {}
        for name, stage in self.b.lock.items():
            for out in stage.get("outs", []):
                inside = out["path"].startswith(f"{path}/")
                if path == out["path"] or path.startswith(f"{out['path']}/") or inside:
                    changed = self.a.outputs.get(out["path"]) != out["md5"]
                    makers[name] = makers.get(name, False) or changed
        return [name for name, changed in makers.items() if changed or len(makers) == 1]

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
            makers = self._made_by(path)
            inside = [file for file in self.files if file == path or file.startswith(f"{path}/")]
            if makers:
                yield (
                    "data",
                    f"{path}, from {', '.join(makers)}" if path in old and path in new else f"{path} (newly named)",
                )
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
        ordered = self.b.in_order({*self.a.lock, *self.b.lock})
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
    """A parameter of a workload by its last word, whatever section had it; a dictionary's keys with their values."""
    last = key.split(".")[-1]
    keys = (k for k in snapshot.params if k.startswith(f"{workload}.") and last in k.split("."))
    found = {k.partition(f".{last}")[2].lstrip("."): snapshot.params[k] for k in keys}
    return found.get("", found) or None


def incomparable(a: Snapshot, b: Snapshot, workload: str, key: str | None = None) -> str | None:
    """Why a workload's metrics, or the one with this key, measure different things; None if they can be compared."""
    declared = workloads.find(workload)
    if declared.has_data and (size := declared.sample_size):
        before, after = (s.metrics.get(workload, {}).get(f"evaluate.{size}") for s in (a, b))
        if before is not None and after is not None and before != after:
            return f"another test split ({before:,} against {after:,} {size.removeprefix('test_')})"
    titles = {name: name.split(".")[-1].replace("_", " ") for name in declared.parameters_of(key or "")}
    for name, title in {**declared.conditions, **titles}.items():
        before, after = (_condition(s, workload, name) for s in (a, b))
        if before != after:
            return f"another {title} ({before} against {after})"
    return None


def seed_deviations(a: Snapshot, b: Snapshot) -> dict[str, float]:
    """Standard deviation of each workload's headline over seeds, by workload: of `a`'s recipe, else of `b`'s.

    Workloads whose recipe nobody has run with several seeds in either state are not in it.
    """
    found = [read(s.root, s.sections) for s in (b, a)]
    return {name: sd for measured in found for name, each in measured.items() if (sd := each.deviation) is not None}


class Judge:
    """Judges the metrics of two states: the same verdict for the same pair, whoever asks."""

    def __init__(self, a: Snapshot, b: Snapshot) -> None:
        self.a, self.b = a, b
        self._deviations = seed_deviations(a, b)
        self._pairs: dict[str, tuple[dict[str, Measure], dict[str, Measure]] | str | None] = {}

    def pairs(self, workload: str) -> tuple[dict[str, Measure], dict[str, Measure]] | str | None:
        """Measures of both states on the instances that both have, why there are none, or None: not at hand."""
        if workload not in self._pairs:
            self._pairs[workload] = self._read_pairs(workload)
        return self._pairs[workload]

    def _read_pairs(self, workload: str) -> tuple[dict[str, Measure], dict[str, Measure]] | str | None:
        declared = workloads.find(workload).instances
        if declared is None or any(self.a.params.get(key) != self.b.params.get(key) for key in declared.parameters):
            return None
        tables = [s.table(f"results/{workload}/{declared.table}") or [] for s in (self.a, self.b)]
        if not all(tables):
            return None
        shared = tables[0][0].keys() & tables[1][0].keys()
        same = next((names for names in (declared.same, declared.same_cells) if names and shared >= {*names}), None)
        if same is None:
            return None
        rows = [{tuple(row[name] for name in same): row for row in table} for table in tables]
        common = [key for key in rows[1] if key in rows[0]]
        if 2 * len(common) < min(map(len, rows)):
            return f"other test instances ({len(common):,} of {len(rows[1]):,} are the same)"
        measures = pkgutil.resolve_name(declared.measures)
        found = []
        for snapshot, by_key in zip((self.a, self.b), rows, strict=True):
            columns = {name: np.array([by_key[key][name] for key in common]) for name in by_key[common[0]]}
            own = f"{workload}."
            parameters = {k.removeprefix(own): v for k, v in snapshot.params.items() if k.startswith(own)}
            try:
                found.append(measures(columns, parameters))
            except (KeyError, ValueError):  # an older state's table or parameters
                return None
        return found[0], found[1]

    def _difference(self, workload: str, key: str) -> Difference | None:
        pairs = self.pairs(workload)
        if isinstance(pairs, str) or pairs is None or any(key not in measures for measures in pairs):
            return None
        return paired(pairs[0][key], pairs[1][key])

    def verdict(self, workload: str, key: str) -> Verdict:
        """Judge a metric by its file's name and dotted key, such as `evaluate.rmse`."""
        old, new = (s.metrics.get(workload, {}) for s in (self.a, self.b))
        if key not in old or key not in new:
            return Verdict("other", f"only in {(self.a if key in old else self.b).name}")
        name = key.removeprefix("evaluate.")
        if old[key] == new[key]:
            return Verdict("same")
        if reason := incomparable(self.a, self.b, workload, name):
            return Verdict("other", reason)
        declared = workloads.find(workload)
        if key.startswith("train.") and declared.direction(name):
            return Verdict("other", OF_TRAINING)
        if declared.direction(name) and isinstance(pairs := self.pairs(workload), str):
            return Verdict("other", pairs)
        before, after = ({k.removeprefix("evaluate."): v for k, v in side.items()} for side in (old, new))
        return judge(
            declared, name, before, after, self._deviations.get(workload), lambda k: self._difference(workload, k)
        )


def caveats(a: Snapshot, b: Snapshot) -> list[str]:
    """What a reader must know before trusting the differences, a sentence each."""
    notes = []
    if not seed_deviations(a, b):
        notes.append(
            f"`{SEEDS}` has no seeds of these recipes: how far seeds alone move a metric is not known. Metrics are "
            "judged by the chance of the test data alone."
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
    """A metric of a workload in two states; None is no value. `verdict` is a word of `judge.WORDS`.

    `noise` is the difference that chance alone may make, if known; `interval` that of the later value.
    """

    workload: str
    key: str
    before: Any
    after: Any
    verdict: str
    note: str = ""
    noise: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def difference(self) -> float | None:
        """After less before, if both are numbers."""
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in (self.before, self.after)):
            return None
        return float(f"{self.after - self.before:.6g}")


def metric_changes(a: Snapshot, b: Snapshot) -> list[MetricChange]:
    """Every metric of either state, by workload; the ends of intervals stand with their metrics."""
    judge = Judge(a, b)
    return [
        metric_change(judge, workload, key)
        for workload in dict.fromkeys([*b.workloads, *a.workloads])
        for key in dict.fromkeys([*b.metrics.get(workload, {}), *a.metrics.get(workload, {})])
        if not workloads.is_end(key)
    ]


def metric_change(judge: Judge, workload: str, key: str) -> MetricChange:
    """A metric in two states, judged."""
    old, new = (s.metrics.get(workload, {}) for s in (judge.a, judge.b))
    return MetricChange(
        workload, key, old.get(key), new.get(key), *judge.verdict(workload, key), workloads.interval(new, key)
    )


def counts(changes: Iterable[MetricChange]) -> dict[str, int]:
    """How many metrics have each verdict."""
    found: dict[str, int] = {}
    for change in changes:
        found[change.verdict] = found.get(change.verdict, 0) + 1
    return found
