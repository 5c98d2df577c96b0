import re

import pytest

from stages.babyweight.source.births import COLUMNS
from stages.babyweight.source.columns import check_birth, in_folder, is_header, match
from stages.core.errors import InputError

BIRTH = ["7.5", "True", "26", "White", "1", "39", "True", "False", "None", "k"]


@pytest.mark.parametrize(
    "decorated",
    ["{}", "births.{}", "project.births.{}", " {} ", "`{}`", "[{}]", "births[{}]", "{}:"],
)
def test_names_are_matched_whatever_their_case_and_decoration(decorated: str) -> None:
    for change in (str, str.upper, str.title, lambda name: name.replace("_", " "), lambda name: name.replace("_", "-")):
        names = [decorated.format(change(name)) for name in COLUMNS]
        if decorated == "births[{}]":
            names = [f"births.[{change(name)}]" for name in COLUMNS]
        assert is_header(names) and match("f", names) == list(COLUMNS), names


def test_a_column_by_its_exact_name_makes_similar_names_other_columns() -> None:
    names = [*COLUMNS, "father.mother_age", "Key"]
    assert match("f", names) == [*COLUMNS, "", ""]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.mother_age", "b.mother_age", "weight_pounds"], "f: column 'mother_age' 2 times; expected it once"),
        (
            ["weight_pounds", "Mother Age", "plurality"],
            "f: no column 'gestation_weeks'; expected weight_pounds, mother_age, plurality, gestation_weeks; "
            "found weight_pounds, Mother Age, plurality",
        ),
    ],
)
def test_columns_that_are_missing_or_there_twice(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        match("f", names)


def test_folders_give_columns_but_a_files_name_does_not() -> None:
    assert in_folder("births/mother_race=White/year=2001/Plurality=Twins%282%29/mother_age=3.csv") == {
        "mother_race": "White",
        "plurality": "Twins(2)",
    }
    assert in_folder("mother_race=__HIVE_DEFAULT_PARTITION__/a.csv") == {"mother_race": ""}


def test_a_birth_is_no_header() -> None:
    assert not is_header(BIRTH)
    check_birth("f:1", BIRTH, COLUMNS)
    check_birth("f:1", ["", *BIRTH[1:4], "Twins(2)", *BIRTH[5:]], COLUMNS)


def test_another_delimiter_is_refused() -> None:
    for delimiter in ";\t|":
        with pytest.raises(InputError, match="f:1: no header, and 1 columns; expected fields separated by commas"):
            check_birth("f:1", [delimiter.join(COLUMNS)], COLUMNS)


def test_names_are_quoted_in_one_line() -> None:
    with pytest.raises(InputError) as refused:
        match("f", ["weight_pounds", "a\nb", "c\u2028", "d\x1c"])
    assert len(str(refused.value).splitlines()) == 1
    assert r"found weight_pounds, 'a\nb', 'c\u2028', 'd\x1c'" in str(refused.value)
    for length, quoted in ((300, "x" * 300), (301, "x" * 300 + "…")):
        with pytest.raises(InputError) as refused:
            match("f", ["x" * length])
        assert str(refused.value).endswith(f"found {quoted}")


@pytest.mark.parametrize("position", [0, 2, 4, 5])
def test_a_word_in_place_of_a_number_is_never_data(position: int) -> None:
    birth = [*BIRTH[:position], "Gewicht", *BIRTH[position + 1 :]]
    message = (
        f"f:1: no header and no birth: {COLUMNS[position]} is 'Gewicht'; expected fields separated by commas: a header"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        check_birth("f:1", birth, COLUMNS)
