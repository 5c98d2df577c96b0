import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.babyweight.siphash import KEY, LONGEST, hash_strings


def expected(strings: list[str]) -> list[int]:
    return pd.util.hash_array(np.array(strings, object), "utf8", KEY.decode(), categorize=False).tolist()


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40)))
def test_what_pandas_says(strings: list[str]) -> None:
    assert hash_strings(pa.array(strings, pa.string())).tolist() == expected(strings)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_what_begins_alike_long_strings_and_many(kind: pa.DataType) -> None:
    for strings in (
        [f"a prefix of some words {i}" for i in range(70_000)],
        ["the same"] * 3,
        ["x" * length for length in range(LONGEST + 20)],
        ["\0", "\0\0", "", "key\0"],
    ):
        array = pa.array(strings, kind)
        assert hash_strings(array).tolist() == expected(strings)
        assert hash_strings(array[1:]).tolist() == expected(strings[1:])
