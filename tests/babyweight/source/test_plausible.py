"""Sources whose columns mean something else than they are called."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.babyweight.params import Prepare
from stages.babyweight.source.births import FACTS
from stages.babyweight.source.counts import Counts
from stages.babyweight.source.encode import Encoded, encode
from stages.babyweight.source.facts import mean_weights, read_facts
from stages.babyweight.source.files import find
from stages.babyweight.source.formats import all_block_tasks
from stages.babyweight.source.synthetic import Generator
from stages.core.errors import InputError
from stages.core.params import PrepareParams
from tests.conftest import ROOT

LIMITS = PrepareParams[Prepare].read(ROOT / "params.yaml").prepare
PUBLISHED = read_facts(FACTS)
BIRTHS = next(Generator(PUBLISHED, 2017).blocks(3000))
BIRTHS = BIRTHS.astype(dict.fromkeys(("is_male", "mother_married", "cigarette_use", "alcohol_use"), str))


def prepare(frame: pd.DataFrame, folder: Path, name: str = "births.csv") -> Counts:
    """Read a source with this file, and check it."""
    frame.to_csv(folder / name, index=False)
    counts = Counts()
    for task in all_block_tasks(find(str(folder))):
        counts.add(encode(task(), 0.2, 0.2))
    counts.check(LIMITS.model_copy(update={"max_unknown_share": 0.6}), mean_weights(PUBLISHED))
    return counts


def recoded(column: str, **codes: str) -> pd.DataFrame:
    return BIRTHS.assign(**{column: BIRTHS[column].replace(codes)})


def answers(counts: Counts, column: str) -> dict[str, int]:
    values: dict[str, int] = counts.distributions.metrics()["values"][column]
    return values


@pytest.mark.parametrize(
    ("column", "codes", "words"),
    [
        (
            "mother_married",
            {"True": "1", "False": "2"},
            r"the only known answer is True \(\d\d\.\d%\).*'2' \(\d\d\.\d%\)",
        ),
        ("is_male", {"True": "1", "False": "2"}, r"the only known answer is True .*'2' .*"),
        ("cigarette_use", {"True": "smoker"}, r"the only known answer is False \(\d\d\.\d%\).*'smoker' \(\d+\.\d%\)"),
        ("alcohol_use", {"True": "drinks"}, r"the only known answer is False .*'drinks' \(\d\.\d%\)"),
    ],
)
def test_an_answer_that_disappears_refuses_the_source(
    tmp_path: Path, column: str, codes: dict[str, str], words: str
) -> None:
    with pytest.raises(InputError, match=rf"births\.csv: {column}: .*{words}; expected (None|Unknown), False, True"):
        prepare(recoded(column, **codes), tmp_path)


def test_an_answer_that_disappears_in_one_of_two_files(tmp_path: Path) -> None:
    BIRTHS.assign(key=BIRTHS.key + "b").to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=r"^b\.csv: mother_married: .* only known answer is True"):
        prepare(recoded("mother_married", **{"True": "1", "False": "2"}), tmp_path, "b.csv")


def test_a_slip_of_the_pen_is_no_answer(tmp_path: Path) -> None:
    frame = BIRTHS.assign(alcohol_use="False")
    frame.loc[7, "alcohol_use"] = "flase"
    assert prepare(frame, tmp_path).unknown["alcohol_use"] == 1
    boys = BIRTHS[BIRTHS.is_male == "True"]
    assert answers(prepare(boys, tmp_path), "is_male") == {"True": len(boys)}, "nothing is unknown"


def test_counts_of_cigarettes_are_read(tmp_path: Path) -> None:
    smokes = BIRTHS.cigarette_use == "True"
    numbers = np.where(smokes, np.arange(len(BIRTHS)) % 40 + 1, 0).astype(str)
    missing = BIRTHS.cigarette_use == "None"
    wanted = answers(prepare(BIRTHS, tmp_path), "cigarette_use")
    for blank in ("", "99", "Unknown"):
        counts = prepare(BIRTHS.assign(cigarette_use=np.where(missing, blank, numbers)), tmp_path)
        assert answers(counts, "cigarette_use") == wanted and not counts.unknown["cigarette_use"]


@pytest.mark.parametrize(
    ("yes", "no", "words"),
    [
        (["5", "10", "20"], "False", "numbers such as .* beside words"),
        (["2"], "1", r"numbers above 1 and no 0"),
        (["2"], "9", r"numbers above 1 and no 0"),
    ],
)
def test_numbers_that_are_no_counts_of_cigarettes_refuse_the_source(
    tmp_path: Path, yes: list[str], no: str, words: str
) -> None:
    numbers = np.array(yes)[np.arange(len(BIRTHS)) % len(yes)]
    codes = np.where(BIRTHS.cigarette_use == "True", numbers, np.where(BIRTHS.cigarette_use == "False", no, ""))
    with pytest.raises(InputError, match=rf"births\.csv: cigarette_use: {words}.*; expected truth, or counts"):
        prepare(BIRTHS.assign(cigarette_use=codes), tmp_path)


def test_counts_in_one_block_and_words_in_another_refuse_the_file(tmp_path: Path) -> None:
    counts = Counts()
    for frame in (BIRTHS, BIRTHS.assign(cigarette_use=np.where(BIRTHS.cigarette_use == "True", "5", "0"))):
        counts.add(_encoded(frame, tmp_path))
    with pytest.raises(InputError, match=r"cigarette_use: counts of cigarettes beside words"):
        counts.check(LIMITS)


def _encoded(frame: pd.DataFrame, folder: Path) -> Encoded:
    frame.to_csv(folder / "births.csv", index=False)
    (task,) = all_block_tasks(find(str(folder / "births.csv")))
    return encode(task(), 0.2, 0.2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight_pounds": 1 / 2.2046}, r"weight_pounds: the mean weight is .*; they seem to be kilograms"),
        ({"weight_pounds": 16}, r"weight_pounds_too_heavy.*expected weight_pounds up to 50 pounds; .* be ounces"),
        ({"weight_pounds": 453.59}, r"weight_pounds_too_heavy.*expected weight_pounds up to 50 pounds; .* be grams"),
        (
            {"gestation_weeks": 7},
            r"gestation_weeks_too_large: '\d+'.*expected gestation_weeks up to 52 completed weeks",
        ),
    ],
)
def test_another_unit_refuses_the_source(tmp_path: Path, change: dict[str, float], words: str) -> None:
    frame = BIRTHS.assign(**{column: BIRTHS[column] * factor for column, factor in change.items()})
    with pytest.raises(InputError, match=words):
        prepare(frame, tmp_path)


def test_years_of_birth_are_no_ages(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"mother_age_too_large: '19\d\d'.*expected mother_age up to 75 completed years"
    ):
        prepare(BIRTHS.assign(mother_age=2008 - BIRTHS.mother_age), tmp_path)


def test_preterm_births_and_twins_and_well_dated_ones_are_plausible(tmp_path: Path) -> None:
    many = pd.concat(Generator(PUBLISHED, 3).blocks(100_000), ignore_index=True)
    early = many[many.gestation_weeks < 32]
    dated = early[(early.weight_pounds < 5) & (early.plurality == 1)]  # without the full-term births among them
    for frame in (early, dated, many[many.plurality == 2], many[many.plurality > 2]):
        assert prepare(frame, tmp_path).kept["train"] > 30
    for frame in (early, many[many.plurality == 2]):
        with pytest.raises(InputError, match="kilograms"):
            prepare(frame.assign(weight_pounds=frame.weight_pounds / 2.2046), tmp_path)


def test_unknown_weeks_stay_unknown_and_say_nothing_of_weights(tmp_path: Path) -> None:
    counts = prepare(BIRTHS.assign(gestation_weeks=BIRTHS.gestation_weeks.mask(BIRTHS.index % 3 == 0, 99)), tmp_path)
    assert answers(counts, "gestation_weeks")["99"] == 1000 and counts.metrics("files")["numbers"]["gestation_weeks"][
        "most"
    ] == max(BIRTHS.gestation_weeks)
