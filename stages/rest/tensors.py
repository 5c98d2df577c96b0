"""JSON values to arrays, by the rules of TensorFlow Serving's REST API.

Source: TensorFlow Serving, `tensorflow_serving/util/json_tensor.cc`. As there, a value's own nesting gives its shape;
whether the graph takes that shape is for the graph to say.
"""

import base64
import json
from collections.abc import Callable, Sequence
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.core.errors import InputError

MAX_RANK = 32
"""Deepest nesting of a value; NumPy allows 64."""

INTEGERS = {tf.int8, tf.uint8, tf.int16, tf.int32, tf.uint32, tf.int64, tf.uint64}
SUPPORTED = {tf.bool, tf.string, tf.float32, tf.float64, *INTEGERS}
"""The types that have a JSON form."""

Place = Callable[[Sequence[int]], str]
"""Words for where an element of a value stands, by its index."""

_BASE64 = "b64"
_JSON_TYPES: dict[type, str] = {dict: "Object", list: "Array", str: "String", NoneType: "Null"}
_TYPE_NAMES = {tf.float32: "float", tf.float64: "double"}


class UnsupportedTypeError(InputError):
    """A type that has no JSON form."""


def json_type(value: Any) -> str:
    """The JSON type of a value, as TensorFlow Serving names it."""
    return str(value) if type(value) is bool else _JSON_TYPES.get(type(value), "Number")


def shown(value: Any) -> str:
    """A JSON value, short enough for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = json_type(value)
    return text if len(text) <= 80 else text[:80] + "..."


def is_binary(value: Any) -> bool:
    """Whether a value is binary data: an object with the only key `b64`, whose value is a string."""
    return type(value) is dict and len(value) == 1 and type(value.get(_BASE64)) is str


def decode_binary(value: dict[str, str]) -> bytes:
    """The bytes of binary data. White space is skipped. The padding may be missing, or written as dots.

    Raises:
        InputError: if the text is not Base64.
    """
    try:
        padded = b"".join(value[_BASE64].encode("ascii").split()).replace(b".", b"=")
        text = padded.rstrip(b"=")
        padding = b"=" * (-len(text) % 4)
        if padded not in (text, text + padding):
            raise ValueError
        return base64.b64decode(text + padding, validate=True)
    except ValueError:
        raise InputError("Unable to base64 decode") from None


def dense_shape(value: Any) -> list[int]:
    """The shape of a nested list, read off its first elements; [] for anything else."""
    shape = []
    while type(value) is list:
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def to_array(value: Any, dtype: tf.DType, place: Place) -> npt.NDArray[Any]:
    """Convert a nested list, or one value, to an array.

    Args:
        value: numbers, booleans, strings or binary data, or lists of them that are nested alike.
        dtype: the array's type. Strings become `bytes` objects. A float beyond the type's range becomes infinite.
        place: describes where an element stands, for messages.

    Raises:
        InputError: if the lists are ragged or nested deeper than `MAX_RANK`, or an element is of another type or, for
            an integer, out of range.
        UnsupportedTypeError: if the type has no JSON form.
    """
    shape = dense_shape(value)
    if len(shape) > MAX_RANK:
        raise InputError(f"{place(())}: expected lists nested at most {MAX_RANK} deep, found {len(shape)}")
    values = [value]
    for depth, size in enumerate(shape):
        if set(map(type, values)) != {list} or set(map(len, values)) != {size}:
            index, found = next((i, v) for i, v in enumerate(values) if type(v) is not list or len(v) != size)
            if type(found) is list:
                reason = f"Encountered list at unexpected size: {len(found)}, expected size: {size}"
            else:
                reason = f"JSON Value: {shown(found)} found at incorrect level: expected a list of {size}"
            raise InputError(f"{place(_unravel(index, shape[:depth]))}: {reason}")
        values = list(chain.from_iterable(values))
    return _elements(values, dtype, lambda index: place(_unravel(index, shape))).reshape(shape)


def _unravel(index: int, shape: Sequence[int]) -> list[int]:
    return [int(i) for i in np.unravel_index(index, shape)] if shape else []


def _elements(values: list[Any], dtype: tf.DType, place: Callable[[int], str]) -> npt.NDArray[Any]:
    """A flat array of the elements."""
    if values and dtype not in SUPPORTED:
        raise UnsupportedTypeError(f"{place(0)}: Conversion of JSON Value to type: {dtype.name} is not supported")
    if dtype == tf.string:
        return _strings(values, place)
    kinds = {bool} if dtype == tf.bool else {int} if dtype in INTEGERS else {int, float}
    if set(map(type, values)) - kinds:
        index, found = next((i, v) for i, v in enumerate(values) if type(v) not in kinds)
        if type(found) is list:
            raise InputError(f"{place(index)}: Encountered list at unexpected level")
        raise _type_error(found, dtype, place(index))
    try:
        with np.errstate(over="ignore"):
            return np.array(values, dtype.as_numpy_dtype)
    except OverflowError:
        low, high = (dtype.min, dtype.max) if dtype in INTEGERS else (-1e308, 1e308)
        index = next(i for i, v in enumerate(values) if type(v) is int and not low <= v <= high)
        raise _type_error(values[index], dtype, place(index)) from None


def _strings(values: list[Any], place: Callable[[int], str]) -> npt.NDArray[Any]:
    found = np.empty(len(values), object)
    try:
        found[:] = list(map(str.encode, values))  # nothing but text, as nearly always
    except TypeError:
        for index, value in enumerate(values):
            if type(value) is not str and not is_binary(value):
                raise _type_error(value, tf.string, place(index)) from None
            try:
                found[index] = value.encode() if type(value) is str else decode_binary(value)
            except InputError as error:
                raise InputError(f"{place(index)}: {error}") from None
    return found


def _type_error(value: Any, dtype: tf.DType, where: str) -> InputError:
    wanted = _TYPE_NAMES.get(dtype, dtype.name)
    return InputError(f"{where}: JSON Value: {shown(value)} Type: {json_type(value)} is not of expected type: {wanted}")
