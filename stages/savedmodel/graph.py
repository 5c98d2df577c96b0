"""What a SavedModel's files say: signatures and provenance, read without loading the model.

Format: https://www.tensorflow.org/guide/saved_model
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from stages.core.errors import InputError, one_line
from stages.core.files import read_json

SIGNATURE = "serving_default"
TAG = "serve"
BINARY, TEXT = "saved_model.pb", "saved_model.pbtxt"
FINGERPRINT = "fingerprint.pb"
PROVENANCE = Path("assets.extra/provenance.json")


def read_graph(path: Path) -> Any:
    """The `SavedModel` message of a folder, binary or text.

    Raises:
        InputError: if there is none, or it is damaged.
    """
    binary, text = path / BINARY, path / TEXT
    try:
        if binary.exists():
            message = saved_model_pb2.SavedModel.FromString(binary.read_bytes())
        elif text.exists():
            message = text_format.Parse(text.read_text(encoding="utf-8"), saved_model_pb2.SavedModel())
        else:
            raise InputError(f"{path}: expected a SavedModel, found neither {BINARY} nor {TEXT}")
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged SavedModel: {one_line(error)}") from None
    return message


def serving_graph(path: Path) -> Any:
    """The `MetaGraphDef` of a SavedModel that is served.

    Raises:
        InputError: as `read_graph`, or if there is none.
    """
    for graph in read_graph(path).meta_graphs:
        if list(graph.meta_info_def.tags) == [TAG]:
            return graph
    raise InputError(f"{path}: damaged SavedModel: no graph with the tag {TAG} alone")


@dataclass(frozen=True)
class Tensor:
    """One input or output of a signature. Its shape has `None` for a dimension of any size."""

    key: str
    tensor: str
    dtype: tf.DType
    shape: tuple[int | None, ...]

    @property
    def numpy_type(self) -> Any:
        """The type of an array of its values, where strings are text."""
        return str if self.dtype == tf.string else self.dtype.as_numpy_dtype


@dataclass(frozen=True)
class Signature:
    """A signature's inputs and outputs by key, sorted, and why it cannot be called if one is no plain tensor."""

    name: str
    method: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    problem: str = ""

    @property
    def has_rows(self) -> bool:
        """Whether all shapes begin with a free dimension, so that several requests' instances fit into one call."""
        tensors = [*self.inputs.values(), *self.outputs.values()]
        return all(tensor.shape and tensor.shape[0] is None for tensor in tensors)


def _tensors(infos: Mapping[str, Any]) -> dict[str, Tensor]:
    """The plain tensors."""

    def shape(info: Any) -> tuple[int | None, ...]:
        return tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)

    return {
        key: Tensor(key, info.name, tf.as_dtype(info.dtype), shape(info))
        for key, info in sorted(infos.items())
        if _kind(info) == "Tensor"
    }


def _kind(info: Any) -> str:
    """What a `TensorInfo` stands for: Tensor, SparseTensor, RaggedTensor, ..."""
    if info.WhichOneof("encoding") == "composite_tensor":
        return str(info.composite_tensor.type_spec.type_spec_class_name).removesuffix("Spec")
    return "SparseTensor" if info.HasField("coo_sparse") else "Tensor"


def _signature(name: str, found: Any) -> Signature:
    infos = [
        (f"{what} {key}", info) for what in ("input", "output") for key, info in getattr(found, f"{what}s").items()
    ]
    others = sorted(f"{what} is a {_kind(info)}" for what, info in infos if _kind(info) != "Tensor")
    problem = f"expected plain tensors, but {', '.join(others)}" if others else ""
    return Signature(name, found.method_name, _tensors(found.inputs), _tensors(found.outputs), problem)


def read_signatures(path: Path) -> dict[str, Signature]:
    """The signatures of a SavedModel's `serve` graph, by name; TensorFlow's own initialiser is omitted.

    Raises:
        InputError: as `serving_graph`.
    """
    return {
        name: _signature(name, found)
        for name, found in sorted(serving_graph(path).signature_def.items())
        if not name.startswith("__")
    }


def serving_signature(path: Path) -> Signature:
    """The signature `serving_default` of a SavedModel.

    Raises:
        InputError: as `serving_graph`, or if the model has no such signature, or one with a problem.
    """
    signatures = read_signatures(path)
    if SIGNATURE not in signatures:
        raise InputError(f"{path}: expected the signature {SIGNATURE}, found {', '.join(signatures) or 'none'}")
    if problem := signatures[SIGNATURE].problem:
        raise InputError(f"{path}: signature {SIGNATURE}: {problem}")
    return signatures[SIGNATURE]


def read_provenance(path: Path) -> Any:
    """The provenance that ships with a SavedModel.

    Raises:
        InputError: if it is missing or not JSON.
    """
    return read_json(path / PROVENANCE)
