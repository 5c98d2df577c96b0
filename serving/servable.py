"""One loaded version of a model."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf.json_format import MessageToDict

from serving.batching import Batcher
from serving.codec import Arrays
from serving.errors import RequestError, invalid, shown
from serving.metrics import Metrics
from serving.rows import RowReader
from serving.settings import Batching
from serving.tensors import SUPPORTED, Tensor
from stages.core.errors import InputError
from stages.savedmodel.graph import ROW_INDEPENDENT, SIGNATURE, TAG, read_graph, read_provenance


class Signature:
    """A signature of a loaded model, as a function of arrays.

    Args:
        function: TensorFlow's.
    """

    def __init__(self, function: Any) -> None:
        self._function = function
        specs = function.structured_input_signature[1]
        self.inputs = {name: Tensor.of(name, specs[name]) for name in sorted(specs)}
        self.outputs = {name: Tensor.of(name, spec) for name, spec in function.structured_outputs.items()}

    @property
    def has_rows(self) -> bool:
        """Whether all shapes begin with a free dimension, so that several requests' instances fit into one call."""
        tensors = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(t.shape and t.shape[0] is None for t in tensors)

    def __call__(self, inputs: Arrays) -> Arrays:
        """Outputs by name, for inputs by name.

        Raises:
            RequestError: 400 if TensorFlow finds the values unfit; 501 if an output's type has no JSON.
        """
        for tensor in self.outputs.values():
            if tensor.dtype not in SUPPORTED:
                raise RequestError(
                    501, f"output {tensor.name!r}: the type {tensor.dtype.name} cannot be turned into JSON"
                )
        try:
            tensors = {name: _tensor(value, self.inputs[name]) for name, value in inputs.items()}
            return {
                name: np.asarray(value.numpy(), value.dtype.as_numpy_dtype)  # of one value, no array comes
                for name, value in self._function(**tensors).items()
            }
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            raise invalid(f"the model refused the inputs: {_reason(error.message)}") from None

    def warm_up(self) -> None:
        """Call once with zeros, so that the first request is as fast as the next."""
        sizes = {name: [size or 1 for size in tensor.shape or ()] for name, tensor in self.inputs.items()}
        dtypes = {name: tensor.dtype.as_numpy_dtype for name, tensor in self.inputs.items()}
        empty = {name: b"" if dtype is object else 0 for name, dtype in dtypes.items()}
        with suppress(RequestError, tf.errors.OpError):  # zeros need not be a valid input
            self({name: np.full(sizes[name], empty[name], dtypes[name]) for name in self.inputs})


class Servable:
    """A loaded version: its signatures, and the metadata that the contract shows.

    Args:
        path: the SavedModel.
        name: the model's name.
        version: its number.
        batching: how concurrent requests are joined.
        pool: threads that run it.
        metrics: where calls are counted.

    Raises:
        InputError: if the SavedModel is damaged.
        Exception: whatever TensorFlow raises for one that it cannot load.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        version: int,
        batching: Batching,
        pool: ThreadPoolExecutor,
        metrics: Metrics,
    ) -> None:
        self.name = name
        self.version = version
        self.metadata = _metadata(path, name, version)
        self._model = tf.saved_model.load(str(path), tags=[TAG])  # kept: its functions hold it weakly
        self.signatures = {key: Signature(function) for key, function in self._model.signatures.items()}
        for signature in self.signatures.values():
            signature.warm_up()
        independent = name in batching.row_independent_models or declares_independence(path)
        default = self.signatures.get(SIGNATURE)
        self.read_rows = RowReader(default.inputs if default else {})
        self._batchers = {
            key: Batcher(found, independent and found.has_rows, batching, pool, metrics.calls(name))
            for key, found in self.signatures.items()
        }

    def signature(self, name: str) -> Signature:
        """A signature by name.

        Raises:
            RequestError: 400 if there is none.
        """
        if name not in self.signatures:
            known = ", ".join(sorted(self.signatures)) or "none"
            raise invalid(f"model {self.name}, version {self.version}: no signature {shown(name)}; it has {known}")
        return self.signatures[name]

    async def run(self, signature: str, inputs: Arrays) -> Arrays:
        """Outputs of a signature, possibly computed in one call with other requests'."""
        return await self._batchers[signature].run(inputs)


def declares_independence(path: Path) -> bool:
    """Whether a SavedModel's provenance says that no instance's answer depends on the others of its call."""
    try:
        provenance = read_provenance(path)
    except InputError:  # another project's model
        return False
    return isinstance(provenance, dict) and provenance.get(ROW_INDEPENDENT) is True


def _tensor(value: npt.NDArray[Any], tensor: Tensor) -> tf.Tensor:
    """TensorFlow reads text from a list faster than from an array of objects."""
    return tf.constant(value.tolist() if value.dtype == object and value.ndim == 1 else value, tensor.dtype)


def _reason(message: str) -> str:
    """The line of TensorFlow's message that says what was wrong, rather than where in the graph."""
    where = ("Graph execution error", "Detected at", "<stack", " ", "\t")
    return next((line for line in message.splitlines() if line and not line.startswith(where)), "no reason given")


def _metadata(path: Path, name: str, version: int) -> dict[str, Any]:
    """The contract's GetModelMetadataResponse: fields named as in the protocol, numbers of 64 bits as strings."""
    graph = next(graph for graph in read_graph(path).meta_graphs if TAG in graph.meta_info_def.tags)
    signatures = {
        key: MessageToDict(
            graph.signature_def[key], preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for key in sorted(graph.signature_def)
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }
