"""Turn a workload's trained weights into a SavedModel whose bytes depend on its content alone."""

import argparse
import hashlib
import importlib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2

from stages import runtime, weights
from stages.core.errors import InputError, one_line, run
from stages.core.files import digest, read_json, whole_folder, write_json
from stages.core.params import ExportParams, add_params
from stages.savedmodel.folding import fold_batch_normalization
from stages.savedmodel.graph import BINARY, FINGERPRINT, PROVENANCE, SIGNATURE, TEXT
from stages.savedmodel.independence import independent_of_batch


class _Variables(tf.Module):  # type: ignore[misc]
    """A model's variables and nothing else: what tracks the Keras model itself fails in the TF1 loader."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.weights = [variable.value for variable in model.weights]


def write_savedmodel(
    path: Path, model: keras.Model, signatures: Mapping[str, Any], provenance: Mapping[str, Any], as_text: bool = False
) -> None:
    """Write a SavedModel whole.

    Args:
        path: its folder.
        model: whose variables the signatures use.
        signatures: a concrete function for each signature's name.
        provenance: kept as `assets.extra/provenance.json`.
        as_text: `saved_model.pbtxt` in place of `saved_model.pb`.

    Raises:
        InputError: if the folder cannot be written.
    """
    with whole_folder(path) as folder:
        try:
            tf.saved_model.save(_Variables(model), str(folder), signatures=dict(signatures))
        except tf.errors.OpError as error:  # such as of a full disk
            raise InputError(f"{path}: cannot be written: {one_line(error.message)}") from None
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


def main() -> None:
    """Write `models/<workload>`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("weights", type=Path, help="folder of the trained weights")
    parser.add_argument("model", type=Path, help="SavedModel to write")
    add_params(parser)
    args = parser.parse_args()
    schema = importlib.import_module(f"stages.{args.workload}.params").Params
    params: ExportParams[Any] = ExportParams.of(schema).read(args.params)
    network = importlib.import_module(f"stages.{args.workload}.model")

    runtime.configure(params.runtime, seed=0)
    config = read_json(args.weights / weights.CONFIG)
    model = network.build(config)
    try:
        model.load_weights(args.weights / weights.WEIGHTS)
    except (OSError, ValueError) as error:
        raise InputError(f"{args.weights / weights.WEIGHTS}: {one_line(error)}") from None
    model = fold_batch_normalization(model)
    signatures = {SIGNATURE: independent_of_batch(network.serving_function(model, config, params.names))}
    write_savedmodel(args.model, model, signatures, read_json(args.weights / weights.PROVENANCE), params.export.as_text)


if __name__ == "__main__":
    run(main)
