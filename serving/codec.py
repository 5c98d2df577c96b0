"""The bodies of prediction requests and answers, as TensorFlow Serving's REST contract has them.

Specification: TensorFlow Serving, RESTful API, "Predict API", "JSON mapping" and "JSON conformance". orjson
reads and writes what standard JSON can say; the tokens NaN and Infinity, which it cannot, are left to the
standard library.
"""

import base64
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from serving.errors import RequestError, invalid, shown
from serving.settings import Limits
from serving.tensors import Place, Tensor, array, is_binary, kind
from stages.savedmodel.graph import SIGNATURE

Arrays = dict[str, npt.NDArray[Any]]
"""Arrays by input or output; an input's strings are `bytes` or `str` objects, an output's `bytes`."""


@dataclass(frozen=True)
class Request:
    """A request's body: which signature it asks, in which format."""

    signature: str
    by_row: bool
    value: Any


def _decimal(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:32]} is too large for a number")
    return number


def parse(body: bytes | bytearray) -> Request:
    """Read a body down to the value of `instances` or `inputs`.

    Raises:
        RequestError: 400 if it is no JSON object, or has both or neither of these keys.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:  # wrong, or standard JSON with NaN or Infinity in it
        try:
            document = json.loads(body.decode(), parse_float=_decimal)
        except RecursionError:
            raise invalid("malformed JSON: nested too deep") from None
        except ValueError as error:
            raise invalid(f"malformed JSON: {error}") from None
    if type(document) is not dict:
        raise invalid(f"expected a JSON object, found {kind(document)}")
    signature = document.get("signature_name", "")
    if type(signature) is not str:
        raise invalid(f"signature_name: expected a string, found {kind(signature)}")
    by_row = "instances" in document
    if by_row == ("inputs" in document):
        raise invalid(f"expected either 'instances' or 'inputs', found {'both' if by_row else 'neither'}")
    return Request(signature or SIGNATURE, by_row, document["instances" if by_row else "inputs"])


def decode(request: Request, inputs: Mapping[str, Tensor], limits: Limits) -> Arrays:
    """A request's value as arrays, by input.

    Raises:
        RequestError: 400 if it does not fit the inputs, naming the input and the instance; 413 if it has more
            instances than the limit; 501 if an input's type has no JSON.
    """
    columns = _columns_of_rows(request.value, inputs) if request.by_row else _columns(request.value, inputs)
    for name, values in columns.items():
        if type(values) is list and len(values) > limits.instances:
            raise RequestError(
                413, f"input {name!r}: expected at most {limits.instances} instances, found {len(values)}"
            )
    nesting = limits.nesting + 1
    return {name: array(values, inputs[name], Place(name, request.by_row), nesting) for name, values in columns.items()}


def _is_object(value: Any) -> bool:
    return type(value) is dict and not is_binary(value)


def _columns_of_rows(instances: Any, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    if type(instances) is not list:
        raise invalid(f"instances: expected a list, found {kind(instances)}")
    if not instances:
        raise invalid("instances: expected at least one, found an empty list")
    if not _is_object(instances[0]) and len(inputs) == 1:
        return {next(iter(inputs)): instances}
    if set(map(type, instances)) == {dict} and set(map(len, instances)) == {len(inputs)}:
        with suppress(KeyError):
            return {name: list(map(itemgetter(name), instances)) for name in inputs}
    raise _misfit(instances, inputs)


def _misfit(instances: list[Any], inputs: Mapping[str, Tensor]) -> RequestError:
    """The first instance that has not each input once."""
    index, found = next((i, v) for i, v in enumerate(instances) if type(v) is not dict or v.keys() != inputs.keys())
    if type(found) is not dict:
        return invalid(f"instance {index}: expected an object of the inputs, found {kind(found)}")
    return _misnamed(f"instance {index}", found, inputs)


def _columns(value: Any, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    if not _is_object(value):
        if len(inputs) > 1:
            raise invalid(f"inputs: expected an object of the inputs, found {kind(value)}")
        return {next(iter(inputs)): value}
    if value.keys() != inputs.keys():
        raise _misnamed("inputs", value, inputs)
    return dict(value)


def _misnamed(where: str, value: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> RequestError:
    for name in inputs:
        if name not in value:
            return invalid(f"{where}: the input {name!r} is missing")
    extra = next(name for name in value if name not in inputs)
    return invalid(f"{where}: {shown(extra)} is no input; expected {', '.join(inputs)}")


def encode(outputs: Arrays, by_row: bool, keep_name: bool = False) -> bytes:
    """An answer's body.

    Args:
        outputs: arrays by output; strings as `bytes` objects, binary data where the name ends in `_bytes`.
        by_row: `predictions`, a value or object an instance, or else `outputs`, a list an output.
        keep_name: name the output even where it is the only one.

    Raises:
        RequestError: 400 if row format was asked for and the outputs are not a value an instance.
    """
    sizes = {found.shape[:1] for found in outputs.values()}
    if by_row and (len(sizes) > 1 or () in sizes):
        raise invalid("the outputs have no common number of instances; ask with 'inputs' instead")
    finite = all(found.dtype.kind != "f" or np.isfinite(found).all() for found in outputs.values())
    values = {name: _values(name, outputs[name], finite) for name in sorted(outputs)}
    answer: Any = values
    if len(values) == 1 and not keep_name:
        (answer,) = values.values()
    elif by_row:
        answer = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    document = {"predictions" if by_row else "outputs": answer}
    if finite:
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _values(name: str, found: npt.NDArray[Any], finite: bool) -> Any:
    """What the JSON writer takes: orjson arrays and NumPy's scalars, the standard library Python's own."""
    if found.dtype == object:
        text = _base64 if name.endswith("_bytes") else _text
        return np.asarray(np.frompyfunc(text, 1, 1)(found), object).tolist()
    if finite:
        return np.ascontiguousarray(found) if found.shape else found[()]
    # By way of text a float32 becomes the shortest decimal that stands for it.
    return (found.astype("U").astype(float) if found.dtype == np.float32 else found).tolist()


def _base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
