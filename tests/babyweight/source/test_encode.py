import numpy as np
import pandas as pd
import pytest

from stages.babyweight.source import encode as module
from stages.babyweight.source.births import FEATURES
from stages.babyweight.source.encode import Encoded
from tests.babyweight.births import block_of

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


def encode(frame: pd.DataFrame, validation_share: float = 0.1, test_share: float = 0.1) -> Encoded:
    return module.encode(block_of(frame), validation_share, test_share)


def births(**columns: list[object]) -> Encoded:
    """Births that all train, with some columns changed."""
    count = len(next(iter(columns.values())))
    rows = {column: [value] * count for column, value in ROW.items()} | columns
    return encode(pd.DataFrame(rows, dtype=object), 0.0, 0.0)


def split_of(encoded: Encoded) -> str:
    return "".join(name for name, (_, weights) in zip("tve", encoded.splits, strict=True) for _ in weights)


def test_a_row_becomes_its_codes() -> None:
    encoded = births(key=["k"])
    features, weights = encoded.splits[0]
    assert features.dtype == np.uint8 and weights.dtype == np.float32
    assert features.tolist() == [[2, 26, 8, 1, 39, 2, 1, 0]] and weights.tolist() == [7.5]
    assert [part.tolist() if isinstance(part, np.ndarray) else part for part in encoded.sample] == [
        *(features.tolist(), weights.tolist(), ["k"])
    ]


@pytest.mark.parametrize("column", ["weight_pounds", "mother_age", "plurality", "gestation_weeks"])
def test_rows_without_a_positive_number_are_dropped_and_counted(column: str) -> None:
    encoded = births(**{column: list[object](["2", "", "NaN", None, float("nan"), "0", "-1", "0.0"])})
    assert len(encoded.splits[0][1]) == 1 and encoded.rows == 8 and not encoded.bad_rows
    assert {reason: n for reason, n in encoded.dropped.items() if n} == {
        f"{column}_missing": 4,
        f"{column}_not_positive": 3,
    }


def test_a_number_that_is_none_makes_a_row_bad() -> None:
    encoded = births(mother_age=["26", "old"], weight_pounds=["7.5", "7.5"])
    assert [(row.line, row.reason, row.text) for row in encoded.bad_rows] == [(1, "mother_age_no_number", "old")]


def test_a_row_is_counted_once() -> None:
    encoded = births(weight_pounds=["0", "0"], mother_age=["", "old"])
    assert sum(encoded.dropped.values()) == 1
    assert [row.reason for row in encoded.bad_rows] == ["mother_age_no_number"]


def test_unknown_words_are_counted_in_the_births_that_are_kept() -> None:
    encoded = births(
        mother_race=["Martian", "Martian ", "White", "Venusian", "Martian", None],
        is_male=["2", "True", "1", "", "2", "Unknown"],
        weight_pounds=["7.5", "7.5", "7.5", "7.5", "0", "7.5"],
    )
    assert encoded.unknown_words == {"is_male": {"2": 1}, "mother_race": {"Martian": 2, "Venusian": 1}}
    assert [row[FEATURES.index("mother_race")] for row in encoded.splits[0][0].tolist()] == [0, 0, 1, 0, 0]


def test_unknown_columns_have_their_codes() -> None:
    frame = pd.DataFrame([ROW])[["weight_pounds", "mother_age", "plurality", "gestation_weeks", "key"]]
    encoded = encode(frame, 0.0, 0.0)
    assert encoded.splits[0][0].tolist() == [[0, 26, 0, 1, 39, 0, 0, 0]]
    assert encoded.absent_columns == ["is_male", "mother_race", "mother_married", "cigarette_use", "alcohol_use"]


def test_the_split_is_a_function_of_the_key_with_fixed_values() -> None:
    # FARM_FINGERPRINT's, as shares of 2**64: if they change, births switch sides.
    keys = ["a", "synthetic-0", "-562924391759428247", "schlüssel"]
    hashed = [0.70028, 0.21482, 0.33409, 0.14539]
    for key, share in zip(keys, hashed, strict=True):
        for below, name in ((share - 1e-5, "t"), (share + 1e-5, "e")):
            assert split_of(encode(pd.DataFrame([ROW | {"key": key}]), 0.0, below)) == name, key


def test_shares_of_the_split_and_its_growth() -> None:
    keys = [f"key {i}" for i in range(20000)]
    frame = pd.DataFrame([ROW] * 20000).assign(key=keys, weight_pounds=np.arange(1, 20001) / 1000)
    splits = encode(frame).splits
    for (_, weights), share in zip(splits, (0.8, 0.1, 0.1), strict=True):
        assert len(weights) / 20000 == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 20000))
    more = encode(frame, 0.2, 0.1).splits
    assert more[2][1].tolist() == splits[2][1].tolist(), "another validation share moves no test birth"


def test_a_row_does_not_depend_on_its_block() -> None:
    frame = pd.DataFrame([ROW | {"key": f"k{i}", "mother_age": str(14 + i % 30)} for i in range(100)])
    whole = encode(frame)
    parts = [encode(frame.iloc[i : i + 7]) for i in range(0, 100, 7)]
    for split in range(3):
        features = np.concatenate([part.splits[split][0] for part in parts])
        assert features.tobytes() == whole.splits[split][0].tobytes()


def test_values_and_text_and_categories_encode_alike() -> None:
    text = pd.DataFrame([ROW, ROW | {"mother_age": "", "is_male": "False", "key": "l"}, ROW | {"mother_age": "300"}])
    values = text.assign(
        weight_pounds=[7.5] * 3, mother_age=[26.0, np.nan, 300], is_male=[True, False, True], plurality=[1] * 3
    )
    results = [encode(frame, 0.0, 0.0) for frame in (text, values, text.astype("category"))]
    assert [row.reason for row in results[0].bad_rows] == ["mother_age_too_large"]
    assert len({result.splits[0][0].tobytes() for result in results}) == 1
    assert len({tuple(result.dropped.items()) for result in results}) == 1
