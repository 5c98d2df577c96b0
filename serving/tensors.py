"""Arrays from and to TensorFlow's `TensorProto`.

Specification: `tensor.proto` and `tensor.cc`. `tf.make_ndarray` takes five times as long for a tensor of one value.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.core.errors import InputError

_FIELDS = {
    tf.string: "string_val",
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.complex64: "scomplex_val",
    tf.complex128: "dcomplex_val",
    tf.bool: "bool_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    **dict.fromkeys((tf.int32, tf.int16, tf.int8, tf.uint16, tf.uint8), "int_val"),
    **dict.fromkeys((tf.float16, tf.bfloat16), "half_val"),
}
_TYPES = {dtype.as_datatype_enum: (dtype, field) for dtype, field in _FIELDS.items()}
_PARTS: dict[tf.DType, Any] = {  # what a field holds, where it is not the type's own values
    tf.complex64: np.dtype("<f4"),
    tf.complex128: np.dtype("<f8"),
    tf.float16: np.uint16,
    tf.bfloat16: np.uint16,
}
_PACKED = {"float_val": 0x2A, "double_val": 0x32, "scomplex_val": 0x4A, "dcomplex_val": 0x62}
"""Tags of the fields whose bytes are those of an array."""


def to_array(tensor: Any, most: int, name: str) -> npt.NDArray[Any]:
    """The values of a `TensorProto`, strings as `bytes`.

    Args:
        tensor: if it holds fewer values than its shape says, the last one is repeated.
        most: values that such a tensor may have.
        name: for errors.

    Raises:
        InputError: if the type is unknown, or the values do not fit the shape.
    """
    if tensor.dtype not in _TYPES:
        raise InputError(f"input {name}: expected a type of plain values, found number {tensor.dtype}")
    dtype, field = _TYPES[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    count = math.prod(shape)
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise InputError(f"input {name}: expected a shape, found dimensions of unknown size")
    if tensor.tensor_content and dtype != tf.string:
        if len(tensor.tensor_content) != count * dtype.size:
            raise InputError(
                f"input {name}: expected {count * dtype.size} bytes for the shape {shape}, found "
                f"{len(tensor.tensor_content)}"
            )
        return np.frombuffer(tensor.tensor_content, dtype.as_numpy_dtype).reshape(shape)
    values = getattr(tensor, field)
    try:
        found = np.array(values, _PARTS.get(dtype, object if dtype == tf.string else dtype.as_numpy_dtype))
        found = found.view(dtype.as_numpy_dtype) if dtype in _PARTS else found
    except (ValueError, OverflowError):
        raise InputError(f"input {name}: expected values of the type {dtype.name}") from None
    if len(found) == count:
        return found.reshape(shape)
    if len(found) > count or count > most:
        raise InputError(f"input {name}: expected {count} values for the shape {shape}, found {len(found)}")
    last = found[-1] if len(found) else b"" if dtype == tf.string else 0
    return np.concatenate([found, np.full(count - len(found), last, found.dtype)]).reshape(shape)


def to_tensor(array: npt.NDArray[Any], tensor: Any) -> None:
    """Write an array, strings as `bytes`, into an empty `TensorProto`, in the fields by type that clients read."""
    dtype = tf.as_dtype(array.dtype)
    field = _FIELDS[dtype]
    tensor.dtype = dtype.as_datatype_enum
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size
    if field in _PACKED:
        content = np.ascontiguousarray(array).tobytes()
        if content:
            tensor.MergeFromString(bytes([_PACKED[field]]) + _varint(len(content)) + content)
        return
    flat = array.reshape(-1)
    getattr(tensor, field).extend((flat.view(_PARTS[dtype]) if dtype in _PARTS else flat).tolist())


def _varint(number: int) -> bytes:
    """A number as Protocol Buffers write it."""
    digits = []
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
