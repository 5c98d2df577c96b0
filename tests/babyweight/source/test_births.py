import numpy as np
import pandas as pd
import pytest

from stages.babyweight.source import births as module
from stages.babyweight.source.births import COLUMNS, FEATURES, VOCABULARIES, Births, decode
from stages.babyweight.source.fingerprint import fingerprints
from stages.babyweight.source.frames import columns_of, keys_of

ROW = {
    "weight_pounds": "7.5",
    "is_male": "True",
    "mother_age": "26",
    "mother_race": "Asian Indian",
    "plurality": "1",
    "gestation_weeks": "39",
    "mother_married": "True",
    "cigarette_use": "False",
    "alcohol_use": "None",
    "key": "k",
}


def encode(frame: pd.DataFrame, validation_share: float, test_share: float) -> Births:
    return module.encode(columns_of(frame), fingerprints(keys_of(frame)), validation_share, test_share)


def births(**columns: list[object]) -> Births:
    count = len(next(iter(columns.values())))
    rows = {column: [value] * count for column, value in ROW.items()} | columns
    return encode(pd.DataFrame(rows, dtype=object), 0.1, 0.1)


def codes(column: str, *values: object) -> list[int]:
    return [int(code) for code in births(**{column: list(values)}).features[:, FEATURES.index(column)]]


def test_a_row_becomes_its_codes_and_back() -> None:
    block = births(key=["k"])
    assert block.features.dtype == np.uint8 and block.weight_pounds.dtype == np.float32
    assert block.features.tolist() == [[2, 26, 8, 1, 39, 2, 1, 0]]
    assert block.weight_pounds.tolist() == [7.5]
    inputs = {name: values[0] for name, values in decode(block.features).items()}
    assert inputs == {k: v if k in VOCABULARIES else float(v) for k, v in ROW.items() if k in FEATURES}


@pytest.mark.parametrize(
    ("column", "value", "word"),
    [
        ("mother_race", "3", "American Indian"),
        ("mother_race", "48", "Vietnamese"),
        ("mother_race", "9", "Unknown"),
        ("mother_race", "Samaon", "Samoan"),
        ("mother_race", "Martian", "Unknown"),
        ("mother_race", " Korean ", "Korean"),
        ("mother_race", "", "Unknown"),
        ("is_male", "Unknown", "Unknown"),
        ("is_male", "true", "True"),
        ("mother_married", "FALSE", "False"),
        ("mother_married", None, "Unknown"),
        ("cigarette_use", "None", "None"),
        ("cigarette_use", "", "None"),
        ("alcohol_use", True, "True"),
        ("alcohol_use", float("nan"), "None"),
    ],
)
def test_spellings_of_categories(column: str, value: object, word: str) -> None:
    assert VOCABULARIES[column][codes(column, value)[0]] == word


def test_numbers_are_their_own_codes_up_to_255() -> None:
    assert codes("mother_age", "26.0", " 31 ", 40, 26.9, "254", "255", "300", "1e9") == [
        *(26, 31, 40, 26, 254),
        *(255, 255, 255),
    ]


@pytest.mark.parametrize("column", ["weight_pounds", "mother_age", "plurality", "gestation_weeks"])
def test_rows_without_a_positive_number_are_dropped_and_counted(column: str) -> None:
    block = births(**{column: list[object](["2", "", "NaN", None, float("nan"), "0", "-1", "0.0"])})
    assert block.rows.tolist() == [0]
    assert {reason: n for reason, n in block.dropped.items() if n} == {
        f"{column}_missing": 4,
        f"{column}_not_positive": 3,
    }
    assert not block.bad


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("weight_pounds", "heavy", "no_number"),
        ("weight_pounds", "9" * 400, "no_number"),
        ("weight_pounds", "3400", "too_heavy"),
        ("weight_pounds", "7,5", "no_number"),
        ("mother_age", "1_000", "no_number"),
        ("mother_age", "٢٦", "no_number"),
        ("plurality", "inf", "no_number"),
        ("gestation_weeks", "0x27", "no_number"),
        ("gestation_weeks", float("inf"), "no_number"),
    ],
)
def test_what_is_no_number_is_bad(column: str, value: object, reason: str) -> None:
    block = births(**{column: [ROW[column], value]})
    assert [(b.row, b.reason, b.found) for b in block.bad] == [(1, f"{column}_{reason}", str(value))]
    assert block.rows.tolist() == [0]


def test_a_row_is_counted_once() -> None:
    block = births(weight_pounds=["0", "0"], mother_age=["", "old"])
    assert sum(block.dropped.values()) == 1
    assert [b.reason for b in block.bad] == ["mother_age_no_number"]


def test_unknown_columns_have_their_codes() -> None:
    frame = pd.DataFrame([ROW])[["weight_pounds", "mother_age", "plurality", "gestation_weeks", "key"]]
    assert encode(frame, 0.1, 0.1).features.tolist() == [[0, 26, 0, 1, 39, 0, 0, 0]]


def test_the_split_is_a_function_of_the_key_with_fixed_values() -> None:
    # FARM_FINGERPRINT's, as shares of 2**64: if they change, births switch sides.
    keys = ["", "a", "synthetic-0", "-562924391759428247", "schlüssel"]
    hashed = [0.605, 0.70028, 0.21482, 0.33409, 0.14539]
    for key, share in zip(keys, hashed, strict=True):
        for below, name in ((share - 1e-5, 0), (share + 1e-5, 2)):
            assert encode(pd.DataFrame([ROW | {"key": key}]), 0.0, below).split.tolist() == [name], key


def test_shares_of_the_split_and_its_growth() -> None:
    keys = [f"key {i}" for i in range(20000)]
    split = births(key=list(keys)).split
    for number, share in ((0, 0.8), (1, 0.1), (2, 0.1)):
        assert np.mean(split == number) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 20000))
    more = encode(pd.DataFrame([ROW] * 20000).assign(key=keys), 0.2, 0.1).split
    assert ((more == 2) == (split == 2)).all(), "another validation share moves no test birth"


def test_a_row_does_not_depend_on_its_block() -> None:
    frame = pd.DataFrame([ROW | {"key": f"k{i}", "mother_age": str(14 + i % 30)} for i in range(100)])
    whole = encode(frame, 0.1, 0.1)
    parts = [encode(frame.iloc[i : i + 7], 0.1, 0.1) for i in range(0, 100, 7)]
    assert np.concatenate([part.features for part in parts]).tobytes() == whole.features.tobytes()
    assert np.concatenate([part.split for part in parts]).tobytes() == whole.split.tobytes()


def test_values_and_text_and_categories_encode_alike() -> None:
    text = pd.DataFrame([ROW, ROW | {"mother_age": "", "is_male": "False", "key": "l"}])
    values = text.assign(weight_pounds=[7.5, 7.5], mother_age=[26.0, np.nan], is_male=[True, False], plurality=[1, 1])
    results = [encode(frame, 0.1, 0.1) for frame in (text, values, text.astype("category"))]
    assert len({result.features.tobytes() for result in results}) == 1
    assert len({tuple(result.dropped.items()) for result in results}) == 1


def test_the_columns_are_the_exports() -> None:
    assert ",".join(COLUMNS) == (
        "weight_pounds,is_male,mother_age,mother_race,plurality,gestation_weeks,"
        "mother_married,cigarette_use,alcohol_use,key"
    )
