"""The lint finds what it is for, in a scratch clone with one thing wrong."""

from pathlib import Path

import pytest

from tools import check_pipeline as lint
from tools.scratch import clone


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lint, "ROOT", clone(tmp_path))
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def findings(_: Path) -> list[str]:
    return list(lint.disagreements())


def test_the_project_is_clean(root: Path) -> None:
    assert findings(root) == []


def test_a_missing_and_a_needless_module_are_named(root: Path) -> None:
    evaluate = root / "stages" / "mnist" / "evaluate.py"
    replace(evaluate, "from stages import runtime\n", "")
    replace(evaluate, "from operator import", "import stages.weights\nfrom operator import")
    assert findings(root) == [
        "dvc.yaml: evaluate@mnist: deps: missing stages/weights.py",
        "dvc.yaml: evaluate@mnist: deps: names stages/runtime.py, which it does not use",
    ]


def test_an_import_of_an_import_counts(root: Path) -> None:
    (root / "stages" / "other.py").write_text("NUMBER = 1\n")
    idx = root / "stages" / "mnist" / "source" / "idx.py"
    replace(idx, "import struct\n", "import struct\nfrom stages import other\n")
    assert findings(root) == [
        f"dvc.yaml: {stage}@mnist: deps: missing stages/other.py" for stage in ("fetch", "prepare")
    ]


def test_a_package_counts_from_its_first_statement_that_is_no_import(root: Path) -> None:
    package = root / "stages" / "__init__.py"
    replace(package, "import stages.core.settings", "import os\nimport stages.core.settings")
    assert findings(root) == []
    package.write_text(package.read_text() + 'os.environ["OMP_NUM_THREADS"] = "2"\n')
    assert "dvc.yaml: train@mnist: deps: missing stages/__init__.py" in findings(root)


def test_a_folder_of_which_a_stage_uses_nothing_is_named(root: Path) -> None:
    replace(
        root / "dvc.yaml", "      - stages/cartpole/dqn\n", "      - stages/cartpole/dqn\n      - stages/savedmodel\n"
    )
    assert findings(root) == ["dvc.yaml: train-cartpole: deps: names stages/savedmodel, which it does not use"]


def test_a_stage_that_imports_a_stage_is_named(root: Path) -> None:
    script = root / "stages" / "report" / "build.py"
    replace(script, "import argparse\n", "import argparse\nimport stages.inspect_model\n")
    assert "stages.report.build: imports the stage stages/inspect_model.py" in findings(root)


def test_a_workload_that_imports_another_is_named(root: Path) -> None:
    replace(root / "stages/mnist/workload.py", "\nfrom stages", "\nfrom stages.cartpole import model\nfrom stages")
    assert "stages/mnist/workload.py: imports the workload cartpole" in findings(root)


def test_a_missing_and_a_needless_parameter_are_named(root: Path) -> None:
    replace(root / "dvc.yaml", "        - predict\n", "        - export\n")
    found = findings(root)
    assert "dvc.yaml: predict@mnist: params: missing predict.tolerance" in found
    assert "dvc.yaml: predict@mnist: params: names export.as_text, which it does not use" in found


def test_a_stage_without_a_sentence_is_named(root: Path) -> None:
    replace(root / "dvc.yaml", "    desc: Put the", "    meta: Put the")
    assert "dvc.yaml: report: has no desc" in findings(root)


def test_a_key_without_a_comment_is_named(root: Path) -> None:
    line = next(n for n, text in enumerate((root / "params.yaml").read_text().splitlines(), 1) if "seed: 2017" in text)
    replace(root / "params.yaml", "seed: 2017  #", "seed: 2017 #")
    assert [text.split(": has")[0] for text in findings(root)] == [f"params.yaml: line {line}"]
