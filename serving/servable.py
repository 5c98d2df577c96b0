"""One loaded version of a model: its signatures, as functions of arrays."""

import functools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from starlette.exceptions import HTTPException
from tensorflow.core.protobuf import config_pb2

from serving.batching import Batcher
from serving.codec import RowReader
from serving.protos import PredictionLog
from serving.settings import Batching
from stages.core.errors import InputError, one_line
from stages.rest.requests import Arrays
from stages.rest.tensors import shown
from stages.savedmodel.graph import (
    ROW_INDEPENDENT,
    SIGNATURE,
    TAG,
    Signature,
    read_provenance,
    read_signatures,
    serving_graph,
)

_WARM_UP = Path("assets.extra/tf_serving_warmup_requests")
_MAX_WARM_UP = 1000  # records, as TensorFlow Serving
_STATUS = {1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 14: 503, 16: 401}
"""HTTP status by TensorFlow's error code; 500 for the others. Source: `http_server.cc`."""


class _Functions:
    """A SavedModel in TensorFlow 2's loader."""

    def __init__(self, path: Path, signatures: Mapping[str, Signature]) -> None:
        self._model = tf.saved_model.load(str(path), tags=[TAG])  # the functions hold it weakly
        self._functions = self._model.signatures
        for name, signature in signatures.items():
            arguments = set(self._functions[name].structured_input_signature[1])
            if arguments != set(signature.inputs) or "self" in arguments:
                raise ValueError(f"signature {name}: the function does not take its inputs by name")

    def __call__(self, signature: Signature, inputs: Arrays) -> Arrays:
        tensors = {name: _tensor(value, signature.inputs[name].dtype) for name, value in inputs.items()}
        return {
            name: np.asarray(value.numpy(), value.dtype.as_numpy_dtype)  # numpy() of one value is no array
            for name, value in self._functions[signature.name](**tensors).items()
        }


class _Session:
    """A SavedModel in TensorFlow 1's loader, for what the other one cannot load, such as reference variables."""

    def __init__(self, path: Path) -> None:
        with tf.Graph().as_default() as graph:
            self._session = tf.compat.v1.Session(graph=graph)
            tf.compat.v1.saved_model.loader.load(self._session, [TAG], str(path))
        self._calls: dict[str, Any] = {}

    def __call__(self, signature: Signature, inputs: Arrays) -> Arrays:
        fed = {tensor.tensor: inputs[key] for key, tensor in signature.inputs.items()}
        if len(fed) < len(inputs):
            raise ValueError("two inputs are the same tensor")
        computed = sorted({tensor.tensor for tensor in signature.outputs.values()} - fed.keys())
        if computed and signature.name not in self._calls:
            options = config_pb2.CallableOptions(feed=list(fed), fetch=computed)
            # run() would check the shape that the graph declares; TensorFlow Serving leaves that to the operations.
            self._calls[signature.name] = self._session._make_callable_from_options(options)
        outputs = self._calls[signature.name](*fed.values()) if computed else ()
        values = fed | dict(zip(computed, outputs, strict=True))
        return {key: np.asarray(values[t.tensor], t.dtype.as_numpy_dtype) for key, t in signature.outputs.items()}


def _tensor(value: npt.NDArray[Any], dtype: tf.DType) -> tf.Tensor:
    """TensorFlow converts a list of strings faster than an array of objects."""
    return tf.constant(value.tolist() if value.dtype == object and value.ndim == 1 else value, dtype)


