"""Prediction requests: `instances` (row format) and `inputs` (column format) as the arrays that a signature takes.

Specification: TensorFlow Serving, RESTful API, "Predict API"; where its implementation differs, `json_tensor.cc`.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.rest.tensors import dense_shape, is_binary, shown, to_array
from stages.savedmodel.graph import Signature, Tensor

Arrays = dict[str, npt.NDArray[Any]]
"""Arrays by input or output; strings are `bytes` objects."""


def decode_instances(instances: Any, inputs: Mapping[str, Tensor]) -> Arrays:
    """Arrays [n, …] by input, from a list of n instances.

    An instance is an object with a value for each input, or the bare value of the only input. All instances have the
    same form, and an input's values have the same shape.

    Raises:
        InputError: naming the instance and the input that do not fit.
    """
    if type(instances) is not list:
        raise InputError(f"JSON Value: {shown(instances)} Expecting 'instances' to be an list/array")
    if not instances:
        raise InputError("No values in 'instances' array")
    columns = _columns(instances, inputs)
    return {name: _column(values, name, inputs[name]) for name, values in columns.items()}


def _columns(instances: list[Any], inputs: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    """Each input's values."""
    if not _is_object(instances[0]):
        if len(inputs) != 1:
            raise InputError(f"'instances' is a plain list, expected objects of the inputs {', '.join(inputs)}")
        if any(map(_is_object, instances)):
            index = next(i for i, value in enumerate(instances) if _is_object(value))
            raise InputError(f"Expecting value/list but got object at item {index} of input list")
        return {next(iter(inputs)): instances}
    if set(map(type, instances)) == {dict} and set(map(len, instances)) == {len(inputs)}:
        with suppress(KeyError):
            return {name: list(map(itemgetter(name), instances)) for name in inputs}
    for index, value in enumerate(instances):
        if not _is_object(value):
            raise InputError(f"Expecting object but got list at item {index} of input list")
        if value.keys() != inputs.keys():
            break
    raise InputError(
        f"Failed to process element: {index} of 'instances' list. JSON object keys must be equal to: "
        f"{', '.join(inputs)}; found {shown(list(value))}"
    )


def _is_object(value: Any) -> bool:
    return type(value) is dict and not is_binary(value)


def _column(values: list[Any], name: str, tensor: Tensor) -> npt.NDArray[Any]:
    def place(index: Sequence[int]) -> str:
        words = f"input {name!r}"
        if index:
            words += f", instance {index[0]}"
        return words + (f", element {list(index[1:])}" if index[1:] else "")

    try:
        return to_array(values, tensor.dtype, place)
    except InputError as error:
        first, *shapes = map(dense_shape, values)
        for index, shape in enumerate(shapes, 1):
            if shape != first:  # says more than where the lists first differ
                size, wanted = math.prod(shape), math.prod(first)
                message = (
                    f"tensor size: {wanted} but got: {size}" if size != wanted else f"shape {first} but got: {shape}"
                )
                raise InputError(f"{place((index,))}: Expecting {message}") from None
        raise InputError(str(error)) from None  # in row format, also where the type has no JSON form


def decode_inputs(value: Any, inputs: Mapping[str, Tensor]) -> Arrays:
    """Arrays by input, from an object of whole arrays, or from the bare array of the only input.

    Keys that name no input are ignored.

    Raises:
        InputError: naming the input that is missing or does not fit.
    """
    if not _is_object(value):
        if len(inputs) != 1:
            raise InputError(f"'inputs' is a plain value/list, expected an object of the inputs {', '.join(inputs)}")
        value = {next(iter(inputs)): value}
    for name in inputs:
        if name not in value:
            raise InputError(f"Missing named input: {name} in 'inputs' object.")

    def place(index: Sequence[int]) -> str:
        return f"input {name!r}" + (f", element {list(index)}" if index else "")

    return {name: to_array(value[name], tensor.dtype, place) for name, tensor in inputs.items()}


def read_instances(path: Path) -> list[Any]:
    """The instances of a request file.

    Raises:
        InputError: if it is not `{"instances": [...]}` with at least one instance.
    """
    request = read_json(path)
    instances = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(instances, list) or not instances:
        raise InputError(f'{path}: expected {{"instances": [...]}} with at least one instance')
    return instances


def decode_request(instances: list[Any], signature: Signature, where: str) -> Arrays:
    """Arrays [n, …] by input that have the shapes of the signature.

    Raises:
        InputError: naming where the request is from, and the instance or input that does not fit.
    """
    try:
        arrays = decode_instances(instances, signature.inputs)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    for name, array in arrays.items():
        shape = signature.inputs[name].shape
        if len(shape) != array.ndim or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
            raise InputError(f"{where}: input {name!r}: expected the shape {list(shape)}, found {list(array.shape)}")
    return arrays


def predictions(outputs: Arrays) -> list[Any]:
    """Outputs in row format: an object for each instance, all outputs by name, as JSON values."""
    return [
        dict(zip(outputs, values, strict=True)) for values in zip(*(v.tolist() for v in outputs.values()), strict=True)
    ]


def example(signature: Signature) -> dict[str, Any]:
    """An instance that a signature accepts, made of zeros and empty strings: it shows the form alone."""

    return {
        key: np.zeros([size or 1 for size in tensor.shape[1:]], tensor.numpy_type).tolist()
        for key, tensor in signature.inputs.items()
    }


def fitting(instances: list[Any], signature: Signature) -> list[Any]:
    """The instances, if a signature accepts them, else an example of one that it accepts."""
    try:
        decode_request(instances, signature, "")
    except InputError:
        return [example(signature)]
    return instances
