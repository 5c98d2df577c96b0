"""Two states of a small project in the pipeline's layout: the later one moved, retrained and changed things."""

import json
import shutil
import subprocess
from hashlib import md5
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from stages.core.files import write_table
from stages.evaluation.seeds import COLUMNS, SEEDS, recipe
from tests.conftest import ROOT, assert_refused, run_stage
from tools import processor
from tools.compare.changes import (
    Causes,
    Judge,
    caveats,
    incomparable,
    metric_changes,
    moves,
    param_changes,
    seed_deviations,
    stale,
)
from tools.compare.comparison import compare
from tools.compare.curves import curves
from tools.compare.markdown import markdown
from tools.compare.page import _chart, html
from tools.compare.snapshot import FORMER, PACKAGES, WORK_TREE, Snapshot
from tools.compare.summary import headline

PIPELINE = """
stages:
  train:
    foreach: [mnist]
    do:
      cmd: python train.py
      deps: [stages/mnist, requirements/cpu.lock]
      params: [mnist.train]
      outs: [weights/mnist]
  evaluate:
    foreach: [mnist]
    do:
      cmd: python evaluate.py
      deps: [weights/mnist]
      metrics: [results/mnist/evaluate.json: {cache: false}]
  evaluate-cartpole:
    cmd: python play.py
    params: [cartpole.train]
    metrics: [results/cartpole/evaluate.json: {cache: false}]
plots:
  - "Learning curve": {x: step, y: {results/mnist/curve.csv: loss}, x_label: optimiser step}
  - "Calibration": {x: bin, y: {results/mnist/calibration.csv: accuracy}}
  - "Returns": {x: episode, y: {results/cartpole/returns.csv: return}, template: scatter}
"""


def stage(cmd: str, deps: dict[str, str], params: dict[str, Any], outs: dict[str, str]) -> dict[str, Any]:
    """A locked stage; the contents of files stand for their digests."""
    paths = [[{"path": path, "md5": digest(text)} for path, text in files.items()] for files in (deps, outs)]
    return {"cmd": cmd, "deps": paths[0], "params": {"params.yaml": params}, "outs": paths[1]}


def digest(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def write(root: Path, files: dict[str, Any]) -> None:
    for name, value in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        text = value if isinstance(value, str) else json.dumps(value)
        (root / name).write_text(yaml.safe_dump(value) if name.endswith((".yaml", "dvc.lock")) else text)
    (root / "dvc.yaml").write_text(PIPELINE)


def state(rate: float, code: str, accuracy: float, env: str, moved: bool, keras: str = "3.15.1") -> dict[str, Any]:
    """The files of a state."""
    train = {"learning_rate": rate, "max_to_keep" if moved else "keep": 2}
    augment = {"rotation": 8.0}
    mnist: dict[str, Any] = {"train": {**train, "augment": augment}} if moved else {"train": train, "augment": augment}
    packages = PACKAGES if moved else FORMER[PACKAGES]
    lock = f"keras=={keras} \\\n    --hash=sha256:0\nnumpy==2.4.6\n"
    weights = f"{rate} {code}"
    locked = {
        "train@mnist": stage(
            "python train.py",
            {"stages/mnist": code, packages: lock},
            {"mnist.train": train},
            {"weights/mnist": weights},
        ),
        "evaluate@mnist": stage(
            "python evaluate.py", {"weights/mnist": weights}, {}, {"results/mnist/e": str(accuracy)}
        ),
        "evaluate-cartpole": stage("python play.py", {}, {"cartpole.train": {"env": env}}, {"results/cartpole/e": env}),
        "evaluate@gone": stage("python evaluate.py", {}, {}, {}),  # dvc.lock keeps stages that dvc.yaml lost
    }
    return {
        "params.yaml": {"mnist": mnist, "cartpole": {"train": {"env": env}}},
        "dvc.lock": {"schema": "2.0", "stages": locked},
        packages: lock,
        "stages/mnist/model.py": code,
        "results/mnist/evaluate.json": {"accuracy": accuracy, "loss": 0.0153, "test_images": 10000},
        "results/cartpole/evaluate.json": {"mean_return": 200.0 if env == "CartPole-v0" else 500.0},
        "results/mnist/curve.csv": f"step,loss\n100,0.5\n200,{rate}\n",
        "results/mnist/calibration.csv": "bin,accuracy\n0,0.5\n",
        "results/cartpole/returns.csv": f"episode,return\n1,{env[-1]}\n",
    }


def commit(root: Path, message: str) -> None:
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "commit", "--quiet", "-m", message], cwd=root, check=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main"], cwd=root, check=True)
    shutil.copytree(
        ROOT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local", "plots*")
    )
    write(root, state(0.003, "small = 1", 0.9955, "CartPole-v0", moved=False))
    commit(root, "First")
    (root / FORMER[PACKAGES]).unlink()
    write(root, state(0.006, "wide = 2", 0.9950, "CartPole-v1", moved=True, keras="3.16.0"))
    commit(root, "Second")
    return root


