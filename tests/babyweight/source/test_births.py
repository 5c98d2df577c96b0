import numpy as np
import pytest

from stages.babyweight.source.births import (
    COLUMNS,
    FEATURES,
    FLAW_NAMES,
    VOCABULARIES,
    decode,
    number_code,
    spellings,
    weight,
    word_code,
)


@pytest.mark.parametrize(
    ("column", "text", "word"),
    [
        ("mother_race", "3", "American Indian"),
        ("mother_race", "48", "Vietnamese"),
        ("mother_race", "28.0", "Korean"),
        ("mother_race", "01", "White"),
        ("mother_race", "38", "Samoan"),
        ("mother_race", "39", "Samoan"),
        ("mother_race", "9", "Unknown"),
        ("mother_race", "78", "Unknown"),
        ("mother_race", "Samaon", "Samoan"),
        ("mother_race", " Korean ", "Korean"),
        ("mother_race", "asian_indian", "Asian Indian"),
        ("mother_race", "WHITE", "White"),
        ("mother_race", "", "Unknown"),
        ("mother_race", "Martian", None),
        ("mother_race", "10", None),
        ("mother_race", "1.5", None),
        ("is_male", "Unknown", "Unknown"),
        ("is_male", "male", "True"),
        ("is_male", "F", "False"),
        ("is_male", "2", None),
        ("mother_married", "m", None),
        ("cigarette_use", "None", "None"),
        ("cigarette_use", "NaN", "None"),
        ("alcohol_use", "99", None),
    ],
)
def test_words(column: str, text: str, word: str | None) -> None:
    code = word_code(column, text)
    assert (None if code is None else VOCABULARIES[column][code]) == word


@pytest.mark.parametrize("column", ["is_male", "mother_married", "cigarette_use", "alcohol_use"])
@pytest.mark.parametrize("word", ["True", "False"])
def test_usual_spellings_of_truth(column: str, word: str) -> None:
    usual = {"True": "True true TRUE t T yes Yes YES y Y 1 1.0", "False": "False false FALSE f F no No NO n N 0 0.0"}
    for text in usual[word].split():
        assert word_code(column, text) == VOCABULARIES[column].index(word), text


def test_the_model_accepts_the_spellings_of_a_prediction_request() -> None:
    assert spellings("is_male") == {"Unknown": 0, "False": 1, "True": 2, "false": 1, "FALSE": 1, "true": 2, "TRUE": 2}
    assert all(word_code(column, word) == code for column in VOCABULARIES for word, code in spellings(column).items())


@pytest.mark.parametrize(
    ("text", "babies"),
    [
        *(("1", 1), ("2.0", 2), ("Single(1)", 1), ("Twins(2)", 2), ("Triplets(3)", 3), ("Quadruplets(4)", 4)),
        *(("Single (1)", 1), ("Twin", 2), ("singleton", 1)),
        *(("Quintuplets(5)", 5), ("Multiple(2+)", 2), ("twins", 2), (" SINGLE(1) ", 1)),
    ],
)
def test_plurality_in_numbers_and_words(text: str, babies: int) -> None:
    assert number_code("plurality", text) == (babies, 0)


@pytest.mark.parametrize(("text", "code"), [("26.0", 26), (" 31 ", 31), ("26.9", 26), ("75", 75), ("75.9", 75)])
def test_numbers_are_their_own_codes(text: str, code: int) -> None:
    assert number_code("mother_age", text) == (code, 0)


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        *((text, "missing") for text in ("", " ", "NaN", "NA", "n/a", "<NA>", "null", "None", "Unknown", r"\N")),
        *((text, "not_positive") for text in ("0", "-1", "0.0")),
        *(
            (text, "no_number")
            for text in ("heavy", "9" * 400, "7,5", "1_000", "٢٦", "inf", "0x27", "Twins(9)", "Twins(3)")
        ),
    ],
)
def test_flaws_of_numbers(text: str, flaw: str) -> None:
    assert [FLAW_NAMES[f] for f in (weight(text)[1], number_code("plurality", text)[1])] == [flaw, flaw]


def test_flaws_of_one_kind_of_number() -> None:
    assert FLAW_NAMES[weight("3400")[1]] == "too_heavy" and weight("0.5") == (0.5, 0)
    for column, value in (
        ("mother_age", "76"),
        ("plurality", "10"),
        ("gestation_weeks", "53"),
        ("mother_age", "1e300"),
    ):
        assert FLAW_NAMES[number_code(column, value)[1]] == "too_large"
    assert number_code("gestation_weeks", "99") == (99, 0) and number_code("gestation_weeks", "99.0") == (99, 0)
    assert FLAW_NAMES[number_code("mother_age", "0.5")[1]] == "not_positive"
    assert FLAW_NAMES[number_code("mother_age", "Twins(2)")[1]] == "no_number"


def test_codes_become_the_signatures_inputs() -> None:
    inputs = decode(np.array([[2, 26, 8, 1, 39, 2, 1, 0]], np.uint8))
    assert list(inputs) == list(FEATURES)
    assert [values.tolist() for values in inputs.values()] == [
        *(["True"], [26.0], ["Asian Indian"], [1.0], [39.0], ["True"], ["False"], ["None"])
    ]


def test_the_columns_are_the_exports() -> None:
    assert ",".join(COLUMNS) == (
        "weight_pounds,is_male,mother_age,mother_race,plurality,gestation_weeks,"
        "mother_married,cigarette_use,alcohol_use,key"
    )
