"""Rows and columns, as the stages and the server decode them."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from stages.core.errors import InputError
from stages.rest.requests import decode_inputs, decode_instances, decode_request, example, predictions
from stages.savedmodel.graph import Signature, Tensor

ONE = {"x": Tensor("x", "x:0", tf.float32, (None, 2))}
TWO = {**ONE, "name": Tensor("name", "name:0", tf.string, (None,))}
SIGNATURE = Signature("serving_default", "tensorflow/serving/predict", TWO, {})
ROWS = [{"x": [1, 2], "name": "a"}, {"x": [3, 4], "name": "b"}]


def test_rows_and_columns_give_the_same_arrays() -> None:
    rows = decode_instances(ROWS, TWO)
    columns = decode_inputs({"x": [[1, 2], [3, 4]], "name": ["a", "b"], "ignored": 1}, TWO)
    for found in (rows, columns):
        assert found["x"].tolist() == [[1, 2], [3, 4]]
        assert found["name"].tolist() == [b"a", b"b"]


def test_a_single_input_needs_no_name() -> None:
    for found in (
        decode_instances([[1, 2]], ONE),
        decode_instances([{"x": [1, 2]}], ONE),
        decode_inputs([[1, 2]], ONE),
    ):
        assert found["x"].tolist() == [[1, 2]]
    assert decode_inputs(3, ONE)["x"].shape == ()


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ([], "No values in 'instances' array"),
        ({}, "Expecting 'instances' to be an list/array"),
        ([[1, 2]], "'instances' is a plain list, expected objects of the inputs x, name"),
        ([ROWS[0], [1, 2]], "Expecting object but got list at item 1"),
        ([ROWS[0], {"x": [1, 2]}], "element: 1 of 'instances' list. JSON object keys must be equal to: x, name"),
        ([{**ROWS[0], "more": 1}], "element: 0 of 'instances' list. JSON object keys must be equal to: x, name"),
        ([ROWS[0], {"x": [1, 2, 3], "name": "b"}], "input 'x', instance 1: Expecting tensor size: 2 but got: 3"),
    ],
)
def test_rows_that_do_not_fit_are_named(instances: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        decode_instances(instances, TWO)
    assert message in str(error.value)


def test_a_request_has_the_signatures_shapes() -> None:
    """The stages want what the signature says; the server leaves that to the graph."""
    assert decode_request(ROWS, SIGNATURE, "request.json")["x"].shape == (2, 2)
    with pytest.raises(InputError, match=r"request.json: input 'x': expected the shape \[None, 2\], found \[1, 3\]"):
        decode_request([{"x": [1, 2, 3], "name": "a"}], SIGNATURE, "request.json")
    with pytest.raises(InputError, match=r"request\.json: No values"):
        decode_request([], SIGNATURE, "request.json")


def test_an_example_fits_its_own_signature() -> None:
    assert example(SIGNATURE) == {"x": [0.0, 0.0], "name": ""}
    decode_request([example(SIGNATURE)], SIGNATURE, "example")


def test_predictions_are_rows() -> None:
    outputs = {"y": np.array([1, 2]), "z": np.array([[0.5], [1.5]])}
    assert predictions(outputs) == [{"y": 1, "z": [0.5]}, {"y": 2, "z": [1.5]}]