@pytest.fixture(scope="module")
def pair(project: Path) -> tuple[Snapshot, Snapshot]:
    return Snapshot(project, "HEAD~1"), Snapshot(project, "HEAD")


def test_parameters_changed_moved_and_renamed(pair: tuple[Snapshot, Snapshot]) -> None:
    changes = {change.key: change for change in param_changes(*pair)}
    assert changes["mnist.train.learning_rate"].values == (0.003, 0.006)
    assert changes["mnist.train.augment.rotation"].note == "was mnist.augment.rotation"
    assert changes["mnist.train.augment.rotation"].moved_only
    assert changes["mnist.train.max_to_keep"].note == "was mnist.train.keep"
    assert len(changes) == 4


def test_a_key_of_another_meaning_is_no_move() -> None:
    assert moves({"mnist.source.kind": "auto"}, {"mnist.train.network.kind": "strided"}) == {}
    assert moves({"a.x": 1, "a.y": 1}, {"a.z": 1}) == {}, "two former keys have the value"


def test_a_stage_ran_for_its_parameter_code_and_packages(pair: tuple[Snapshot, Snapshot]) -> None:
    stages = {change.name: change for change in Causes(*pair).stages()}
    assert set(stages) == {"train@mnist", "evaluate@mnist", "evaluate@cartpole"}
    assert stages["train@mnist"].reasons == {
        "parameters": ["mnist.train.learning_rate: 0.003 → 0.006"],
        "code": ["stages/mnist/model.py"],
        "packages": ["keras 3.15.1 → 3.16.0"],
    }
    assert stages["train@mnist"].changed_outputs == ["weights/mnist"]
    assert stages["evaluate@mnist"].reasons == {"data": ["weights/mnist, from train@mnist"]}


