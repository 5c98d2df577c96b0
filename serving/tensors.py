"""JSON values to arrays, as TensorFlow Serving's REST contract has it.

Specification: TensorFlow Serving, RESTful API, "JSON mapping" and "Encoding binary values"; where it is silent,
what its `json_tensor.cc` does.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.errors import RequestError, invalid

FLOATS = {tf.float32, tf.float64}
WHOLE = {tf.int8, tf.uint8, tf.int16, tf.int32, tf.uint32, tf.int64, tf.uint64}
SUPPORTED = {tf.bool, tf.string, *FLOATS, *WHOLE}
"""The types of "JSON mapping"; those that it does not list are unsupported."""

_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class Tensor:
    """An input or output of a signature: its shape has `None` for a free dimension and is `None` if unknown."""

    name: str
    dtype: tf.DType
    shape: tuple[int | None, ...] | None

    @classmethod
    def of(cls, name: str, spec: tf.TensorSpec) -> "Tensor":
        """From TensorFlow's own description."""
        return cls(name, spec.dtype, None if spec.shape.rank is None else tuple(spec.shape.as_list()))


@dataclass(frozen=True)
class Place:
    """Where in a request an input's value was found, for messages."""

    name: str
    by_row: bool

    def __call__(self, index: Sequence[int] = ()) -> str:
        """Words for an element by its index, which begins with the instance in row format."""
        rest = list(index)
        words = f"input {self.name!r}"
        if self.by_row and rest:
            words += f", instance {rest.pop(0)}"
        if rest:
            words += ", element " + "".join(f"[{i}]" for i in rest)
        return words


def kind(value: Any) -> str:
    """Words for a JSON value's type."""
    return _KINDS.get(type(value), "a number")


def is_binary(value: Any) -> bool:
    """Whether a value is binary data: an object with the only key `b64`, whose value is a string."""
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) is str


def array(value: Any, tensor: Tensor, place: Place, nesting: int) -> npt.NDArray[Any]:
    """A nested list (or one value) as an array of the input's type and shape; strings as `bytes` objects.

    Raises:
        RequestError: 400 if it is ragged, of another type or shape, out of range or nested deeper than `nesting`; 501
            if the contract has no JSON for the input's type.
    """
    if tensor.dtype not in SUPPORTED:
        raise RequestError(501, f"{place()}: JSON has no form for the type {tensor.dtype.name}")
    rank = _rank(value) if tensor.shape is None else len(tensor.shape)
    if rank > nesting:
        raise invalid(f"{place()}: expected lists nested at most {nesting} deep")
    shape: list[int] = []
    values = [value]
    for depth in range(rank):
        size = _size(values, None if tensor.shape is None else tensor.shape[depth], shape, place)
        shape.append(size)
        values = list(chain.from_iterable(values))
    return _leaves(values, tensor.dtype, shape, place).reshape(shape)


def _rank(value: Any) -> int:
    rank = 0
    while type(value) is list:
        rank += 1
        value = value[0] if value else None
    return rank


def _size(values: list[Any], fixed: int | None, shape: list[int], place: Place) -> int:
    """The length that all these lists have.

    Args:
        values: all elements of one depth.
        fixed: the length that the signature demands, if it does.
        shape: the shape down to that depth.
        place: for the message.
    """
    if set(map(type, values)) - {list}:
        index, found = next((i, v) for i, v in enumerate(values) if type(v) is not list)
        wanted = "a list" if fixed is None else f"a list of {fixed}"
        raise invalid(f"{place(_unravel(index, shape))}: expected {wanted}, found {kind(found)}")
    sizes = set(map(len, values))
    size = fixed if fixed is not None else len(values[0]) if values else 0
    if sizes - {size}:
        index, found = next((i, v) for i, v in enumerate(values) if len(v) != size)
        raise invalid(f"{place(_unravel(index, shape))}: expected a list of {size}, found one of {len(found)}")
    return size


def _unravel(index: int, shape: list[int]) -> Sequence[int]:
    return [int(i) for i in np.unravel_index(index, shape)] if shape else ()


def _leaves(values: list[Any], dtype: tf.DType, shape: list[int], place: Place) -> npt.NDArray[Any]:
    def check(wanted: str, *kinds: type) -> None:
        if set(map(type, values)) - set(kinds):
            index, found = next((i, v) for i, v in enumerate(values) if type(v) not in kinds)
            words = "a decimal number" if type(found) is float else kind(found)
            raise invalid(f"{place(_unravel(index, shape))}: expected {wanted}, found {words}")

    if dtype == tf.string:
        return _strings(values, shape, place)
    if dtype == tf.bool:
        check("true or false", bool)
    elif dtype in WHOLE:
        check("a whole number", int)
    else:
        check("a number", int, float)
    try:
        with np.errstate(over="ignore"):
            found = np.array(values, dtype.as_numpy_dtype)
        overflow = dtype in FLOATS and _overflows(found, values)
    except OverflowError:
        overflow = True
    if overflow:
        index = next(i for i, v in enumerate(values) if not _fits(v, dtype))
        raise invalid(f"{place(_unravel(index, shape))}: expected a number that fits {dtype.name}")
    return found


def _overflows(found: npt.NDArray[Any], values: list[Any]) -> bool:
    """Whether a finite number became infinite; infinities that were sent as such may stay."""
    return not np.isfinite(found).all() and any(not _fits(v, tf.as_dtype(found.dtype)) for v in values)


def _fits(value: float, dtype: tf.DType) -> bool:
    if type(value) is float and not np.isfinite(value):
        return True
    whole = dtype in WHOLE
    low, high = (int(dtype.min), int(dtype.max)) if whole else (float(dtype.min), float(dtype.max))
    return low <= value <= high


def _strings(values: list[Any], shape: list[int], place: Place) -> npt.NDArray[Any]:
    found = np.empty(len(values), object)
    try:
        found[:] = list(map(str.encode, values))  # text and nothing else, as nearly always
    except (TypeError, UnicodeEncodeError):
        for index, value in enumerate(values):
            found[index] = _bytes(value, partial(_words, place, index, shape))
    return found


def _words(place: Place, index: int, shape: list[int]) -> str:
    return place(_unravel(index, shape))


def _bytes(value: Any, where: Callable[[], str]) -> bytes:
    try:
        if type(value) is str:
            return value.encode()
        if is_binary(value):
            text = value["b64"].encode("ascii")
            return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except UnicodeEncodeError:
        raise invalid(f"{where()}: expected Unicode text") from None
    except binascii.Error:
        raise invalid(f"{where()}: expected Base64 data") from None
    raise invalid(f'{where()}: expected a string or {{"b64": ...}}, found {kind(value)}')
