"""SavedModels whose bytes depend on their content alone, and what can be read of one without its code.

Format: https://www.tensorflow.org/guide/saved_model
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2

from stages.shared.errors import InputError
from stages.shared.files import digest, read_json, whole_folder, write_json

SIGNATURE = "serving_default"
TAG = "serve"
BINARY, TEXT = "saved_model.pb", "saved_model.pbtxt"
FINGERPRINT = "fingerprint.pb"
PROVENANCE = Path("assets.extra/provenance.json")


class _Variables(tf.Module):  # type: ignore[misc]
    """A model's variables and nothing else: what tracks the Keras model itself fails in the TF1 loader."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.weights = [variable.value for variable in model.weights]


def write(
    path: Path,
    model: keras.Model,
    signatures: Mapping[str, Any],
    provenance: Mapping[str, Any],
    as_text: bool = False,
) -> None:
    """Write a SavedModel whole.

    Args:
        path: its folder.
        model: whose variables the signatures use.
        signatures: a concrete function for each signature's name.
        provenance: kept as `assets.extra/provenance.json`.
        as_text: `saved_model.pbtxt` in place of `saved_model.pb`.
    """
    with whole_folder(path) as folder:
        tf.saved_model.save(_Variables(model), str(folder), signatures=dict(signatures))
        (folder / "assets").rmdir()
        graph = saved_model_pb2.SavedModel.FromString((folder / BINARY).read_bytes())
        (folder / BINARY).unlink()
        if as_text:
            (folder / TEXT).write_text(text_format.MessageToString(graph), encoding="utf-8")
        else:
            (folder / BINARY).write_bytes(graph.SerializeToString(deterministic=True))
        _name_by_content(folder)
        (folder / PROVENANCE).parent.mkdir()
        write_json(folder / PROVENANCE, provenance)


def _name_by_content(folder: Path) -> None:
    """Replace the random `uuid` of the fingerprint by one made from the other files' bytes."""
    fingerprint = fingerprint_pb2.FingerprintDef.FromString((folder / FINGERPRINT).read_bytes())
    (folder / FINGERPRINT).unlink()
    content = hashlib.sha256(digest(folder).encode()).digest()
    fingerprint.uuid = str(uuid.UUID(bytes=content[:16], version=4).int % 2**64)
    (folder / FINGERPRINT).write_bytes(fingerprint.SerializeToString(deterministic=True))


def read_graph(path: Path) -> Any:
    """The `SavedModel` message of a folder, from either form.

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
        raise InputError(f"{path}: damaged SavedModel: {' '.join(str(error).split())}") from None
    if not any(TAG in graph.meta_info_def.tags for graph in message.meta_graphs):
        raise InputError(f"{path}: damaged SavedModel: no graph with the tag {TAG}")
    return message


@dataclass(frozen=True)
class Tensor:
    """One input or output of a signature."""

    key: str
    tensor: str
    dtype: tf.DType
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Signature:
    """A signature's inputs and outputs, each by its key, in the keys' order."""

    name: str
    method: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def _tensors(infos: Mapping[str, Any]) -> dict[str, Tensor]:
    def shape(info: Any) -> tuple[int | None, ...]:
        return tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)

    return {k: Tensor(k, infos[k].name, tf.as_dtype(infos[k].dtype), shape(infos[k])) for k in sorted(infos)}


def read_signatures(path: Path) -> dict[str, Signature]:
    """The signatures of a SavedModel's `serve` graph, by name; TensorFlow's own initialiser is left out.

    Raises:
        InputError: as `read_graph`.
    """
    graph = next(g for g in read_graph(path).meta_graphs if TAG in g.meta_info_def.tags)
    return {
        name: Signature(name, found.method_name, _tensors(found.inputs), _tensors(found.outputs))
        for name, found in sorted(graph.signature_def.items())
        if not name.startswith("__")
    }


def serving_signature(path: Path) -> Signature:
    """The signature `serving_default` of a SavedModel.

    Raises:
        InputError: as `read_graph`, or if the model has no such signature.
    """
    signatures = read_signatures(path)
    if SIGNATURE not in signatures:
        raise InputError(f"{path}: expected the signature {SIGNATURE}, found {', '.join(signatures) or 'none'}")
    return signatures[SIGNATURE]


def read_provenance(path: Path) -> Any:
    """The provenance that ships with a SavedModel.

    Raises:
        InputError: if it is missing or no JSON.
    """
    return read_json(path / PROVENANCE)


class Predictor:
    """A loaded SavedModel: its `serving_default` as a function of arrays.

    Args:
        path: the SavedModel's folder.

    Raises:
        InputError: if it is damaged or has no such signature.
    """

    def __init__(self, path: Path) -> None:
        self.signature = serving_signature(path)
        try:
            self._model = tf.saved_model.load(str(path), tags=[TAG])  # kept: the function holds it weakly
        except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
            raise InputError(f"{path}: damaged SavedModel: {' '.join(str(error).split())}") from None
        self._function = self._model.signatures[SIGNATURE]

    def __call__(self, **inputs: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
        """Outputs by key, for inputs by key."""
        tensors = {key: tf.constant(value, self.signature.inputs[key].dtype) for key, value in inputs.items()}
        return {key: value.numpy() for key, value in self._function(**tensors).items()}

    def batched(self, size: int, **inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """As a call, `size` instances at a time."""
        instances = len(next(iter(inputs.values())))
        parts = [self(**{k: v[i : i + size] for k, v in inputs.items()}) for i in range(0, instances, size)]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
