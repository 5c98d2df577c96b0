"""Outputs that are links into DVC's cache: stages replace them, and never write into the cached file."""

import stat
from pathlib import Path

import pytest

from stages.core.files import digest
from tests.conftest import run_stage
from tests.pipeline.scratch import commands, dvc
from tools.scratch import change

CHANGES = {
    "prepare@babyweight": ("babyweight.prepare.validation_share", 0.2, "data/babyweight/train/features.npy"),
    "train@babyweight": ("babyweight.train.learning_rate", 0.001, "weights/babyweight"),
    "export@babyweight": ("babyweight.export.output_name", "pounds", "models/babyweight/saved_model.pb"),
    "evaluate@babyweight": ("babyweight.evaluate.examples", 7, "results/babyweight/examples.csv"),
}
"""For each stage, a parameter that changes an output that DVC keeps."""


def cached(project: Path) -> dict[Path, tuple[str, int]]:
    """The bytes and the permissions of all that DVC keeps."""
    paths = (path for path in (project / ".dvc/cache/files").rglob("*") if path.is_file())
    return {path: (digest(path), stat.S_IMODE(path.stat().st_mode)) for path in paths}


def is_linked(output: Path) -> bool:
    """Whether every file of an output is a link."""
    paths = [path for path in [output, *output.rglob("*")] if not path.is_dir()]
    return bool(paths) and all(path.is_symlink() or path.stat().st_nlink > 1 for path in paths)


@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_stages_leave_what_their_outputs_are_linked_to(pipeline_copy: Path, kind: str) -> None:
    dvc(pipeline_copy, "config", "--local", "cache.type", kind)
    dvc(pipeline_copy, "checkout", "--relink", *CHANGES)
    kept = cached(pipeline_copy)
    assert not any(mode & stat.S_IWUSR for _, mode in kept.values())
    for stage, (key, value, name) in CHANGES.items():
        output = pipeline_copy / name
        before = digest(output)
        assert is_linked(output)
        change(pipeline_copy, key, value)
        # Not by DVC, which removes outputs before it runs a stage.
        _, _, *command = commands()[stage].split()
        done = run_stage(*command, cwd=pipeline_copy)
        assert done.returncode == 0, done.stderr
        assert digest(output) != before and not is_linked(output)
        assert cached(pipeline_copy) == kept, stage
    dvc(pipeline_copy, "repro", "evaluate@babyweight")
    assert {path: kept[path] for path in kept} == {path: cached(pipeline_copy)[path] for path in kept}
    assert all(is_linked(pipeline_copy / name) for *_, name in CHANGES.values())
