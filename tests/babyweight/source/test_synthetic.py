"""The generator against the figures that it follows: each within its sampling error."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.babyweight.source.births import COLUMNS, FACTS
from stages.babyweight.source.facts import read_facts
from stages.babyweight.source.synthetic import BLOCK_ROWS, GRAMS_PER_POUND, Generator
from stages.core.errors import InputError
from tests.babyweight.births import parse, rows_of
from tests.conftest import assert_refused, run_stage

ROWS = 1_000_000
HALF_OUNCE = 1 / 32  # real weights heap on whole ounces, and so do their percentiles
SIGMAS = 4


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return read_facts(FACTS)


@pytest.fixture(scope="module")
def births(facts: dict[str, Any]) -> pd.DataFrame:
    return pd.concat(Generator(facts, 1).blocks(ROWS), ignore_index=True)


def assert_shares(found: pd.Series, shares: dict[Any, float]) -> None:
    """Shares of the values, which follow the given ones exactly, within their sampling error."""
    total = sum(shares.values())
    counts = found.value_counts()
    assert set(counts.index[counts > 0]) <= set(shares)
    for value, weight in shares.items():
        share = weight / total
        error = SIGMAS * np.sqrt(share * (1 - share) / len(found)) + 1 / len(found)
        assert counts.get(value, 0) / len(found) == pytest.approx(share, abs=error), value


def test_shares(births: pd.DataFrame, facts: dict[str, Any]) -> None:
    shares = facts["shares"]
    assert_shares(births.is_male, {"True": shares["male"], "False": 1 - shares["male"]})
    assert_shares(births.mother_married, {"True": 1 - shares["unmarried"], "False": shares["unmarried"]})
    assert_shares(births.mother_race, shares["race"])
    assert_shares(births.mother_age, shares["age"])
    assert_shares(births.plurality, shares["plurality"])
    for babies, weeks in shares["weeks"].items():
        chosen = births.plurality.clip(upper=3) == babies
        assert_shares(births.gestation_weeks[chosen], weeks)
    asked = 1 - shares["use_not_asked"]
    for column, share in (("cigarette_use", shares["smoker"]), ("alcohol_use", shares["alcohol"])):
        table = {"None": 1 - asked, "True": asked * share, "False": asked * (1 - share)}
        assert_shares(births[column], table)


def test_young_mothers_smoke_as_measured(births: pd.DataFrame, facts: dict[str, Any]) -> None:
    groups = facts["shares"]["smoker_by_age"]
    group = np.searchsorted(list(groups), births.mother_age, side="right") - 1
    asked = births.cigarette_use != "None"
    smokes = (births.cigarette_use == "True")[asked].groupby(group[asked]).agg(["mean", "size"])
    level = smokes["mean"].iloc[3] / groups[25]
    error = np.sqrt(smokes["mean"] / smokes["size"])
    for number, share in enumerate(groups.values()):
        assert smokes["mean"][number] == pytest.approx(share * level, abs=SIGMAS * (error[number] + error[3]))


def test_singletons_weigh_as_measured_at_each_week(births: pd.DataFrame, facts: dict[str, Any]) -> None:
    shares, singletons = facts["shares"], births[births.plurality == 1]
    weeks_total = sum(shares["weeks"][1].values())
    for week, (mean, sd, *percentiles) in facts["singletons"].items():
        weights = singletons.weight_pounds[singletons.gestation_weeks == week]
        measured = facts["sample_births"] * shares["plurality"][1] * shares["weeks"][1][week] / weeks_total
        error = SIGMAS * np.sqrt(1 / measured + 1 / len(weights))
        assert weights.mean() == pytest.approx(mean, abs=error * sd + 0.005), week
        kurtosis = ((weights - weights.mean()) ** 4).mean() / weights.var() ** 2
        assert weights.std() == pytest.approx(sd, abs=error * sd * np.sqrt(kurtosis - 1) / 2 + 0.005), week
        for share, pounds in zip((0.05, 0.25, 0.5, 0.75, 0.95), percentiles, strict=True):
            below = [(weights < pounds + side * HALF_OUNCE).mean() for side in (-1, 1)]
            error_of_share = error * np.sqrt(share * (1 - share))
            assert below[0] - error_of_share <= share <= below[1] + error_of_share, (week, share)


def test_twins_weigh_as_measured_at_each_week(births: pd.DataFrame, facts: dict[str, Any]) -> None:
    shares, twins = facts["shares"], births[births.plurality == 2]
    weeks_total = sum(shares["weeks"][2].values())
    for week, (mean, sd) in facts["twins"].items():
        weights = twins.weight_pounds[twins.gestation_weeks == week]
        measured = facts["sample_births"] * shares["plurality"][2] * shares["weeks"][2][week] / weeks_total
        error = SIGMAS * np.sqrt(1 / measured + 1 / len(weights))
        assert weights.mean() == pytest.approx(mean, abs=error * sd), week
        assert weights.std() == pytest.approx(sd, abs=error * sd), week


def test_weights_by_plurality_and_sex_and_all_together(births: pd.DataFrame, facts: dict[str, Any]) -> None:
    weights, everyone = births.weight_pounds, facts["all_births"]
    measured = facts["sample_births"]
    for babies, mean in facts["mean_weight_by_plurality"].items():
        chosen = weights[births.plurality == babies]
        count = measured * facts["shares"]["plurality"][babies]
        assert chosen.mean() == pytest.approx(mean, abs=SIGMAS * chosen.std() / np.sqrt(count)), babies
    error = SIGMAS * everyone["sd"] / np.sqrt(measured)
    assert weights.mean() == pytest.approx(everyone["mean"], abs=error)
    assert weights.std() == pytest.approx(everyone["sd"], abs=error)
    for value, key in (("True", "mean_of_boys"), ("False", "mean_of_girls")):
        assert weights[births.is_male == value].mean() == pytest.approx(everyone[key], abs=error * np.sqrt(2))
    for found, key in (
        (weights < 2500 / GRAMS_PER_POUND, "below_2500_g"),
        (births.gestation_weeks < 37, "below_37_weeks"),
    ):
        share = everyone[key]
        assert found.mean() == pytest.approx(share, abs=SIGMAS * np.sqrt(share / measured)), key


def test_misdated_full_term_babies_are_a_mode_of_their_own(births: pd.DataFrame) -> None:
    at_28 = births.weight_pounds[(births.plurality == 1) & (births.gestation_weeks == 28)]
    preterm, between, term = (at_28.between(*limits).sum() for limits in ((2, 3), (4.25, 5.25), (6.5, 7.5)))
    assert preterm > 3 * between and term > 3 * between


def test_effects_are_there_at_the_same_gestation(births: pd.DataFrame, facts: dict[str, Any]) -> None:
    effects = facts["effects"]
    known = births[(births.cigarette_use != "None") & (births.plurality == 1) & births.gestation_weeks.between(38, 42)]
    older = known.mother_age - 28
    columns = {
        "smoker": known.cigarette_use == "True",
        "alcohol": known.alcohol_use == "True",
        "age_over_28": older,
        "age_over_28_squared": older**2,
        "married": known.mother_married == "True",
        "black": known.mother_race == "Black",
        "other_race": ~known.mother_race.isin(["White", "Black"]),
        "boy": known.is_male == "True",
    }
    design = np.column_stack([*columns.values(), pd.get_dummies(known.gestation_weeks)]).astype(float)
    coefficients, squares, *_ = np.linalg.lstsq(design, known.weight_pounds.to_numpy(), rcond=None)
    error = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * squares[0] / len(known))
    expected = {**effects, "boy": np.mean([effects["boy"][week] for week in (38, 39, 40, 41)])}
    for name, found, e in zip(columns, coefficients, error, strict=False):
        slack = 0.05 * abs(expected[name])  # a skewed distribution stretches effects in one tail
        assert found == pytest.approx(expected[name], abs=SIGMAS * e + slack), name


def test_weights_are_whole_grams_and_positive(births: pd.DataFrame) -> None:
    grams = births.weight_pounds * GRAMS_PER_POUND
    assert np.abs(grams - grams.round()).max() < 1e-9
    assert grams.round().min() >= 227


def test_a_birth_depends_on_the_seed_and_its_number_alone(facts: dict[str, Any]) -> None:
    few, many = (pd.concat(Generator(facts, 3).blocks(n)) for n in (BLOCK_ROWS + 5, BLOCK_ROWS + 900))
    pd.testing.assert_frame_equal(few, many.head(len(few)))
    assert few.key.iloc[-1] == f"synthetic-{BLOCK_ROWS + 4}"
    assert not few.head(50).equals(Generator(facts, 4).block(0).head(50))


def test_the_csv_file_has_the_raw_format(tmp_path: Path) -> None:
    done = run_stage("stages.babyweight.source.synthetic", "300", tmp_path / "births.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "births.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    rows = rows_of(parse(tmp_path / "births.csv"))
    assert len(rows.keys) == 300 and not rows.bad
    assert all(key.startswith("synthetic-") for key in rows.keys)


def test_facts_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; synthetic births follow its figures"):
        read_facts(tmp_path / "facts.yaml")
    (tmp_path / "facts.yaml").write_text("{")
    with pytest.raises(InputError, match=r"facts\.yaml: expected YAML, found: while parsing"):
        read_facts(tmp_path / "facts.yaml")


def test_no_rows_asked_for(tmp_path: Path) -> None:
    assert_refused(run_stage("stages.babyweight.source.synthetic", "0", tmp_path / "x.csv"), "rows: 0", "1 or more")
    assert not (tmp_path / "x.csv").exists()
