from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, assert_refused, run_stage
from tools.mutate import places, sample
from tools.scratch import clone

MODULE = "stages/core/answers.py"
SOURCE = """\
def noticed(value: int | None = None) -> bool:
    return True


def unnoticed() -> bool:
    return False


if __name__ == "__main__":
    noticed()
"""
TEST = """\
from stages.core.answers import noticed


def test_noticed() -> None:
    assert noticed()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clone with a module of which one of two possible mutants is killed."""
    folder = clone(tmp_path / "project")
    (folder / MODULE).write_text(SOURCE)
    (folder / "tests/core/test_answers.py").write_text(TEST)
    return folder


def test_a_mutant_that_no_test_notices_is_shown_and_fails_unless_it_is_equivalent(project: Path) -> None:
    done = run_stage("tools.mutate", MODULE, cwd=project)
    assert (done.returncode, done.stderr) == (1, "")
    *survivor, total = done.stdout.splitlines()[2:]
    assert done.stdout.splitlines()[:2] == [f"killed: {MODULE}:2", f"survived: {MODULE}:6"]
    assert [line for line in survivor if line[0] in "-+"][2:] == ["-    return False", "+    return True"]
    assert total == f"{MODULE}: 1 of 2 killed, 0 equivalent"

    declared = {"was": "return False", "becomes": "return True", "because": "nobody asks"}
    (project / "tests/mutation.yaml").write_text(yaml.safe_dump({"tests": {}, "equivalent": {MODULE: [declared]}}))
    done = run_stage("tools.mutate", MODULE, cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{MODULE}: 1 of 1 killed, 1 equivalent\n")
    assert (project / MODULE).read_text() == SOURCE


def test_tests_that_fail_without_a_change_and_modules_without_tests_are_refused(project: Path) -> None:
    (project / "tests/core/test_answers.py").write_text(TEST.replace("assert", "assert not"))
    assert_refused(run_stage("tools.mutate", MODULE, cwd=project), MODULE, "tests fail without any change")
    (project / "tests/core/test_answers.py").unlink()
    assert_refused(run_stage("tools.mutate", MODULE, cwd=project), MODULE, "tests/core/test_answers.py")
    assert_refused(run_stage("tools.mutate", "stages/core/missing.py", cwd=project), "stages/core/missing.py")


def test_the_seed_decides_the_sample() -> None:
    module = "stages/core/files.py"
    source = (ROOT / module).read_text()
    first = sample(module, source, 5, 0)
    assert first == sample(module, source, 5, 0) != sample(module, source, 5, 1)
    assert len(first) == 5
    assert all(mutant.source != source for mutant in first.values())


def test_annotations_and_the_call_of_main_are_left_alone() -> None:
    assert sorted(places(SOURCE)) == [(2, 11), (6, 11)]


def test_declared_tests_and_modules_exist() -> None:
    declared = yaml.safe_load((ROOT / "tests/mutation.yaml").read_text())
    for module, tests in declared["tests"].items():
        assert all((ROOT / path).exists() for path in (module, *tests)), module
    for module, mutants in declared["equivalent"].items():
        lines = [line.strip() for line in (ROOT / module).read_text().splitlines()]
        for mutant in mutants:
            assert set(mutant) == {"was", "becomes", "because"}
            assert set(mutant["was"].split("\n")) <= set(lines), f"{module}: {mutant['was']}: the module changed"
