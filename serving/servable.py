"""One loaded version of a model: its signatures, as functions of arrays."""

import functools
import math
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from starlette.exceptions import HTTPException
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import pywrap_tf_session as tf_session
from tensorflow.python.eager import cancellation

from serving.batching import Batcher
from serving.codec import RowReader, serialised
from serving.operations import check_operations
from serving.protos import PredictionLog, SignatureDefMap
from serving.published import ROWS
from serving.settings import Batching
from serving.tensors import to_array
from stages.core.errors import InputError, one_line
from stages.core.files import read_json
from stages.rest.requests import Arrays
from stages.rest.tensors import shown
from stages.savedmodel.graph import (
    SIGNATURE,
    TAG,
    Signature,
    read_signatures,
    serving_graph,
)

_WARM_UP = Path("assets.extra/tf_serving_warmup_requests")
_MAX_WARM_UP = 1000  # records, as TensorFlow Serving
_CALLS = 4  # of one model at once
_LOOPS = {"While", "StatelessWhile", "For", "Enter", "RefEnter", "MapDefun"}
_SLOW = 0.1  # seconds; a signature whose last call took longer is called so that the call can be ended
_STATUS = {1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 14: 503, 16: 401}
"""HTTP status by TensorFlow's error code; 500 for the others. Source: `http_server.cc`."""


class _Session:
    """A SavedModel in a session, as TensorFlow Serving has it. It calls faster than TensorFlow 2's functions."""

    def __init__(self, path: Path) -> None:
        # Threads of its own, so that a slow model does not take other models'.
        config = config_pb2.ConfigProto(
            use_per_session_threads=True,
            inter_op_parallelism_threads=_CALLS,
            intra_op_parallelism_threads=tf.config.threading.get_intra_op_parallelism_threads(),
        )
        with tf.Graph().as_default() as graph:
            self._session = tf.compat.v1.Session(graph=graph, config=config)
            tf.compat.v1.saved_model.loader.load(self._session, [TAG], str(path))
            handles = [op.outputs[0] for op in graph.get_operations() if op.type == "VarHandleOp"]
            if not all(self._session.run([tf.raw_ops.VarIsInitializedOp(resource=handle) for handle in handles])):
                raise ValueError("the graph reads variables of which the checkpoint knows nothing")
        self.steady = not _has_loops(serving_graph(path).graph_def)
        self._calls: dict[str, Any] = {}
        self._seconds: dict[str, float] = {}  # that the last call of a signature took

    def __call__(self, signature: Signature, inputs: Arrays, seconds: float) -> Arrays:
        fed = {tensor.tensor: inputs[key] for key, tensor in signature.inputs.items()}
        if len(fed) < len(inputs):
            raise ValueError("two inputs are the same tensor")
        computed = sorted({tensor.tensor for tensor in signature.outputs.values()} - fed.keys())
        values = fed | dict(zip(computed, self._compute(signature.name, fed, computed, seconds), strict=True))
        return {key: np.asarray(values[t.tensor], t.dtype.as_numpy_dtype) for key, t in signature.outputs.items()}

    def _compute(self, name: str, fed: Arrays, computed: list[str], seconds: float) -> list[Any]:
        """The tensors computed, for those fed. What may take long is given up after some seconds.

        Neither way checks the shapes that the graph declares; TensorFlow Serving leaves that to the operations.
        """
        if not computed:
            return []
        began = time.perf_counter()
        try:
            if self.steady and self._seconds.get(name, _SLOW) < _SLOW:
                return self._in_this_thread(name, fed, computed)
            return self._for_some_time(fed, computed, seconds)
        finally:
            self._seconds[name] = time.perf_counter() - began

    def _in_this_thread(self, name: str, fed: Arrays, computed: list[str]) -> list[Any]:
        """In half the time, but nothing can end it."""
        if name not in self._calls:
            options = config_pb2.CallableOptions(feed=list(fed), fetch=computed)
            options.run_options.inter_op_thread_pool = -1
            self._calls[name] = self._session._make_callable_from_options(options)
        found: list[Any] = self._calls[name](*fed.values())
        return found

    def _for_some_time(self, fed: Arrays, computed: list[str], seconds: float) -> list[Any]:
        milliseconds = math.ceil(max(seconds, 0.0) * 1e3) or 1 if math.isfinite(seconds) else 0
        options = config_pb2.RunOptions(timeout_in_ms=milliseconds).SerializeToString()
        tensor = self._session.graph.get_tensor_by_name
        buffer = tf_session.TF_NewBufferFromString(options)
        try:
            feeds = {tensor(key).ref(): value for key, value in fed.items()}
            found: list[Any] = self._session._do_run(None, [], [tensor(key) for key in computed], feeds, buffer, None)
        finally:
            tf_session.TF_DeleteBuffer(buffer)
        return found


def _has_loops(graph: Any) -> bool:
    """Whether the time of a call may depend on more than the size of its inputs."""
    nodes = chain(graph.node, *(function.node_def for function in graph.library.function))
    return any(node.op in _LOOPS or "Dataset" in node.op for node in nodes)


