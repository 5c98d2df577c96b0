"""Bodies of requests and answers.

Specification: TensorFlow Serving, RESTful API; where its implementation differs, `json_tensor.cc`.
"""

import base64
import json
import re
import secrets
import sys
from collections.abc import Mapping
from itertools import chain
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import orjson
import tensorflow as tf

from serving.settings import Limits
from stages.core.errors import InputError
from stages.rest.requests import Arrays
from stages.rest.tensors import MAX_RANK, SUPPORTED, decode_binary, is_binary, json_type, shown
from stages.savedmodel.graph import SIGNATURE, Tensor

_MAX_DEPTH = MAX_RANK + 8
_SMALL = 1 << 16  # bytes; a smaller body cannot hold much
_NUMBER = re.compile(rb"-?(?:NaN|Inf(?:inity)?)")
_NESTING = np.zeros(256, np.int8)  # by byte: what it adds to the depth
_NESTING[list(b"[{")], _NESTING[list(b"]}")] = 1, -1
_MARK = secrets.token_hex(8)  # no client can know it
_NON_FINITE = {f"{_MARK}{text}": float(text) for text in ("NaN", "-NaN", "Inf", "-Inf", "Infinity", "-Infinity")}


class TooLargeError(InputError):
    """A body that holds more than the server reads."""


def parse(body: bytes | bytearray, limits: Limits) -> dict[str, Any]:
    """The JSON object of a body.

    Like TensorFlow Serving's parser, this one takes NaN, Inf and Infinity for numbers and ignores whatever follows the
    object. Lists and objects nested deeper than any tensor become 0.

    Raises:
        InputError: if the body is not JSON, or not an object.
        TooLargeError: if it holds more instances or values than the limits say, before they are read.
    """
    if not body:
        raise InputError("JSON Parse error: The document is empty")
    check_size(body, limits)
    try:
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            standard = _standard_json(bytes(body))
            document = msgspec.json.decode(standard)
            if _MARK.encode() in standard:
                document = _restore(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"JSON Parse error: Invalid value: {error}") from None
    if type(document) is not dict:
        raise InputError(f"JSON Value: {shown(document)} Is not object")
    return document


def check_size(body: bytes | bytearray, limits: Limits) -> None:
    """Count a body's values, and the elements of the lists in it that may hold instances, without reading them.

    A list without elements takes thirty times its bytes of memory, so that a limit on bytes alone is none.

    Raises:
        TooLargeError: if there are more than the limits say.
    """
    if len(body) <= _SMALL:
        return
    text = np.frombuffer(body, np.uint8)
    commas, lists = (sum(np.count_nonzero(text == byte) for byte in found) for found in (b",", b"[{"))
    if commas + lists < limits.values and lists <= limits.instances:
        return  # at most; what stands in strings is counted as well
    depth, outside = _structure(bytes(body))
    comma = (text == ord(",")) & outside
    values = np.count_nonzero(comma) + np.count_nonzero(outside & (_NESTING[text] == 1))
    if values > limits.values:
        raise TooLargeError(f"expected at most {limits.values} values, found {values}")
    between = np.flatnonzero(comma & (depth == 2))
    members = np.flatnonzero(comma & (depth == 1))
    ends = np.searchsorted(between, np.concatenate([members, [len(text)]]))
    if (instances := int(np.diff(ends, prepend=0).max()) + 1) > limits.instances:
        raise TooLargeError(f"expected at most {limits.instances} instances, found {instances}")


def _structure(body: bytes) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """For each byte of JSON, how deep it is nested, and whether it stands outside strings.

    The brackets of a list or object belong to it. In steps of NumPy's, which let other threads run.
    """
    if b"\\" in body:
        body = body.replace(rb"\\", b"  ").replace(rb"\"", b"  ")
    text = np.frombuffer(body, np.uint8)
    outside = ~np.logical_xor.accumulate(text == ord('"'))
    steps = _NESTING[text] * outside
    return np.cumsum(steps, dtype=np.int32) + (steps == -1), outside


