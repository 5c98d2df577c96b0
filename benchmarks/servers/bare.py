"""The limit: the fastest call of the model that TensorFlow has, with no server before it.

The other servers answer through TensorFlow 2's function of the signature, as their examples do, in environments of
their own; so this imports TensorFlow alone.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import stages  # noqa: F401 - the project's settings, which every contender runs under

# isort: split
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

Instances = list[dict[str, Any]]


class Function:
    """A SavedModel's `serving_default`.

    Args:
        path: the SavedModel.
        threads: of one operation.
    """

    def __init__(self, path: Path, threads: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self._model = tf.saved_model.load(str(path))
        self._call = self._model.signatures["serving_default"]
        self._inputs = self._call.structured_input_signature[1]

    def columns(self, instances: Instances) -> dict[str, Any]:
        """Lists by input, of objects."""
        return {name: [instance[name] for instance in instances] for name in self._inputs}

    def __call__(self, columns: dict[str, Any]) -> list[Any]:
        """The single output's values, for lists by input."""
        tensors = {name: tf.constant(columns[name], spec.dtype) for name, spec in self._inputs.items()}
        (output,) = self._call(**tensors).values()
        values: list[Any] = output.numpy().tolist()
        return values


class Fastest:
    """The same by a session's callable in the thread that calls.

    Args:
        path: the SavedModel.
        threads: of one operation.
    """

    def __init__(self, path: Path, threads: int) -> None:
        with tf.Graph().as_default() as graph:
            config = config_pb2.ConfigProto(intra_op_parallelism_threads=threads)
            self._session = tf.compat.v1.Session(graph=graph, config=config)
            loaded = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], str(path))
        signature = loaded.signature_def["serving_default"]
        self._types = {name: tf.as_dtype(info.dtype).as_numpy_dtype for name, info in signature.inputs.items()}
        feeds = [info.name for info in signature.inputs.values()]
        fetches = [info.name for info in signature.outputs.values()]
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        options.run_options.inter_op_thread_pool = -1
        self._call = self._session._make_callable_from_options(options)

    def columns(self, instances: Instances) -> dict[str, Any]:
        """Lists by input, of objects."""
        return {name: [instance[name] for instance in instances] for name in self._types}

    def __call__(self, columns: dict[str, Any]) -> list[Any]:
        """The single output's values, for lists by input."""
        (output,) = self._call(*(np.array(columns[name], dtype) for name, dtype in self._types.items()))
        values: list[Any] = output.tolist()
        return values


def main() -> None:
    """Print the seconds of calls with one instance, and of calls with many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("request", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    args = parser.parse_args()
    function = Fastest(args.model, args.threads)
    instances: Instances = json.loads(args.request.read_text())["instances"]
    one = function.columns(instances[:1])
    many = function.columns((instances * args.rows)[: args.rows])

    def seconds(columns: dict[str, Any], calls: int) -> list[float]:
        for _ in range(calls // 5 + 1):
            function(columns)
        taken = []
        for _ in range(calls):
            began = time.perf_counter()
            function(columns)
            taken.append(time.perf_counter() - began)
        return taken

    print(json.dumps({"one": seconds(one, args.calls), "many": seconds(many, max(args.calls // 50, 10))}))


if __name__ == "__main__":
    main()