class _Functions:
    """A SavedModel in TensorFlow 2's loader, for what a session cannot load: variables that no checkpoint names."""

    steady = False

    def __init__(self, path: Path, signatures: Mapping[str, Signature]) -> None:
        self._model = tf.saved_model.load(str(path), tags=[TAG])  # the functions hold it weakly
        self._functions = self._model.signatures
        for name, signature in signatures.items():
            arguments = set(self._functions[name].structured_input_signature[1])
            if not signature.problem and (arguments != set(signature.inputs) or "self" in arguments):
                raise ValueError(f"signature {name}: the function does not take its inputs by name")

    def __call__(self, signature: Signature, inputs: Arrays, seconds: float) -> Arrays:
        tensors = {name: _tensor(value, signature.inputs[name].dtype) for name, value in inputs.items()}
        manager = cancellation.CancellationManager()
        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), manager.start_cancel)
        timer.daemon = True
        timer.start()
        try:
            outputs = manager.get_cancelable_function(self._functions[signature.name])(**tensors)
        finally:
            timer.cancel()
        return {
            name: np.asarray(value.numpy(), value.dtype.as_numpy_dtype)  # numpy() of one value is no array
            for name, value in outputs.items()
        }


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
        operations: those on files, processes or Python that it may hold.

    Raises:
        InputError: if the SavedModel is damaged or holds what it may not, or one of its warm-up requests fails.
        Exception: whatever TensorFlow raises for a model that it cannot load.
    """

    def __init__(
        self, path: Path, name: str, version: int, batching: Batching, operations: Collection[str] = ()
    ) -> None:
        check_operations(path, operations)
        self.name = name
        self.version = version
        self.metadata = _metadata(path, name, version)
        self.signature_defs = _signature_defs(path)
        self.signatures = read_signatures(path)
        self._run: _Session | _Functions
        try:
            self._run = _Session(path)
        except Exception as error:
            try:
                self._run = _Functions(path, self.signatures)
            except Exception:
                raise error from None
        independent = _has_independent_rows(path)
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
        self.read_rows = RowReader(default.inputs if default and not default.problem else {})
        joins = independent or name in batching.row_independent_models
        # Threads of its own, so that no other model's call waits for this one's.
        pool = ThreadPoolExecutor(_CALLS, thread_name_prefix=name)
        self._batchers = {
            key: Batcher(
                functools.partial(self.call, signature),
                joins and signature.has_rows,
                independent and self._run.steady,
                batching,
                pool,
                name,
                version,
            )
            for key, signature in self.signatures.items()
            if not signature.problem
        }

    def signature(self, name: str) -> Signature:
        """A signature by name.

        Raises:
            HTTPException: 400 if there is none with this name, or it has no inputs; 501 if it has ragged or sparse
                tensors.
        """
        if name not in self.signatures:
            known = ", ".join(self.signatures) or "none"
            raise HTTPException(400, f"Serving signature name: {shown(name)} not found in signature def; found {known}")
        if problem := self.signatures[name].problem:
            raise HTTPException(501, f"signature {name}: {problem}")
        if not self.signatures[name].inputs:
            raise HTTPException(400, f"Failed to get input map for signature: {name}: it has no inputs")
        return self.signatures[name]

    def call(self, signature: Signature, inputs: Arrays, seconds: float = math.inf) -> Arrays:
        """Outputs by name, for inputs by name, computed within some seconds or, where TensorFlow can stop, given up.

        Raises:
            HTTPException: 400 if the graph does not take the values, else the status of TensorFlow's error.
        """
        try:
            return self._run(signature, inputs, seconds)
        except tf.errors.OpError as error:
            status = _STATUS.get(error.error_code, 500)
            raise HTTPException(status, f"the model refused the inputs: {_reason(error.message)}") from None
        except (TypeError, ValueError) as error:
            raise HTTPException(400, f"the model refused the inputs: {_reason(str(error))}") from None

    async def run(self, signature: Signature, inputs: Arrays, deadline: float = math.inf) -> Arrays:
        """Outputs of a signature by a time of `time.monotonic`, possibly computed in one call with other requests'."""
        return await self._batchers[signature.name].run(inputs, deadline)

    def _warm_up_with_zeros(self) -> None:
        """Call each signature, so that the first request is as fast as the next."""
        for signature in self.signatures.values():
            if signature.problem:
                continue
            inputs = {key: np.zeros([n or 1 for n in t.shape], t.numpy_type) for key, t in signature.inputs.items()}
            with suppress(HTTPException):  # zeros need not be a valid input
                began = time.perf_counter()
                for _ in range(3):  # the first two prepare the two ways of calling
                    self.call(signature, inputs)
                    if time.perf_counter() - began > 1:
                        break


def _has_independent_rows(path: Path) -> bool:
    """Whether the prediction check of a published SavedModel found no answer to depend on the others of its call."""
    try:
        rows = read_json(path / ROWS)
    except InputError:  # published by another program
        return False
    return isinstance(rows, dict) and rows.get("independent") is True


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
                    inputs = {name: to_array(tensor, _MAX_WARM_UP, name) for name, tensor in request.inputs.items()}
                else:
                    inputs = {"inputs": serialised(request.input)}
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


def _signature_defs(path: Path) -> bytes:
    """The signatures as a serialised `SignatureDefMap`."""
    found = SignatureDefMap()
    for name, signature in serving_graph(path).signature_def.items():
        found.signature_def[name].ParseFromString(signature.SerializeToString())
    content: bytes = found.SerializeToString()
    return content