class Servable:
    """A loaded version.

    Args:
        path: the SavedModel.
        name: the model's name.
        version: its number.
        batching: how concurrent requests are joined.
        pool: threads that run it.

    Raises:
        InputError: if the SavedModel is damaged, or one of its warm-up requests fails.
        Exception: whatever TensorFlow raises for a model that it cannot load.
    """

    def __init__(self, path: Path, name: str, version: int, batching: Batching, pool: ThreadPoolExecutor) -> None:
        self.metadata = _metadata(path, name, version)
        self.signatures = read_signatures(path)
        self._run: _Functions | _Session
        try:
            self._run = _Functions(path, self.signatures)
        except Exception as error:
            try:
                self._run = _Session(path)
            except Exception:
                raise error from None
        independent = _declares_independent_rows(path)
        if independent:  # other models may have state that a call changes
            self._warm_up_with_zeros()
        for signature, inputs in _warm_up_requests(path):
            try:
                expected = self.signature(signature).inputs
                if inputs.keys() != expected.keys():
                    raise HTTPException(400, f"expected the inputs {', '.join(expected)}, found {', '.join(inputs)}")
                self.call(self.signatures[signature], inputs)
            except HTTPException as error:
                raise InputError(f"{path / _WARM_UP}: {error.detail}") from None
        default = self.signatures.get(SIGNATURE)
        self.read_rows = RowReader(default.inputs if default else {})
        joins = independent or name in batching.row_independent_models
        self._batchers = {
            key: Batcher(functools.partial(self.call, signature), joins and _has_rows(signature), batching, pool, name)
            for key, signature in self.signatures.items()
        }

    def signature(self, name: str) -> Signature:
        """A signature by name.

        Raises:
            HTTPException: 400 if there is none with this name, or it has no inputs.
        """
        if name not in self.signatures:
            known = ", ".join(self.signatures) or "none"
            raise HTTPException(400, f"Serving signature name: {shown(name)} not found in signature def; found {known}")
        if not self.signatures[name].inputs:
            raise HTTPException(400, f"Failed to get input map for signature: {name}: it has no inputs")
        return self.signatures[name]

    def call(self, signature: Signature, inputs: Arrays) -> Arrays:
        """Outputs by name, for inputs by name.

        Raises:
            HTTPException: 400 if the graph does not take the values, else the status of TensorFlow's error.
        """
        try:
            return self._run(signature, inputs)
        except tf.errors.OpError as error:
            status = _STATUS.get(error.error_code, 500)
            raise HTTPException(status, f"the model refused the inputs: {_reason(error.message)}") from None
        except (TypeError, ValueError) as error:
            raise HTTPException(400, f"the model refused the inputs: {_reason(str(error))}") from None

    async def run(self, signature: Signature, inputs: Arrays) -> Arrays:
        """Outputs of a signature, possibly computed in one call with other requests'."""
        return await self._batchers[signature.name].run(inputs)

    def _warm_up_with_zeros(self) -> None:
        """Call each signature once, so that the first request is as fast as the next."""
        for signature in self.signatures.values():
            inputs = {key: np.zeros([n or 1 for n in t.shape], t.numpy_type) for key, t in signature.inputs.items()}
            with suppress(HTTPException):  # zeros need not be a valid input
                self.call(signature, inputs)


def _has_rows(signature: Signature) -> bool:
    """Whether all shapes begin with a free dimension, so that several requests' instances fit into one call."""
    tensors = [*signature.inputs.values(), *signature.outputs.values()]
    return all(t.shape and t.shape[0] is None for t in tensors)


def _declares_independent_rows(path: Path) -> bool:
    """Whether a SavedModel's provenance says that no instance's answer depends on the others of its call."""
    try:
        provenance = read_provenance(path)
    except InputError:  # another project's model
        return False
    return isinstance(provenance, dict) and provenance.get(ROW_INDEPENDENT) is True


def _warm_up_requests(path: Path) -> Iterator[tuple[str, Arrays]]:
    """The signatures and inputs of the requests that TensorFlow Serving's users ship with a SavedModel.

    Raises:
        InputError: if the file is damaged or has too many records.
    """
    file = path / _WARM_UP
    if not file.exists():
        return
    try:
        for number, record in enumerate(tf.data.TFRecordDataset(str(file)).as_numpy_iterator()):
            if number == _MAX_WARM_UP:
                raise InputError(f"{file}: expected at most {_MAX_WARM_UP} records")
            for log, content in PredictionLog.FromString(record).ListFields():  # none, if it is of another API
                request = content.request
                if log.name == "predict_log":
                    inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
                else:
                    with_context = request.input.example_list_with_context
                    context = with_context.context.SerializeToString()
                    examples = [*request.input.example_list.examples, *with_context.examples]
                    inputs = {"inputs": np.array([context + e.SerializeToString() for e in examples], object)}
                yield request.model_spec.signature_name or SIGNATURE, inputs
    except (tf.errors.OpError, DecodeError) as error:
        raise InputError(f"{file}: damaged: {one_line(error)}") from None


def _reason(message: str) -> str:
    """The line of TensorFlow's message that says what was wrong, rather than where in the graph."""
    where = ("Graph execution error", "Detected at", "<stack", " ", "\t")
    return next((line for line in message.splitlines() if line and not line.startswith(where)), "no reason given")


def _metadata(path: Path, name: str, version: int) -> dict[str, Any]:
    """GetModelMetadataResponse: fields named as in the protocol, 64-bit numbers as strings."""
    signatures = {
        key: MessageToDict(found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for key, found in sorted(serving_graph(path).signature_def.items())
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }
