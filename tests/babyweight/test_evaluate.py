"""The three commands after preparing, on few births; and the figures of the evaluation."""

import csv
import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stages.babyweight.comparison import compare
from stages.babyweight.evaluate import (
    BLOCK,
    CROSSED,
    ByWeek,
    Errors,
    Residuals,
    Told,
    band,
    blocks,
    calibration,
    chosen,
    design,
    effects,
    examples,
    group_places,
    group_values,
    instances,
    is_personal,
    linear,
)
from stages.babyweight.source.births import FEATURES, VOCABULARIES, decode
from stages.evaluation.groups import ErrorGroups
from stages.report.predictions import SHOWN
from stages.savedmodel.predictor import Predictor
from stages.workloads import is_end
from tests.conftest import ROOT, assert_refused, run_stage, set_key

SCHEMA = {"features": list(FEATURES), "vocabularies": {k: list(v) for k, v in VOCABULARIES.items()}}


def codes(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers([0, 14, 0, 1, 22, 0, 0, 0], [3, 45, 12, 3, 44, 3, 3, 3], [count, 8]).astype(np.uint8)


def test_instances_are_the_decoded_births() -> None:
    rows = codes(30)
    sent, expected = instances(rows, SCHEMA), decode(rows)
    assert {name: list(values) for name, values in sent.items()} == {k: list(v) for k, v in expected.items()}


def test_the_linear_baseline_finds_a_linear_weight() -> None:
    train, test = codes(2000), codes(100, seed=1)
    width = 1 + 3 + 2 + 11 + 2 + 2 + 2
    assert design(test, SCHEMA).shape == (100, width)
    weights = np.random.default_rng(2).normal(size=width)
    pounds = design(train, SCHEMA) @ weights
    parts = [(train[i : i + 300], pounds[i : i + 300]) for i in range(0, 2000, 300)]
    found, mean = linear(parts, SCHEMA)
    assert design(test, SCHEMA) @ found == pytest.approx(design(test, SCHEMA) @ weights, abs=1e-6)
    assert mean == pytest.approx(pounds.mean())


def test_the_linear_baseline_survives_categories_that_never_occur() -> None:
    train = codes(500)
    train[:, FEATURES.index("mother_race")] = 0
    pounds = 0.2 * train[:, FEATURES.index("gestation_weeks")].astype(float)
    found, _ = linear([(train, pounds)], SCHEMA)
    assert design(train, SCHEMA) @ found == pytest.approx(pounds, abs=1e-6)


def test_a_split_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test").mkdir()
    births, pounds = codes(1000), np.random.default_rng(4).random(1000).astype(np.float32)
    np.save(tmp_path / "test/features.npy", births)
    np.save(tmp_path / "test/weight_pounds.npy", pounds)
    monkeypatch.setattr("stages.babyweight.evaluate.BLOCK", 300)
    parts = list(blocks(tmp_path, "test"))
    assert [len(weights) for _, weights in parts] == [300, 300, 300, 100]
    assert (np.concatenate([block for block, _ in parts]) == births).all()
    assert (np.concatenate([weights for _, weights in parts]) == pounds).all()


def test_errors_by_hand() -> None:
    pounds, predicted = np.array([5.0, 7.0, 8.0, 8.0]), np.array([6.0, 7.0, 8.0, 6.0])
    errors = Errors()
    errors.add(predicted[:3], pounds[:3], np.array([True, False, False]))
    errors.add(predicted[3:], pounds[3:], np.array([False]))
    found = errors.metrics()
    figures = {key: value for key, value in found.items() if not is_end(key)}
    assert figures == {
        "rmse": pytest.approx(np.sqrt(5 / 4), rel=1e-5),
        "mae": 0.75,
        "r2": pytest.approx(1 - 1.25 / 1.5, rel=1e-5),
        "rmse_preterm": 1.0,
        "rmse_term": pytest.approx(np.sqrt(4 / 3), rel=1e-5),
    }
    assert found["rmse_low"] < found["rmse"] < found["rmse_high"]
    assert found["rmse_preterm_low"] is None, "of one birth"
    term = Errors()
    term.add(predicted, pounds, np.zeros(4, bool))
    assert term.metrics()["rmse_preterm"] is None


def test_tables_by_hand() -> None:
    predicted, pounds = np.arange(20.0), np.arange(20.0) + 1
    table = calibration(predicted[::-1], pounds[::-1])
    assert table[0] == {"decile": 1, "predicted": 0.5, "actual": 1.5, "low": 0.520018, "high": 2.47998}
    assert len(table) == 10
    residuals, weeks = Residuals(), ByWeek()
    for errors in ([-0.3, 0.0], [0.1, 0.25]):
        residuals.add(np.array(errors))
    assert residuals.rows() == [
        {"error": -0.5, "births": 1},
        {"error": 0.0, "births": 2},
        {"error": 0.25, "births": 1},
    ]
    for week, answer, actual in ([38, 39], [6.0, 7.0], [5.0, 7.5]), ([38], [8.0], [8.0]):
        weeks.add(np.array(week, np.uint8), np.array(answer), np.array(actual))
    assert weeks.rows() == [
        {
            "week": 38,
            "predicted": 7.0,
            "actual": 6.5,
            "rmse": pytest.approx(np.sqrt(0.5), rel=1e-5),
            "births": 2,
            "low": pytest.approx(np.sqrt(0.5) / np.exp(1.96 / 2), rel=1e-4),
            "high": pytest.approx(np.sqrt(0.5) * np.exp(1.96 / 2), rel=1e-4),
        },
        {"week": 39, "predicted": 7.0, "actual": 7.5, "rmse": 0.5, "births": 1, "low": "", "high": ""},
    ]


def test_an_effect_is_the_difference_to_the_commonest_value() -> None:
    births = codes(400)
    births[:, FEATURES.index("mother_married")] = [1, 2, 2, 2] * 100
    index = {name: FEATURES.index(name) for name in ("mother_married", "gestation_weeks", "is_male")}

    def predict(varied: np.ndarray) -> np.ndarray:
        """Half a pound for each week, and marriage counts by a third more for boys."""
        married = varied[:, index["mother_married"]] == 2
        boy = varied[:, index["is_male"]] == 2
        pounds: np.ndarray = 0.5 * varied[:, index["gestation_weeks"]] + married * (1.0 + boy / 3)
        return pounds

    rows = effects(predict, births, SCHEMA)
    married = {row["value"]: row for row in rows if row["input"] == "mother_married"}
    assert married["True"] == {
        "input": "mother_married", "value": "True", "births": 300, "effect": 0.0, "low": 0.0, "high": 0.0
    }  # fmt: skip
    boys = (births[:, index["is_male"]] == 2).mean()
    assert married["False"]["effect"] == round(-1 - boys / 3, 4)
    assert (married["False"]["low"], married["False"]["high"]) == (-1.3333, -1.0)
    weeks = [row for row in rows if row["input"] == "gestation_weeks"]
    assert sum(row["births"] for row in weeks) == 400
    assert np.diff([row["effect"] for row in weeks]) == pytest.approx(0.5)
    assert {row["effect"] for row in rows if row["input"] == "alcohol_use"} == {0.0}


def test_an_example_has_its_words() -> None:
    births = codes(3)
    rows = list(examples(births, SCHEMA, np.array([7.0, 6.5, 8.0]), np.array([7.1234567, 6.0, 8.0]), [0, 4, 2]))
    assert [row["birth"] for row in rows] == [0, 4, 2]
    assert rows[0]["predicted"] == 7.12346
    decoded = decode(births)
    assert all(rows[2][name] == decoded[name][2] for name in FEATURES)


def test_examples_are_the_same_births_whatever_else_is_there() -> None:
    births, pounds = codes(3000), np.random.default_rng(5).random(3000).astype(np.float32)
    assert chosen(births, pounds, 3000).tolist() == list(range(3000)), "all, if there are not more"
    some = chosen(births, pounds, 600)
    assert len(some) == 600 and (np.diff(some) > 0).all()
    assert (some < 1500).mean() == pytest.approx(0.5, abs=0.1), "from everywhere"
    fewer = chosen(births[100:], pounds[100:], 500) + 100
    assert {*fewer.tolist()} <= {*some.tolist()} | {*range(3000)} and len({*fewer.tolist()} & {*some.tolist()}) > 480


def test_measuring_takes_memory_that_does_not_grow_with_the_births(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        (tmp_path / "train").mkdir(exist_ok=True)
        np.save(tmp_path / "train/features.npy", codes(count))
        np.save(tmp_path / "train/weight_pounds.npy", np.ones(count, np.float32))
        tracemalloc.start()
        linear(blocks(tmp_path, "train"), SCHEMA)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(4 * BLOCK) < 1.1 * peak(2 * BLOCK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on 20,000 synthetic births, exported and evaluated."""
    folder = tmp_path_factory.mktemp("babyweight")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    set_key(params, "babyweight.prepare.source.rows", 20000)
    set_key(params, "babyweight.train.steps", 300)
    set_key(params, "babyweight.evaluate.examples", 1500)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for command in (
        ("babyweight.prepare", "--raw", "none", "--sample", "sample.csv", "data", "prepare.json"),
        ("babyweight.train", "data", "weights", "train.json", "curve.csv"),
        ("export", "babyweight", "weights", "model"),
        ("babyweight.evaluate", "model", "data", "evaluate.json", "plots", "examples.csv"),
    ):
        done = run_stage(f"stages.{command[0]}", *command[1:], cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_short_training_beats_both_baselines(folder: Path) -> None:
    found: dict[str, Any] = json.loads((folder / "evaluate.json").read_text())
    assert found["test_births"] == json.loads((folder / "prepare.json").read_text())["kept"]["test"]
    assert found["rmse"] < 0.99 * found["baselines"]["linear"]["rmse"]
    assert found["baselines"]["linear"]["rmse"] < 0.9 * found["baselines"]["mean"]["rmse"]
    assert 0.95 < found["rmse"] < 1.1
    assert found["rmse_term"] < found["rmse"] < found["rmse_preterm"]
    curve = table(folder / "curve.csv")
    assert float(curve[-1]["validation_rmse"]) < float(curve[0]["validation_rmse"])


def test_the_tables_cover_every_test_birth(folder: Path) -> None:
    births = json.loads((folder / "evaluate.json").read_text())["test_births"]
    for name in ("residuals.csv", "by_week.csv"):
        rows = table(folder / "plots" / name)
        assert sum(int(row["births"]) for row in rows) == births, name
    groups = table(folder / "plots" / "groups.csv")
    assert list(groups[0]) == ["group", "value", "births", "rmse", "low", "high", "bias"]
    for group in ("sex", "race", "marriage", "smoking", "drinking", "plurality", "preterm", "mother's age"):
        assert sum(int(row["births"]) for row in groups if row["group"] == group) == births, group
    crossed = [int(row["births"]) for row in groups if row["group"] == "race and preterm"]
    assert len(crossed) > 1 and min(crossed) >= 100
    found = json.loads((folder / "evaluate.json").read_text())
    preterm = {row["value"]: float(row["rmse"]) for row in groups if row["group"] == "preterm"}
    assert preterm == {"preterm": found["rmse_preterm"], "term": found["rmse_term"]}
    assert len(table(folder / "examples.csv")) == 1500 < births
    effect = {(r["input"], r["value"]): float(r["effect"]) for r in table(folder / "plots/effects.csv")}
    assert effect["is_male", "True"] > effect["is_male", "False"]
    assert effect["gestation_weeks", "39"] > effect["gestation_weeks", "35"] > effect["gestation_weeks", "30"]
    pounds = np.load(folder / "data/test/weight_pounds.npy")
    rows = table(folder / "examples.csv")
    assert [float(row["actual"]) for row in rows] == pytest.approx(
        [pounds[int(row["birth"])] for row in rows], rel=1e-5
    )
    weeks, deciles = ({k: np.array([float(row[k]) for row in table(folder / "plots" / name)]) for k in keys}
                      for name, keys in (("by_week.csv", ("births", "predicted", "actual", "rmse")),
                                         ("calibration.csv", ("predicted", "actual"))))  # fmt: skip
    mean = {key: (weeks["births"] * weeks[key]).sum() / births for key in ("predicted", "actual")}
    assert mean["actual"] == pytest.approx(pounds.mean(), abs=1e-3)
    assert {key: deciles[key].mean() for key in mean} == pytest.approx(mean, abs=0.01)
    assert np.sqrt((weeks["births"] * weeks["rmse"] ** 2).sum() / births) == pytest.approx(found["rmse"], rel=1e-4)
    middle = sum((float(r["error"]) + 0.125) * int(r["births"]) for r in table(folder / "plots/residuals.csv")) / births
    assert middle == pytest.approx(mean["predicted"] - mean["actual"], abs=0.02)
    actual = [float(row["actual"]) for row in table(folder / "plots/calibration.csv")]
    assert actual[0] < 5.5 < 7.7 < actual[-1]


@pytest.fixture(scope="module")
def personal(folder: Path) -> Path:
    """The same births as if they were of people, evaluated."""
    shutil.copytree(folder / "data", folder / "people")
    schema = json.loads((folder / "people/schema.json").read_text())
    (folder / "people/schema.json").write_text(json.dumps(schema | {"source": "files"}))
    outputs = ("people.json", "people_plots", "people.csv")
    done = run_stage("stages.babyweight.evaluate", "model", "people", *outputs, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_tells_of_few_births_of_people(personal: Path) -> None:
    for name in ("residuals", "by_week", "effects", "groups"):
        every, some = (table(personal / plots / f"{name}.csv") for plots in ("plots", "people_plots"))
        assert any(int(row["births"]) < 10 for row in every), "or the test shows nothing"
        assert all(int(row["births"]) >= 10 for row in some)
        assert all(row in every for row in some) and len(every) > len(some) > 10
    assert table(personal / "plots/calibration.csv") == table(personal / "people_plots/calibration.csv")
    assert (personal / "evaluate.json").read_text() == (personal / "people.json").read_text()
    cells = table(personal / "people.csv")
    births = json.loads((personal / "evaluate.json").read_text())["test_births"]
    assert sum(int(row["births"]) for row in cells) == births and min(int(row["births"]) for row in cells) >= 20
    assert {row["term"] for row in cells} == {"preterm", "term"} and not {*FEATURES} & {*cells[0]}


def told_of(births: np.ndarray, preterm_weeks: int = 37) -> tuple[Told, dict[str, list[dict[str, Any]]], ErrorGroups]:
    """What is told of births that weigh 7 pounds each, the tables that it leaves, and the groups."""
    values = group_values(SCHEMA)
    groups, pounds = ErrorGroups(values, "births", {}), np.full(len(births), 7.0)
    weeks = births[:, FEATURES.index("gestation_weeks")]
    groups.add(group_places(births, SCHEMA, weeks < preterm_weeks), pounds, pounds)
    by_week, residuals = ByWeek(), Residuals()
    by_week.add(weeks, pounds, pounds)
    residuals.add(births[:, FEATURES.index("mother_age")] / 10)
    found = effects(lambda varied: np.zeros(len(varied)), births, SCHEMA)
    told = Told(groups, values)
    tables = {"by_week": by_week.rows(), "residuals": residuals.rows(), "effects": found, "calibration": []}
    return told, told.tables(tables, preterm_weeks), groups


@given(st.integers(0, 2**32 - 1), st.integers(60, 600), st.integers(1, 12))
def test_no_few_births_follow_from_groups_and_tables_together(seed: int, count: int, spread: int) -> None:
    random = np.random.default_rng(seed)
    births = codes(count, seed)
    births[:, FEATURES.index("gestation_weeks")] = 40 - random.geometric(1 / spread, count).clip(0, 20)
    births[:, FEATURES.index("mother_race")] = random.geometric(0.4, count).clip(0, 11)
    births[:, FEATURES.index("mother_age")] = random.normal(27, spread, count).clip(12, 60)
    told, tables, groups = told_of(births)
    values = group_values(SCHEMA)

    def left(rows: list[dict[str, Any]], counts: np.ndarray, answer: np.ndarray, places: list[int]) -> None:
        """No total of a group that is told, less the rows of its births, is of few; nor is that of all others."""
        inside = np.zeros(len(counts) + 1, int)
        np.add.at(inside, np.where(answer, np.arange(len(counts)), len(counts))[places], [r["births"] for r in rows])
        rest = np.append(np.where(answer, counts, 0), counts[~answer].sum()) - inside
        assert not ((rest > 0) & (rest < 10)).any()

    for rows, group, column in (
        (tables["by_week"], "preterm", "week"),
        ([r for r in tables["effects"] if r["input"] == "gestation_weeks"], "preterm", "value"),
        ([r for r in tables["effects"] if r["input"] == "mother_age"], "mother's age", "value"),
    ):
        places = band(group, [row[column] for row in rows], 37).tolist()
        left(rows, groups.counts(group), told.values[group], places)
    rows = list(groups.rows(told.values))
    assert all(row["births"] >= 10 for row in [*rows, *tables["residuals"], *tables["effects"], *tables["by_week"]])
    crossed = groups.counts(CROSSED).reshape(-1, 2)
    pairs = told.values[CROSSED].reshape(-1, 2)
    assert (pairs.all(axis=1) == pairs.any(axis=1)).all() and not (pairs[:, 0] & ~told.values["race"]).any()
    if pairs.any():
        rest = crossed[~pairs[:, 0]].sum(axis=0)
        assert not ((rest > 0) & (rest < 10)).any() and told.terms
    assert len(values[CROSSED]) == pairs.size


def test_few_preterm_births_have_no_error_of_their_own() -> None:
    errors = Errors()
    errors.add(np.arange(100.0), np.arange(100.0) + 1, np.arange(100) < 9)
    hidden = errors.metrics(with_terms=False)
    assert hidden["rmse_preterm"] is None and hidden["rmse_term"] is None and hidden["rmse_term_low"] is None
    assert errors.metrics()["rmse_preterm"] == 1
    births = codes(300)
    births[:, FEATURES.index("gestation_weeks")] = [36] * 9 + [38] * 150 + [39] * 141
    told, tables, _ = told_of(births)
    assert not told.terms and not told.values[CROSSED].any() and not told.values["preterm"].any()
    assert [row["week"] for row in tables["by_week"]] == [38], "else the nine follow from all"
    assert told_of(births, preterm_weeks=30)[0].terms, "if all are term"


def test_deciles_of_few_births_are_joined() -> None:
    table = calibration(np.arange(39.0), np.arange(39.0), fewest=10)
    assert [row["decile"] for row in table] == [1, 2, 3]
    assert len(calibration(np.arange(100.0), np.arange(100.0), fewest=10)) == 10


def test_a_comparison_shows_no_births_of_people(personal: Path) -> None:
    models = Predictor(personal / "model"), Predictor(personal / "model")
    shown, hidden = compare(models, personal / "data"), compare(models, personal / "people")
    assert len(shown.rows) == SHOWN and not hidden.rows and not hidden.header
    assert "at most" in shown.summary and "at most" not in hidden.summary
    assert hidden.summary.endswith("They are of people, so none is shown: see docs/privacy.md.")
    schema = json.loads((personal / "people/schema.json").read_text())
    assert is_personal(schema) and not is_personal(schema | {"public": True})
    assert not is_personal(schema | {"source": "synthetic"})


def test_a_missing_model_is_named(folder: Path) -> None:
    done = run_stage("stages.babyweight.evaluate", "none", "data", "e.json", "p", "x.csv", cwd=folder)
    assert_refused(done, "none: expected a SavedModel")
    assert not (folder / "e.json").exists() and not (folder / "p").exists()
