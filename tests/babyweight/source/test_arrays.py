import numpy as np
import pyarrow as pa
import pytest

from stages.babyweight.source import arrays


@pytest.mark.parametrize("values", [[3, 1, 2], [0.5, -1.5], [True, False, True], []])
def test_values_are_those_of_arrow(values: list[object]) -> None:
    whole = pa.array(values, None if values else pa.int64())
    for array in (whole, whole[1:]):
        found = arrays.to_numpy(array)
        assert found.tolist() == array.to_pylist()
        assert found.dtype == array.type.to_pandas_dtype()


def test_nulls_have_no_values() -> None:
    with pytest.raises(pa.ArrowInvalid, match="nulls"):
        arrays.to_numpy(pa.array([1, None]))


@pytest.mark.parametrize("numbers", [np.arange(5, dtype=np.int32), np.arange(10)[::2], np.zeros(0, np.uint8)])
def test_numbers_become_an_array(numbers: np.typing.NDArray[np.int64]) -> None:
    array = arrays.to_arrow(numbers)
    array.validate(full=True)
    assert array.equals(pa.array(numbers))


@pytest.mark.parametrize("word", ["", "a", "Grüße"])
def test_a_word_becomes_an_array(word: str) -> None:
    array = arrays.text(word)
    array.validate(full=True)
    assert array.equals(pa.array([word]))


def test_edges_of_texts() -> None:
    texts = pa.array(["a", "", "bcd", "e"], pa.large_string())
    assert arrays.edges(texts).tolist() == [0, 1, 1, 4, 5]
    assert arrays.edges(texts[1:3]).tolist() == [1, 1, 4]
    assert arrays.edges(texts[:0]).tolist() == [0]