def test_a_lock_file_that_only_moved_is_no_reason(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy")
    text = (tmp_path / "copy" / PACKAGES).read_text().replace("3.16.0", "3.15.1")
    lock = (tmp_path / "copy" / "dvc.lock").read_text().replace(digest(text.replace("3.15.1", "3.16.0")), digest(text))
    write(tmp_path / "copy", {PACKAGES: text, "dvc.lock": yaml.safe_load(lock)})
    causes = Causes(Snapshot(project, "HEAD~1"), Snapshot(tmp_path / "copy", WORK_TREE))
    assert "packages" not in {change.name: change for change in causes.stages()}["train@mnist"].reasons
    assert causes.packages() == []


def test_metrics_say_better_worse_equal_or_not_comparable(pair: tuple[Snapshot, Snapshot]) -> None:
    verdicts = {(m.workload, m.key): (m.verdict, m.difference) for m in metric_changes(*pair)}
    assert verdicts["mnist", "evaluate.accuracy"] == ("other", -0.0005), "how far chance moves it is not known"
    assert verdicts["mnist", "evaluate.loss"] == ("same", 0.0)
    assert verdicts["cartpole", "evaluate.mean_return"] == ("other", 300.0)
    assert incomparable(*pair, "cartpole") == "another environment (CartPole-v0 against CartPole-v1)"


def test_other_arguments_of_the_environment_are_not_compared() -> None:
    before, after = (
        SimpleNamespace(params={"cartpole.train.env": "Lake-v1", **more}, metrics={})
        for more in ({"cartpole.train.env_kwargs": None}, {"cartpole.train.env_kwargs.is_slippery": False})
    )
    found = incomparable(cast(Snapshot, before), cast(Snapshot, after), "cartpole")
    assert found == "another environment's arguments (None against {'is_slippery': False})"
    assert incomparable(cast(Snapshot, after), cast(Snapshot, after), "cartpole") is None


def test_a_difference_between_seeds_is_noise(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy")
    both = Snapshot(tmp_path / "copy", "HEAD~1"), Snapshot(tmp_path / "copy", "HEAD")
    own = recipe("mnist", both[0].sections)
    measured = {own: [0.9948, 0.9952, 0.9956, 0.9950], "0000": [0.90, 0.95, 0.99]}
    rows = [
        {**dict.fromkeys(COLUMNS, ""), "workload": "mnist", "recipe": recipe, "seed": seed, "test": accuracy}
        for recipe, accuracies in measured.items()
        for seed, accuracy in enumerate(accuracies)
    ]
    write_table(tmp_path / "copy" / SEEDS, rows, COLUMNS)
    assert seed_deviations(*both) == {"mnist": pytest.approx(0.000342, abs=1e-6)}
    (change,) = (m for m in metric_changes(*both) if m.key == "evaluate.accuracy")
    assert (change.verdict, change.note) == ("noise", "")
    assert headline(change) == "mnist accuracy 99.55% → 99.50%, within seed noise of ±0.097%"
    assert not any("seeds.csv" in note for note in caveats(*both)), "seed noise is known"
    assert any("has no seeds" in note for note in caveats(*map(Snapshot, [project] * 2, ["HEAD~1", "HEAD"])))
    write_table(tmp_path / "copy" / SEEDS, [row for row in rows if row["recipe"] == "0000"], COLUMNS)
    assert seed_deviations(*both) == {}, "another recipe's seeds say nothing"


def test_curves_are_overlaid_folded_or_explained(pair: tuple[Snapshot, Snapshot]) -> None:
    found = {curve.title: curve for curve in curves(*pair)}
    assert found["Learning curve"].lines == {"A": [(100, 0.5), (200, 0.003)], "B": [(100, 0.5), (200, 0.006)]}
    assert found["Calibration"].same
    assert found["Returns"].scatter


def test_the_work_tree_is_a_state_and_says_what_is_not_run_yet(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy")
    copy = tmp_path / "copy"
    text = (copy / "params.yaml").read_text()
    (copy / "params.yaml").write_text(text.replace("learning_rate: 0.006", "learning_rate: 1.0e-06"))
    (copy / "results/mnist/curve.csv").unlink()
    a, b = Snapshot(copy, "HEAD"), Snapshot(copy, WORK_TREE)
    assert stale(b) == ["mnist.train.learning_rate"]
    assert any("made before these changed: mnist.train.learning_rate" in note for note in caveats(a, b))
    (curve,) = (c for c in curves(a, b) if c.title == "Learning curve")
    assert curve.note == "the work tree has no results/mnist/curve.csv"
    assert Causes(a, b).stages() == []


def test_an_older_state_without_a_metric_or_a_workload(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy")
    copy = tmp_path / "copy"
    write(copy, {"results/mnist/evaluate.json": {"accuracy": 0.99, "test_images": 9000}})
    found = {
        m.key: m for m in metric_changes(Snapshot(copy, "HEAD"), Snapshot(copy, WORK_TREE)) if m.workload == "mnist"
    }
    assert found["evaluate.loss"].note == "only in HEAD"
    assert found["evaluate.accuracy"].note == "another test split (10,000 against 9,000 images)"


def test_different_processors_are_told(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy")
    copy = tmp_path / "copy"
    record = processor.RECORD.as_posix()
    outputs = processor.digest((copy / "dvc.lock").read_text())
    write(copy, {FORMER[record]: {"outputs": outputs, "processor": "first"}})
    commit(copy, "Run on one")
    write(copy, {record: {"outputs": outputs, "processor": "second"}})
    notes = caveats(Snapshot(copy, "HEAD"), Snapshot(copy, WORK_TREE))
    assert "Made on different processors: first and second." in notes


def test_other_prepared_data_are_told(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy")
    lock = yaml.safe_load((tmp_path / "copy/dvc.lock").read_text())
    for data, is_said in (("first", True), ("second", True), ("second", False)):
        lock["stages"]["evaluate@mnist"]["outs"].append({"path": "data/mnist", "md5": digest(data)})
        write(tmp_path / "copy", {"dvc.lock": lock})
        notes = caveats(Snapshot(tmp_path / "copy", "HEAD"), Snapshot(tmp_path / "copy", WORK_TREE))
        assert ("mnist: the prepared data differ, though the test splits have the same size." in notes) is is_said
        if is_said:
            commit(tmp_path / "copy", data)


def test_page_and_markdown_tell_the_same(pair: tuple[Snapshot, Snapshot]) -> None:
    comparison = compare(*pair)
    assert comparison.summary == {
        "Changed": [
            "2 parameters: cartpole.train.env CartPole-v0 → CartPole-v1, mnist.train.learning_rate 0.003 → 0.006",
            "parameters: 2 moved to another section",
            "1 code file: stages/mnist/model.py",
            "packages: keras 3.15.1 → 3.16.0",
        ],
        "Ran": [
            "3 of 3 stages",
            "for code, packages, parameters: train@mnist",
            "for parameters: evaluate@cartpole",
            "for other stages' outputs: evaluate@mnist",
        ],
        "Result": [
            "cartpole mean return 200.0 → 500.0, not judged: another environment (CartPole-v0 against CartPole-v1)",
            "mnist accuracy 99.55% → 99.50%, not judged: how far chance moves it is not known",
            "other measures of quality: 1 equal",
        ],
    }
    text, page = markdown(comparison), html(comparison)
    lines = [line for answer in comparison.summary.values() for line in answer if "'" not in line]
    for words in (*lines, "another environment", "has no models/mnist"):
        assert words in text
        assert words in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
    assert page == html(compare(*pair)), "the same bytes again"


def test_the_command_writes_both_files_and_refuses_an_unknown_state(project: Path, tmp_path: Path) -> None:
    done = run_stage("tools.compare", "HEAD~1", "HEAD", "--root", project, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"index.html", "comparison.md"}
    assert_refused(run_stage("tools.compare", "nowhere", "--root", project), "nowhere: expected a commit, tag, branch")


def example(image: int, hit: bool, probability: float = 0.9) -> str:
    return f"{image},7,{7 if hit else 1},{probability},{probability if hit else 1 - probability}\n"


def with_examples(root: Path, hits: list[bool], **parameters: Any) -> None:
    """Write a state with predictions in the work tree."""
    rows = "".join(example(i, hit) for i, hit in enumerate(hits))
    accuracy = sum(hits) / len(hits)
    write(
        root,
        {
            "results/mnist/examples.csv": "image,actual,predicted,probability,probability_of_actual\n" + rows,
            "results/mnist/evaluate.json": {
                "accuracy": accuracy, "recall": {"7": accuracy}, "expected_calibration_error": abs(accuracy - 0.9),
                "test_images": len(hits),
            },
            "params.yaml": {
                "mnist": {"evaluate": {"calibration_bins": 10} | parameters, "train": {"learning_rate": 0.006}},
                "cartpole": {"train": {"env": "CartPole-v1"}},
            },
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "mended", "word"), [(0, 1, "chance"), (6, 8, "chance"), (0, 12, "better"), (30, 4, "worse")]
)
def test_images_that_changed_decide_by_mcnemar(
    project: Path, tmp_path: Path, broken: int, mended: int, word: str
) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    before = [True] * 960 + [False] * 40
    with_examples(copy, before)
    commit(copy, "Before")
    with_examples(copy, [False] * broken + before[broken:960] + [True] * mended + before[960 + mended :])
    judge = Judge(Snapshot(copy, "HEAD"), Snapshot(copy, WORK_TREE))
    assert judge.verdict("mnist", "evaluate.accuracy").word == word
    assert judge.verdict("mnist", "evaluate.recall.7").word == word


def test_a_metric_of_other_parameters_or_other_data_is_not_judged(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    with_examples(copy, [True] * 900 + [False] * 100)
    commit(copy, "Before")
    with_examples(copy, [True] * 990 + [False] * 10, calibration_bins=15)
    found = {m.key: m for m in metric_changes(Snapshot(copy, "HEAD"), Snapshot(copy, WORK_TREE))}
    assert found["evaluate.accuracy"].verdict == "better"
    error = found["evaluate.expected_calibration_error"]
    assert (error.verdict, error.note) == ("other", "another calibration bins (10 against 15)")
    text = (copy / "results/mnist/examples.csv").read_text()
    (copy / "results/mnist/examples.csv").write_text(text.replace(",7,", ",3,"))
    found = {m.key: m for m in metric_changes(Snapshot(copy, "HEAD"), Snapshot(copy, WORK_TREE))}
    assert found["evaluate.accuracy"].note == "other test instances (0 of 1,000 are the same)"


def test_without_the_predictions_the_intervals_decide(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    for rmse, word in ((1.019, "chance"), (0.98, "better")):
        figures = [{"rmse": v, "rmse_low": v - 0.01, "rmse_high": v + 0.01} for v in (1.024, rmse)]
        for number, values in enumerate(figures):
            write(copy, {"results/mnist/evaluate.json": values})
            if number == 0:
                (copy / "note").write_text(word)
                commit(copy, f"Before {word}")
        changes = metric_changes(Snapshot(copy, "HEAD"), Snapshot(copy, WORK_TREE))
        found = {m.key: m for m in changes if m.workload == "mnist"}
        assert found["evaluate.rmse"].verdict == word
        assert found.keys() == {"evaluate.rmse"}, "ends of intervals are no metrics of their own"
        assert found["evaluate.rmse"].noise == pytest.approx(0.01 * 2**0.5)


def test_a_folder_comes_from_the_stages_that_changed_it_and_a_first_state_is_all_new(
    project: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")

    def locked(mnist: str) -> dict[str, Any]:
        outs = {"export@cartpole": {"models/cartpole": "1"}, "export@mnist": {"models/mnist": mnist}}
        stages = {name: stage("export", {}, {}, made) for name, made in outs.items()}
        return {"schema": "2.0", "stages": stages | {"report": stage("report", {"models": mnist}, {}, {"r": mnist})}}

    pipeline = {"export": {"foreach": ["cartpole", "mnist"], "do": {"cmd": "export"}}, "report": {"cmd": "report"}}
    for number, model in enumerate(("1", "2")):
        write(copy, {"dvc.lock": locked(model)})
        (copy / "dvc.yaml").write_text(yaml.safe_dump({"stages": pipeline}))
        if number == 0:
            commit(copy, "Before")
    a, b = Snapshot(copy, "HEAD"), Snapshot(copy, WORK_TREE)
    (report,) = (change for change in Causes(a, b).stages() if change.name == "report")
    assert report.reasons == {"data": ["models, from export@mnist"]}
    (copy / "dvc.lock").unlink()
    commit(copy, "No results")
    write(copy, {"dvc.lock": locked("2")})
    (copy / "dvc.yaml").write_text(yaml.safe_dump({"stages": pipeline}))
    first = compare(Snapshot(copy, "HEAD"), Snapshot(copy, WORK_TREE))
    assert first.summary["Ran"] == ["3 of 3 stages, all new"]


def test_calibration_is_drawn_against_the_diagonal_with_counts(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    pipeline = yaml.safe_load((copy / "dvc.yaml").read_text())
    pipeline["plots"] = [{"mnist: calibration": {"x": "confidence", "y": {"results/mnist/c.csv": "accuracy"}}}]
    for number, accuracy in enumerate((0.5, 0.6)):
        (copy / "results/mnist/c.csv").write_text(f"confidence,accuracy,images\n0.55,{accuracy},123\n0.9,0.95,456\n")
        (copy / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
        if number == 0:
            commit(copy, "Before")
    (curve,) = curves(Snapshot(copy, "HEAD"), Snapshot(copy, WORK_TREE))
    assert [(row["side"], row["y"], row["count"]) for row in curve.calibration] == [
        ("A", 0.5, 123), ("A", 0.95, 456), ("B", 0.6, 123), ("B", 0.95, 456)
    ]  # fmt: skip
    drawn = _chart(curve)
    assert "count: 123" in drawn and "Dashed: all well" in drawn