def _standard_json(body: bytes) -> bytes:
    """A body of TensorFlow Serving's dialect as standard JSON; NaN and infinities become marked strings."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    depth, outside = _structure(body)
    text = np.frombuffer(body, np.uint8)
    closings = np.flatnonzero((depth <= 1) & outside & (_NESTING[text] == -1))
    end = int(closings[0]) + 1 if closings.size else len(body)
    kept = depth[:end] < _MAX_DEPTH
    if not kept.all():
        begins = (depth[:end] == _MAX_DEPTH) & outside[:end] & (_NESTING[text[:end]] == 1)
        text = np.where(begins, np.uint8(ord("0")), text[:end])
        kept |= begins
        body, outside = text[kept].tobytes(), outside[:end][kept]
        end = len(body)
    standard, start = bytearray(), 0
    for match in _NUMBER.finditer(body, 0, end):
        if outside[match.start()]:
            standard += b'%s"%s%s"' % (body[start : match.start()], _MARK.encode(), match[0])
            start = match.end()
    return bytes(standard + body[start:end])


def _restore(value: Any) -> Any:
    """A document with numbers in place of the marked strings."""
    if type(value) is list:
        return [_restore(item) for item in value]
    if type(value) is dict:
        if not value.keys().isdisjoint(_NON_FINITE):
            raise InputError("JSON Parse error: Missing a name for object member.")
        return {key: _restore(item) for key, item in value.items()}
    return _NON_FINITE.get(value, value) if type(value) is str else value


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request asks.

    Raises:
        InputError: if it is not a string.
    """
    name = document.get("signature_name", "")
    if type(name) is not str:
        raise InputError(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name or SIGNATURE


class RowReader:
    """Reads the usual request twice as fast as `parse`: instances that are objects of strings, numbers and booleans.

    Only requests to the default signature, whose inputs are given, are read.
    """

    _KINDS = {tf.string: str, tf.float32: float, tf.float64: float, tf.bool: bool}  # noqa: RUF012
    # Whole numbers are left out, since msgspec takes 1.0 for one.

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        self._types = {tensor.key: tensor.dtype.as_numpy_dtype for tensor in inputs.values()}
        self._decoder: msgspec.json.Decoder[Any] | None = None
        if len(inputs) < 2 or not all(tensor.dtype in self._KINDS for tensor in inputs.values()):
            return
        fields = [(f"input_{i}", self._KINDS[tensor.dtype]) for i, tensor in enumerate(inputs.values())]
        names = {field: key for (field, _), key in zip(fields, self._types, strict=True)}
        instance = msgspec.defstruct("Instance", fields, rename=names, forbid_unknown_fields=True, gc=False)
        document = msgspec.defstruct(
            "Document",
            [("instances", list[instance]), ("signature_name", Literal["", SIGNATURE], "")],  # type: ignore[valid-type]
            forbid_unknown_fields=True,
        )
        self._decoder = msgspec.json.Decoder(document)

    def __call__(self, body: bytes | bytearray) -> Arrays | None:
        """Arrays [n] by input, strings as `str`; None if the body has another form, or is wrong."""
        if self._decoder is None:
            return None
        try:
            instances = self._decoder.decode(body).instances
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if not instances:
            return None
        values = chain.from_iterable(map(msgspec.structs.astuple, instances))
        table = np.fromiter(values, object, len(instances) * len(self._types)).reshape(len(instances), -1)
        with np.errstate(over="ignore"):
            return {key: table[:, i].astype(dtype) for i, (key, dtype) in enumerate(self._types.items())}


def decode_examples(document: Mapping[str, Any]) -> npt.NDArray[Any]:
    """The serialised `tf.Example`s of a classify or regress request [n], the common context included.

    Raises:
        InputError: naming the feature that has no form in an example.
    """
    context = _example(document["context"]) if "context" in document else b""
    examples = document.get("examples")
    if type(examples) is not list:
        found = "was not found" if "examples" not in document else f"is not a list: {shown(examples)}"
        raise InputError(f"key 'examples' is expected and {found}")
    if not examples:
        raise InputError("'examples' value is an empty array")
    return np.array([context + _example(example) for example in examples], object)


def serialised(examples: Any) -> npt.NDArray[Any]:
    """The serialised `tf.Example`s of an `Input` message [n], the common context included."""
    with_context = examples.example_list_with_context
    context = with_context.context.SerializeToString()
    found = [*examples.example_list.examples, *with_context.examples]
    return np.array([context + example.SerializeToString() for example in found], object)


def _example(value: Any) -> bytes:
    if type(value) is not dict:
        raise InputError(f"Example must be JSON object but got JSON {json_type(value)}")
    example = tf.train.Example()
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if type(content) is list else [content]:
            kind, item = _feature_value(item, name)
            if feature.WhichOneof("kind") not in (None, kind):
                raise InputError(
                    f"Unexpected element type in feature: {name} expecting type: {feature.WhichOneof('kind')}"
                )
            getattr(feature, kind).value.append(item)
    serialised: bytes = example.SerializeToString()
    return serialised


def _feature_value(value: Any, name: str) -> tuple[str, Any]:
    """The list of a `tf.train.Feature` that holds a JSON value, and the value as it holds it."""
    if type(value) is str:
        return "bytes_list", value.encode()
    if is_binary(value):
        return "bytes_list", decode_binary(value)
    if type(value) is bool:
        return "int64_list", int(value)
    if type(value) is int and -(2**63) <= value < 2**63:
        return "int64_list", value
    if type(value) is int and 0 < value < 2**64:
        raise InputError(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    if type(value) is float or (type(value) is int and abs(value) <= sys.float_info.max):
        return "float_list", value
    raise InputError(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")


def encode_outputs(outputs: Arrays, by_row: bool, keep_name: bool = False) -> bytes:
    """The body of an answer to predict.

    Args:
        outputs: arrays by output; strings as `bytes` objects, binary data if the name ends in `_bytes`.
        by_row: `predictions`, a value or object for each instance; else `outputs`, an array for each output.
        keep_name: name the output even if it is the only one.

    Raises:
        InputError: if there is no output, a type has no JSON form, or row format was asked for and the outputs differ
            in their first dimension.
    """
    if not outputs:
        raise InputError("Cannot convert empty tensor map to JSON")
    for name, found in outputs.items():
        if tf.as_dtype(found.dtype) not in SUPPORTED and found.size:
            raise InputError(f"Failed to write JSON value for tensor type: {tf.as_dtype(found.dtype).name} ({name})")
        if by_row and not found.shape:
            raise InputError(f"Tensor name: {name} has no shape information")
    if by_row and len(set(map(len, outputs.values()))) > 1:
        sizes = ", ".join(f"{name} {len(found)}" for name, found in outputs.items())
        raise InputError(f"Tensors have inconsistent batch sizes: {sizes}; ask with 'inputs' instead")
    values = {name: _values(name, outputs[name]) for name in sorted(outputs)}
    answer: Any = values
    if len(values) == 1 and not keep_name:
        (answer,) = values.values()
    elif by_row:
        answer = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return _dump({"predictions" if by_row else "outputs": answer}, *outputs.values())


def encode_classes(outputs: Arrays, examples: int) -> bytes:
    """The body of an answer to classify: for each example a list of pairs of label and score.

    Args and raises: as `classes`.
    """
    labels, scores = classes(outputs, examples)
    rows = [list(zip(*row, strict=True)) for row in zip(_values("", labels), _values("", scores), strict=True)]
    return _dump({"results": rows}, scores)


def classes(outputs: Arrays, examples: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
    """The labels [n, k], as `bytes` objects, and the scores [n, k] of a classification.

    Args:
        outputs: `classes` [n, k] as `bytes` objects, `scores` float32 [n, k]. Empty strings stand in for missing
            classes, zeros for missing scores.
        examples: n.

    Raises:
        InputError: if the outputs are not those of a classification.
    """
    found = {name: outputs[name] for name in ("classes", "scores") if name in outputs}
    if not found or len(outputs) > 2:
        raise InputError("Expected classification signature outputs to contain at least one of classes, scores")
    for name, values in found.items():
        if values.dtype != (object if name == "classes" else np.float32) or values.ndim != 2 or len(values) != examples:
            raise InputError(
                f"Expected {name} Tensor of {'DT_STRING' if name == 'classes' else 'DT_FLOAT'} and shape [{examples}, "
                f"num_classes], got {values.dtype} of shape {list(values.shape)}"
            )
    shape, *others = {values.shape for values in found.values()}
    if others:
        raise InputError("Tensors class and score should match in dim_size(1)")
    return found.get("classes", np.full(shape, b"", object)), found.get("scores", np.zeros(shape, np.float32))


def encode_regressions(outputs: Arrays, examples: int) -> bytes:
    """The body of an answer to regress: a number for each example.

    Args and raises: as `regressions`.
    """
    found = regressions(outputs, examples)
    return _dump({"results": _values("", found)}, found)


def regressions(outputs: Arrays, examples: int) -> npt.NDArray[np.float32]:
    """The numbers [n] of a regression.

    Args:
        outputs: `outputs` float32 [n] or [n, 1].
        examples: n.

    Raises:
        InputError: if the outputs are not those of a regression.
    """
    if list(outputs) != ["outputs"]:
        raise InputError("Expected one output Tensor named outputs")
    found = outputs["outputs"]
    if found.dtype != np.float32 or found.shape not in ((examples,), (examples, 1)):
        raise InputError(
            f"Expected output Tensor of DT_FLOAT and shape [{examples}] or [{examples}, 1], got {found.dtype} of shape "
            f"{list(found.shape)}"
        )
    return found.reshape(-1)


def _dump(document: dict[str, Any], *arrays: npt.NDArray[Any]) -> bytes:
    """Write JSON. orjson writes arrays fast, and the shortest decimals; NaN and infinities are left to `json`."""
    if all(found.dtype.kind != "f" or np.isfinite(found).all() for found in arrays):
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, default=_plain, ensure_ascii=False, separators=(",", ":")).encode()


def _plain(found: Any) -> Any:
    """An array or a scalar of NumPy's as Python's own numbers: for a float32 the shortest decimal, by way of text."""
    return (found.astype("U").astype(float) if found.dtype == np.float32 else found).tolist()


def _values(name: str, found: npt.NDArray[Any]) -> Any:
    """What the writers take."""
    if found.dtype == object:
        text = _base64 if name.endswith("_bytes") else _text
        return np.asarray(np.frompyfunc(text, 1, 1)(found), object).tolist()
    if not found.size:  # may be of a type that has no JSON form
        return found.tolist()
    return np.ascontiguousarray(found) if found.shape else found[()]


def _base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
