"""Nothing that Git tracks, that `dvc push` sends or that a comparison shows tells of single people."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.babyweight.source.births import FACTS
from stages.babyweight.source.facts import read_facts
from stages.babyweight.source.synthetic import Generator
from tests.pipeline.scratch import dvc, ran
from tools.scratch import change, commit

BIRTHS = 4000
HEAVY = 40
"""Births of unlike weights that nobody else has: some of them are test births."""
WEIGHTS = [20.0347 + number / 8 for number in range(HEAVY)]
WORDS = ("Jane Doe", "secret-text", "secret-word")


def write_births(path: Path) -> None:
    """Births with names as keys, weights that tell who it is, a bad row and an unknown word."""
    births = next(Generator(read_facts(FACTS), 2017).blocks(BIRTHS)).astype(object)
    births["key"] = [f"Jane Doe {number}" for number in range(BIRTHS)]
    births.loc[: HEAVY - 1, "weight_pounds"] = WEIGHTS
    births.loc[HEAVY, "gestation_weeks"] = "secret-text"
    births.loc[HEAVY + 1, "mother_race"] = "secret-word"
    births.loc[HEAVY + 2, ["plurality", "mother_age", "gestation_weeks"]] = [7, 61, 51]
    births.to_csv(path, index=False)


@pytest.fixture(scope="module")
def people(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scratch pipeline, run once more on births of people, committed, pushed and compared."""
    folder = shutil.copytree(pipeline, tmp_path_factory.mktemp("people") / "project", symlinks=True)
    write_births(folder / "data/raw/babyweight/births.csv")
    change(folder, "babyweight.prepare.source.kind", "files")
    change(folder, "babyweight.train.steps", 200)
    done = dvc(folder, "repro")
    assert {"prepare@babyweight", "evaluate@babyweight", "card@babyweight", "report"} <= ran(done)
    (folder / "log").write_text(done.stdout + done.stderr)
    dvc(folder, "remote", "add", "--default", "store", str(folder.parent / "store"))
    dvc(folder, "push")
    commit(folder, "Run the pipeline on births of people")
    command = [sys.executable, "-m", "tools.compare", "HEAD~1", "HEAD", "--root", str(folder), "--out", "comparison"]
    subprocess.run(command, cwd=folder, check=True)
    return folder


def shared(folder: Path) -> Iterator[tuple[str, bytes]]:
    """What Git tracks, what the remote has and what the comparison shows, by path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, check=True, capture_output=True, text=True).stdout
    tracked = [folder / name for name in listed.split("\0") if name.startswith(("data/", "results/", "dvc.lock"))]
    remote = [path for path in (folder.parent / "store").rglob("*") if path.is_file()]
    assert len(tracked) > 20 and len(remote) > 40
    for path in [*tracked, *remote, *(folder / "comparison").iterdir()]:
        yield str(path.relative_to(folder.parent)), path.read_bytes()


def test_no_key_no_quoted_row_and_no_value_of_one_birth_is_shared(people: Path) -> None:
    log = (people / "log").read_text()
    assert "secret-text" in log and "secret-word" in log, "bad rows are quoted on standard error"
    weights = {f"{weight:.6g}" for weight in WEIGHTS}  # as tables have them; charts have other hundredths
    for path, content in shared(people):
        text = content.decode(errors="replace")
        assert [word for word in WORDS if word in text] == [], path
        assert not weights & {*re.findall(r"\d+\.\d+", text)}, path
    assert (people / "data/samples/births.csv").read_text().count("\n") == 1


def test_every_tracked_table_tells_of_ten_births_or_more(people: Path) -> None:
    tables = 0
    for path in people.glob("results/babyweight/**/*.csv"):
        rows = list(csv.DictReader(path.read_text().splitlines()))
        if rows and "births" in rows[0]:
            tables += 1
            assert min(int(row["births"]) for row in rows) >= 10, path
    assert tables == 5
    weeks = (people / "results/babyweight/evaluation/by_week.csv").read_text().splitlines()
    assert len(weeks) > 5, "of the usual weeks there are enough"
    prepared = json.loads((people / "results/babyweight/prepare.json").read_text())
    distributions = prepared["distributions"]
    assert all(min(counts.values()) >= 10 for counts in distributions["values"].values())
    assert min(distributions["weights"]["bins"].values()) >= 10
    assert all(set(figures) == {"mean"} for figures in prepared["numbers"].values())
    assert prepared["bad"] == {"other": 1} and not prepared["first_bad"] and not prepared["commonest_unknown_words"]


def test_a_card_a_report_and_a_comparison_show_no_births(people: Path) -> None:
    card = (people / "results/babyweight/card.md").read_text()
    assert "| race | White |" in card and "personal" in card
    page = (people / "reports/index.html").read_text()
    assert "These births are of people" in page and "fewer than ten" in page
    comparison = (people / "comparison/comparison.md").read_text()
    assert "They are of people, so none is shown" in comparison
    assert "lb at most" not in comparison


def test_raw_births_are_not_added_to_git(people: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "data/raw"], cwd=people, check=True, capture_output=True, text=True)
    assert "births.csv" not in listed.stdout and "data/raw/babyweight/README.md" in listed.stdout
