"""The project as it is at a commit or in the work tree: its parameters, lock, metrics, tables and outputs."""

import csv
import json
import subprocess
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import RevError, SCMError, resolve_rev
from dvc_data.index import DataIndexDirError
from ruamel.yaml import YAML

from stages.core.errors import InputError
from stages.core.params import flatten
from tools.processor import RECORD, writer

WORK_TREE = "."
PACKAGES = "requirements/cpu.lock"
# Where older commits have these files.
FORMER = {
    PACKAGES: "requirements.lock",
    "requirements/report.lock": "requirements-report.lock",
    RECORD.as_posix(): "processor.json",
}
Row = dict[str, Any]


def git(root: Path, *arguments: str) -> str:
    """Output of a Git command.

    Raises:
        InputError: if it fails.
    """
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def number(field: str | None) -> Any:
    """A CSV field as a number if it is one; None if it is empty."""
    try:
        return float(field) if field else None
    except ValueError:
        return field


def read_params(stage: dict[str, Any]) -> dict[str, Any]:
    """The parameters that a locked stage read, by dotted key."""
    values = flatten(stage.get("params", {}).get("params.yaml", {}))
    # DVC writes 1e-05, which YAML 1.1 takes for a word.
    return {key: number(value) if isinstance(value, str) else value for key, value in values}


class Snapshot:
    """The project's files at one revision, whether Git or DVC keeps them.

    Args:
        root: the repository.
        name: a commit, tag, branch or experiment; `.` is the work tree.

    Raises:
        InputError: if there is no such revision.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, "the work tree" if name == WORK_TREE else name
        self.commit: str | None = None
        if name != WORK_TREE:
            with Repo(str(root)) as repo:
                try:
                    self.commit = resolve_rev(repo.scm, name)
                except (RevError, SCMError):
                    raise InputError(f"{name}: expected a commit, tag, branch, experiment or `.`") from None

    @cached_property
    def _files(self) -> DVCFileSystem:
        return DVCFileSystem(str(self.root), rev=self.commit)

    @cached_property
    def title(self) -> str:
        """The revision, with its commit's first line."""
        if self.commit is None:
            return self.name
        commit = "" if self.commit.startswith(self.name) else "%h, "
        return git(self.root, "log", "-1", f"--format={self.name} ({commit}%cs: %s)", self.commit).strip()

    def _tracked(self, path: str) -> str | None:
        """Text of a file that is in the work tree or in Git; None if there is none."""
        if self.commit is None:
            file = self.root / path
            return file.read_text(encoding="utf-8") if file.is_file() else None
        command = ["git", "cat-file", "blob", f"{self.commit}:{path}"]
        done = subprocess.run(command, cwd=self.root, capture_output=True, check=False)
        return None if done.returncode else done.stdout.decode()

    def text(self, path: str) -> str | None:
        """A file's text, by its present or former path; None if there is none that Git, the cache or a remote has."""
        text = self._tracked(path)
        if text is None and path in FORMER:
            text = self._tracked(FORMER[path])
        if text is not None or not any(path == out or path.startswith(f"{out}/") for out in self.outputs):
            return text
        try:
            return str(self._files.read_text(path, encoding="utf-8"))
        except (OSError, DvcException, DataIndexDirError):
            return None

    def json(self, path: str) -> Any:
        """A JSON file's value, or None as `text` does."""
        text = self.text(path)
        return None if text is None else json.loads(text)

    def table(self, path: str) -> list[Row] | None:
        """A CSV file's rows, numbers as numbers, or None as `text` does."""
        text = self.text(path)
        if text is None:
            return None
        return [{key: number(field) for key, field in row.items()} for row in csv.DictReader(text.splitlines())]

    def get(self, path: str, target: Path) -> Path | None:
        """Copy a file or folder, from the cache or a remote if need be; None if it cannot be had."""
        if self.commit is None and (self.root / path).exists():
            return self.root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get(path, str(target), recursive=True)
        except (OSError, DvcException, DataIndexDirError):
            return None
        return target if target.exists() else None

    @cached_property
    def sections(self) -> dict[str, Any]:
        """`params.yaml`, nested."""
        return YAML(typ="safe", pure=True).load(self.text("params.yaml") or "") or {}

    @cached_property
    def params(self) -> dict[str, Any]:
        """Every parameter by its dotted key."""
        return dict(flatten(self.sections))

    @cached_property
    def pipeline(self) -> dict[str, Any]:
        """What `dvc.yaml` declares."""
        return dict(yaml.safe_load(self._tracked("dvc.yaml") or "{}"))

    def stage(self, verb: str, workload: str) -> str:
        """A workload's stage as `dvc.yaml` names it: `train@mnist`, but `train-cartpole`, which is no `foreach`."""
        own = f"{verb}-{workload}"
        return own if own in self.pipeline.get("stages", {}) else f"{verb}@{workload}"

    @cached_property
    def lock(self) -> dict[str, Any]:
        """What ran, by stage: `cmd`, `deps`, `params`, `outs` of `dvc.lock`, for the stages that `dvc.yaml` declares.

        `train-cartpole` goes by the name of `train@cartpole`.
        """
        locked = yaml.load(self._tracked("dvc.lock") or "{}", yaml.CSafeLoader).get("stages", {})
        declared = self.pipeline.get("stages", {})
        return {
            name.replace("-", "@"): stage
            for name, stage in locked.items()
            if name.partition("@")[0] in declared and self._is_item(name, declared)
        }

    @staticmethod
    def _is_item(name: str, declared: dict[str, Any]) -> bool:
        """Whether a locked stage is still one of its `foreach`."""
        stage, _, item = name.partition("@")
        items = declared[stage].get("foreach")
        return (item == "") if items is None else item in [str(i) for i in items]

    def in_order(self, stages: Iterable[str]) -> list[str]:
        """Names of locked stages in the order of the pipeline."""
        order = {verb: place for place, verb in enumerate(self.pipeline.get("stages", {}))}
        return sorted(stages, key=lambda name: (order.get(name.partition("@")[0], len(order)), name))

    @cached_property
    def outputs(self) -> dict[str, str]:
        """MD5 of every output by path."""
        return {out["path"]: out["md5"] for stage in self.lock.values() for out in stage.get("outs", [])}

    @cached_property
    def workloads(self) -> list[str]:
        """Names of the workloads that were evaluated."""
        evaluated = (name.partition("@") for name in self.lock)
        return sorted(workload for verb, _, workload in evaluated if verb == "evaluate")

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Every metric of every workload, by its file's name and dotted key: `evaluate.rmse`."""
        found: dict[str, dict[str, Any]] = {}
        for workload in self.workloads:
            for file in ("evaluate", "train"):
                values = self.json(f"results/{workload}/{file}.json") or {}
                found.setdefault(workload, {}).update(
                    {f"{file}.{key}": value for key, value in flatten(values) if not isinstance(value, list)}
                )
        return found

    @cached_property
    def processor(self) -> str | None:
        """The processor that made the outputs of `dvc.lock`; None if that is not known."""
        return writer(self.text("dvc.lock") or "", self.text(RECORD.as_posix()))

    @cached_property
    def packages(self) -> dict[str, str]:
        """Version of every package that the stages import."""
        lines = (self.text(PACKAGES) or "").splitlines()
        pins = (
            line.split(";")[0].rstrip(" \\").partition("==") for line in lines if "==" in line and line[0].isalnum()
        )
        return {name: version.strip() for name, _, version in pins}
