"""JSON values become arrays of their own shape, or are refused by name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from stages.core.errors import InputError
from stages.rest.tensors import UnsupportedTypeError, decode_binary, dense_shape, is_binary, shown, to_array


def place(index: Sequence[int]) -> str:
    return f"value {list(index)}"


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (1, tf.float32, ()),
        ([], tf.float32, (0,)),
        ([[], []], tf.float32, (2, 0)),
        ([[1, 2.5], [3, 4]], tf.float64, (2, 2)),
        ([[[1]], [[2]]], tf.int8, (2, 1, 1)),
        ([True, False], tf.bool, (2,)),
        (["é", {"b64": "/w=="}], tf.string, (2,)),
    ],
)
def test_the_nesting_is_the_shape(value: Any, dtype: tf.DType, shape: tuple[int, ...]) -> None:
    found = to_array(value, dtype, place)
    assert found.shape == shape
    assert found.dtype == dtype.as_numpy_dtype
    if dtype == tf.string:
        assert found.tolist() == ["é".encode(), b"\xff"]
    else:
        assert found.tolist() == value


def test_floats_beyond_the_range_are_infinite() -> None:
    assert to_array([1e39, -1e39, 1e-50, 10**30], tf.float32, place).tolist() == [np.inf, -np.inf, 0, np.float32(1e30)]


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([[1], [2, 3]], tf.float32, "value [1]: Encountered list at unexpected size: 2, expected size: 1"),
        ([[1], 2], tf.float32, "value [1]: JSON Value: 2 found at incorrect level: expected a list of 1"),
        ([[1], [[2]]], tf.float32, "value [1, 0]: Encountered list at unexpected level"),
        ([1, 1.0], tf.int32, "value [1]: JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ([128], tf.int8, "value [0]: JSON Value: 128 Type: Number is not of expected type: int8"),
        ([1.5, 10**400], tf.float64, "value [1]: JSON Value: 1000"),
        ([0], tf.bool, "value [0]: JSON Value: 0 Type: Number is not of expected type: bool"),
        ([None], tf.string, "value [0]: JSON Value: null Type: Null is not of expected type: string"),
        ([{"b64": "a"}], tf.string, "value [0]: Unable to base64 decode"),
        ({"a": 1}, tf.float32, 'value []: JSON Value: {"a": 1} Type: Object is not of expected type: float'),
    ],
)
def test_what_does_not_fit_is_named(value: Any, dtype: tf.DType, message: str) -> None:
    with pytest.raises(InputError) as error:
        to_array(value, dtype, place)
    assert str(error.value).startswith(message)


def test_types_without_a_json_form() -> None:
    with pytest.raises(UnsupportedTypeError, match="bfloat16"):
        to_array([1], tf.bfloat16, place)


def test_nesting_has_a_limit() -> None:
    value: Any = 1
    for _ in range(33):
        value = [value]
    with pytest.raises(InputError, match="nested at most 32 deep, found 33"):
        to_array(value, tf.float32, place)
    assert to_array(value[0], tf.float32, place).shape == (1,) * 32


def test_binary_data() -> None:
    for text in (" aGVs\r\nbG8", "aGVsbG8=", "aGVsbG8."):
        assert decode_binary({"b64": text}) == b"hello"
    for text in ("aGVsbG8==", "aGVs=", "a", "aGVs=bG8=", "aGVs-G8="):
        with pytest.raises(InputError, match="Unable to base64 decode"):
            decode_binary({"b64": text})
    assert [is_binary(value) for value in ({"b64": ""}, {"b64": 1}, {"b64": "", "x": 1}, "b64", None)] == [True] + [
        False
    ] * 4


def test_shapes_and_messages() -> None:
    assert dense_shape([[[1, 2]], 3]) == [2, 1, 2]
    assert len(shown("x" * 1000)) < 100
