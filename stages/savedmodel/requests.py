"""A prediction request in row format, `{"instances": [...]}`, as the arrays that a signature takes."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.savedmodel.graph import Signature, Tensor

Columns = dict[str, npt.NDArray[Any]]


def read_instances(path: Path) -> list[Any]:
    """The instances of a request file.

    Raises:
        InputError: if it is no `{"instances": [...]}` with at least one instance.
    """
    request = read_json(path)
    instances = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(instances, list) or not instances:
        raise InputError(f'{path}: expected {{"instances": [...]}} with at least one instance')
    return instances


def _column(values: list[Any], tensor: Tensor, where: str) -> npt.NDArray[Any]:
    expected = f"{tensor.dtype.name} of shape {list(tensor.shape[1:])}"
    rows = []
    for index, value in enumerate(values):
        try:
            row = np.array(value, dtype=object if tensor.dtype == "string" else tensor.dtype.as_numpy_dtype)
        except (TypeError, ValueError):
            row = None
        text = row is not None and all(isinstance(item, str) for item in row.flat)
        if row is None or row.shape != tensor.shape[1:] or (tensor.dtype == "string") != text:
            raise InputError(f"{where}: instance {index}: {tensor.key}: expected {expected}, found {str(value)[:80]}")
        rows.append(np.char.encode(row.astype(str), "utf-8") if text else row)
    return np.stack(rows)


def columns(instances: list[Any], signature: Signature, where: str) -> Columns:
    """An array [n, …] for each input: strings as bytes, numbers in the input's type.

    An instance is an object with a value for each input, or the bare value of the only one.

    Raises:
        InputError: naming the instance and input that does not fit.
    """
    inputs = signature.inputs
    if len(inputs) == 1 and not isinstance(instances[0], dict):
        instances = [{next(iter(inputs)): instance} for instance in instances]
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict) or set(instance) != set(inputs):
            found = ", ".join(sorted(instance)) if isinstance(instance, dict) else type(instance).__name__
            raise InputError(f"{where}: instance {index}: expected {', '.join(inputs)}; found {found}")
    return {key: _column([i[key] for i in instances], tensor, where) for key, tensor in inputs.items()}


def rows(outputs: Columns) -> list[Any]:
    """Predictions in row format: an object for each instance, all outputs by key, as JSON values."""
    return [
        dict(zip(outputs, values, strict=True)) for values in zip(*(v.tolist() for v in outputs.values()), strict=True)
    ]


def example(signature: Signature) -> dict[str, Any]:
    """An instance that a signature accepts, of zeros and empty strings: its form, not its sense."""

    def value(tensor: Tensor) -> Any:
        shape = [size or 1 for size in tensor.shape[1:]]
        return np.full(shape, "").tolist() if tensor.dtype == "string" else np.zeros(shape).tolist()

    return {key: value(tensor) for key, tensor in signature.inputs.items()}
