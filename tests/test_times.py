"""The records of stages that DVC runs, and what `make times` and comparisons make of them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import times
from tests.conftest import ROOT
from tools.compare import page
from tools.compare.comparison import compare
from tools.compare.markdown import markdown
from tools.compare.snapshot import Snapshot
from tools.compare.times import duration, known, time_changes
from tools.scratch import commit

STAGE = """
import sys, time
from pathlib import Path
import stages.times
memory = b"1" * {bytes}
time.sleep(0.3)
out = Path(sys.argv[2])
out.mkdir(exist_ok=True)
(out / "sum.txt").write_text(str(memory[0]))
stages.times.note("from step 7 on")
"""
COMMAND = "python -m stages.work input out"
PIPELINE = {"stages": {"work": {"cmd": COMMAND, "deps": ["input", "stages"], "outs": [{"out": {"cache": False}}]}}}


def project(root: Path) -> Path:
    """A project with one stage, which takes 0.3 seconds and 100 MB."""
    for folder in ("stages", ".dvc"):
        (root / folder).mkdir(parents=True)
    (root / ".dvc/config").touch()
    (root / "stages/__init__.py").write_text("import stages.times\n")
    (root / "stages/times.py").write_bytes((ROOT / "stages/times.py").read_bytes())
    (root / "stages/work.py").write_text(STAGE.format(bytes=100_000_000))
    (root / "input").write_text("input")
    (root / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    (root / ".gitignore").write_text(".times\n__pycache__\n.dvc/tmp\n.dvc/cache\n")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


def work(root: Path, **environment: str) -> None:
    """Run the stage as DVC does, and lock it."""
    subprocess.run(
        [sys.executable, *COMMAND.split()[1:]],
        cwd=root,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )
    locked: dict[str, Any] = {"cmd": COMMAND}
    for kind, paths in (("deps", ("input", "stages")), ("outs", ("out",))):
        locked[kind] = [{"path": path, "md5": times.md5(root / path)} for path in paths]
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"work": locked}}))


def run_by_dvc(root: Path) -> None:
    work(root, DVC_ROOT=str(root), DVC_STAGE="work")


def test_a_stage_that_dvc_runs_leaves_its_time_and_memory(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    work(root)
    assert not (root / times.FOLDER).exists(), "run by hand"
    run_by_dvc(root)
    (time,) = known(Snapshot(root, ".")).values()
    command = [sys.executable, "-m", "tools.times", "--root", str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"1 of 1 stages took {time.time} on this machine")
    shown = (root / "comparison/times.html").read_text()
    assert time.memory in shown and "Not known" not in shown
    assert 0.3 <= time.seconds < 60
    assert 100e6 < time.peak_bytes < 300e6
    assert time.notes == ("from step 7 on",)
    (record,) = (root / times.FOLDER).glob("*.json")
    assert set(json.loads(record.read_text())["outputs"]) == {"out"}, "not the input"
    shutil.rmtree(root / times.FOLDER)
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert "Not known: work." in (root / "comparison/times.html").read_text(), "as after a restore from the cache"


def test_dvc_itself_names_the_stage(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "dvc", "repro", "--quiet"]
    subprocess.run(command, cwd=root, check=True, env={**os.environ, "PATH": path})
    assert set(known(Snapshot(root, "."))) == {"work"}
    assert subprocess.run(["git", "status", "--porcelain", times.FOLDER], cwd=root, capture_output=True).stdout == b""


def test_each_commit_has_the_time_of_its_own_run(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    run_by_dvc(root)
    commit(root, "Slow")
    (root / "stages/work.py").write_text(STAGE.format(bytes=1000).replace("0.3", "0"))
    assert known(Snapshot(root, ".")) == {}, "the code is another"
    run_by_dvc(root)
    commit(root, "Fast, with the same output")
    (change,) = time_changes(Snapshot(root, "HEAD~1"), Snapshot(root, "HEAD"))
    assert change.before.seconds > change.after.seconds
    assert change.before.peak_bytes > 2 * change.after.peak_bytes
    assert change.cells[0] == "work"
    shown = compare(Snapshot(root, "HEAD~1"), Snapshot(root, "HEAD"))
    assert "Times and memory" in markdown(shown)
    assert change.after.time in page.html(shown)
    same = compare(Snapshot(root, "HEAD"), Snapshot(root, "."))
    assert same.times == [], "the same run"
    assert "Times" not in page.html(same)
    (root / "input").write_text("other")
    (root / "out/sum.txt").write_text("other")
    assert known(Snapshot(root, "HEAD")), "a commit's files, not those of the work tree"


def test_damaged_records_and_other_outputs_are_not_known(tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    run_by_dvc(root)
    (record,) = (root / times.FOLDER).glob("*.json")
    record.with_name("work-damaged.json").write_text("{")
    assert known(Snapshot(root, "."))
    lock = (root / "dvc.lock").read_text()
    (root / "dvc.lock").write_text(lock.replace(times.md5(root / "out"), "0" * 32 + ".dir"))
    assert known(Snapshot(root, ".")) == {}


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (99.94, "99.9 s"), (99.96, "1:40 min"), (7322, "2:02:02 h")]
)
def test_durations_are_readable(seconds: float, words: str) -> None:
    assert duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == words


def test_the_digests_are_those_of_dvc_and_git(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/c").write_text("x")
    (tmp_path / "a").write_text("y")
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    files = LocalFileSystem()  # type: ignore[no-untyped-call]
    _, _, built = build(HashFileDB(files, str(tmp_path.parent / "odb")), str(tmp_path), files, "md5", dry_run=True)
    assert times.md5(tmp_path) == built.oid
    done = subprocess.run(["git", "hash-object", str(tmp_path / "a")], capture_output=True, text=True, check=True)
    assert times.blob(b"y") == done.stdout.strip()
