import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from stages.training import checkpoint
from stages.training.checkpoint import Checkpoints, explain_start, note_finished, run_digest
from tests.conftest import ROOT

PROVENANCE = {"parameters": {"seed": 1, "mnist": {"train": {"steps": 5, "max_to_keep": 2}}}, "inputs": {"data": "abc"}}


def saved(folder: Path, *steps: int, keep: int = 3) -> Checkpoints:
    checkpoints = Checkpoints("mnist", "run", keep, folder)
    for step in steps:
        checkpoints.save(step, {"w": np.full(100, step, np.float32)}, {"history": [step]})
    return checkpoints


def test_the_newest_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    found = saved(tmp_path, 1, 10, 2).latest(at_most=100)
    assert found is not None
    step, arrays, notes = found
    assert (step, notes, list(arrays)) == (10, {"history": [10]}, ["w"])
    assert arrays["w"].dtype == np.float32
    assert (arrays["w"] == 10).all()


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, 4, keep=2)
    assert sorted(p.name for p in (tmp_path / "mnist-run").iterdir()) == ["step-3.npz", "step-4.npz"]


def test_none_ahead_of_the_steps_asked_for(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 4, 8)
    assert [found[0] for step in (7, 8) if (found := checkpoints.latest(at_most=step))] == [4, 8]
    assert checkpoints.latest(at_most=3) is None
    checkpoints.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "pickled"])
def test_an_unreadable_one_is_skipped_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    path = tmp_path / "mnist-run" / "step-2.npz"
    raw = bytearray(path.read_bytes())
    if damage == "flipped":
        raw[len(raw) // 2] ^= 1
    if damage == "pickled":
        arrays = {"notes.json": np.frombuffer(b"[]", np.uint8), "w": np.array([{}], object)}
        np.savez(path, allow_pickle=True, **arrays)
    else:
        path.write_bytes({"truncated": bytes(raw[:-200]), "flipped": bytes(raw), "empty": b""}[damage])
    found = checkpoints.latest(at_most=9)
    assert found is not None
    assert found[0] == 1
    assert f"warning: {path}: unreadable, skipped" in capsys.readouterr().err


def test_an_interrupted_write_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(2, {}, {})
    assert [p.name for p in (tmp_path / "mnist-run").iterdir()] == ["step-1.npz"]


def test_the_digest_tells_runs_apart_by_what_matters() -> None:
    changed = {**PROVENANCE, "inputs": {"data": "xyz"}}
    kept = {**PROVENANCE, "parameters": {"seed": 1, "mnist": {"train": {"steps": 5, "max_to_keep": 9}}}}
    expected = run_digest(PROVENANCE, "mnist", ["max_to_keep"])
    assert expected != run_digest(changed, "mnist", ["max_to_keep"])
    assert expected == run_digest(kept, "mnist", ["max_to_keep"])
    assert expected == run_digest(dict(reversed(PROVENANCE.items())), "mnist", ["max_to_keep"])
    assert len(expected) == 16 and "max_to_keep" in kept["parameters"]["mnist"]["train"]  # type: ignore[index]


def test_a_run_that_starts_over_with_other_steps_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    longer = {**PROVENANCE, "parameters": {"seed": 1, "mnist": {"train": {"steps": 9, "max_to_keep": 2}}}}
    explain_start("mnist", longer)
    (tmp_path / "mnist.finished").write_bytes(b"\xff{")
    explain_start("mnist", longer)
    note_finished("mnist", PROVENANCE)
    explain_start("mnist", {**longer, "inputs": {"data": "xyz"}})
    explain_start("mnist", PROVENANCE)
    assert capsys.readouterr().err == ""
    explain_start("mnist", longer)
    assert capsys.readouterr().err.startswith("starting over: with mnist.train.schedule one_cycle")


def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    script = textwrap.dedent(f"""
        from pathlib import Path
        from stages.training.checkpoint import Checkpoints
        with Checkpoints("mnist", "other", 1, Path({str(folder)!r})):
            print("in")
    """)
    with Checkpoints("mnist", "run", 1, folder):
        pass
    with Checkpoints("mnist", "run", 1, folder):
        second = subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None
        assert second.stderr.readline().startswith("waiting: another process holds")
        assert second.poll() is None
    assert second.communicate(timeout=30)[0] == "in\n"
