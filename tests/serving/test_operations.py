"""Graphs that would touch files, processes or Python are not loaded; those that read their own assets are."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session

from serving.operations import REFUSED, RESTORES, SAVES, TABLES, check_operations
from serving.sources import Root, SingleModel
from stages.core.errors import InputError
from stages.savedmodel.graph import read_graph
from tests.serving import models
from tests.serving.conftest import Connect

HARMLESS = {
    "ApproxTopK", "CTCBeamSearchDecoder", "CustomAggregator", "InTopK", "InTopKV2", "TensorSliceDataset",  # other words
    "RemoteCall",  # its target is a device of the same process
    "ShardedFilename", "ShardedFilespec",  # text alone
}  # fmt: skip
NAMED = re.compile(r"(^|_)(file|filename|filenames|files|path|paths|dir|logdir|directory|address)(_|$)")


def registered() -> list[Any]:
    """The operations of this TensorFlow."""
    buffer = pywrap_tf_session.TF_GetAllOpList()
    return list(op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(buffer)).op)


def test_no_operation_on_files_is_forgotten() -> None:
    """Whatever has an argument or attribute that is named as a file's is refused, or known as harmless."""
    found = {
        op.name for op in registered() if any(NAMED.search(part.name.lower()) for part in [*op.input_arg, *op.attr])
    }
    assert len(found) > 40
    assert found - REFUSED - SAVES - RESTORES - TABLES - HARMLESS == set()
    words = re.compile("File|Reader(V2)?$|Snapshot|PyFunc|Rpc|DataService|SummaryFile|SummaryDb|^Debug.*(V2|V3)$|Abort")
    known = REFUSED | SAVES | RESTORES | TABLES | HARMLESS | {"IdentityReader", "IdentityReaderV2", "Snapshot"}
    rest = {op.name for op in registered() if words.search(op.name)} - known
    assert rest <= {"DebugGradientRefIdentity", "RpcCheckStatus", "RpcGetValue", "DeleteRpcFutureResource"}


def test_every_refused_operation_exists() -> None:
    assert {op.name for op in registered()} >= REFUSED | SAVES | RESTORES | TABLES


class Module(tf.Module):  # type: ignore[misc]
    """Holds what a signature needs."""

    def __init__(self, vocabulary: Path | None = None) -> None:
        super().__init__()
        self.weight = tf.Variable(1.0)
        if vocabulary:
            file = tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.table = tf.lookup.StaticHashTable(file, -1)


def saved(folder: Path, function: Callable[[tf.Tensor], tf.Tensor], module: Module | None = None) -> Path:
    """A model whose signature calls a function of text."""
    signature = tf.function(lambda x: {"y": function(x)}).get_concrete_function(x=tf.TensorSpec([], tf.string, "x"))
    module = module or Module()
    module.signature = signature
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    return folder


def write_checkpoint(x: tf.Tensor) -> tf.Tensor:
    tf.raw_ops.SaveV2(prefix=x, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)])
    return x


def read_checkpoint(x: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.RestoreV2(prefix=x, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.string])[0]


def read_lines(path: tf.Tensor) -> tf.Tensor:
    table = tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.string, shared_name="lines")
    tf.raw_ops.InitializeTableFromTextFileV2(
        table_handle=table, filename=path, key_index=-1, value_index=-2, vocab_size=-1, delimiter="\t"
    )
    return tf.raw_ops.LookupTableFindV2(table_handle=table, keys=tf.constant([0], tf.int64), default_value="")


def print_to(path: str) -> Callable[[tf.Tensor], tf.Tensor]:
    def function(x: tf.Tensor) -> tf.Tensor:
        tf.print(x, output_stream=path)
        return x

    return function


HOSTILE: dict[str, tuple[str, Callable[[tf.Tensor], tf.Tensor]]] = {
    "read": ("ReadFile", tf.io.read_file),
    "list": ("MatchingFiles", tf.io.matching_files),
    "python": ("PyFunc", lambda x: tf.numpy_function(lambda v: v, [x], tf.string)),
    "eager python": ("EagerPyFunc", lambda x: tf.py_function(lambda v: v, [x], tf.string)),
    "print to a file": ("PrintV2", print_to("file:///nonexistent/x")),
    "save": ("SaveV2", write_checkpoint),
    "restore": ("RestoreV2", read_checkpoint),
    "lines": ("InitializeTableFromTextFileV2", read_lines),
    "lines of a fixed file": ("InitializeTableFromTextFileV2", lambda x: read_lines(tf.constant("/etc/passwd"))),
    "inside a condition": ("ReadFile", lambda x: tf.cond(x == "a", lambda: tf.io.read_file(x), lambda: x)),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_it_is_refused(tmp_path: Path, case: str) -> None:
    operation, function = HOSTILE[case]
    model = saved(tmp_path / "model", function)
    with pytest.raises(InputError, match=rf"operations {operation} touch"):
        check_operations(model, [])
    check_operations(model, [operation])


def test_a_model_that_writes_as_it_is_loaded(connect: Connect, tmp_path: Path) -> None:
    """The server does not load it, says why, and loads it if the settings allow the operation."""
    written = tmp_path / "written"
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        write = tf.raw_ops.WriteFile(filename=str(written), contents="was here")
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def({"x": info(x)}, {"y": info(x + 1)}, "tensorflow/serving/predict")
        builder = v1.saved_model.Builder(str(tmp_path / "models/1"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=write)
        builder.save()
    source = SingleModel("x", Root(str(tmp_path / "models"), tmp_path))
    with connect(source) as client:
        (status,) = client.get("/v1/models/x").json()["model_version_status"]
        assert status["state"] == "END"
        assert "WriteFile" in status["status"]["error_message"]
        assert not written.exists()
    with connect(source, operations=["WriteFile"]) as client:
        assert client.post("/v1/models/x:predict", content='{"instances": [1]}').json() == {"predictions": [2.0]}
        assert written.exists()


def vocabulary_model(folder: Path) -> Path:
    words = folder / "words.txt"
    words.write_text("a\nb\n")
    module = Module(words)
    return saved(folder / "model", lambda x: module.table.lookup(x), module)


def test_a_vocabulary_among_the_assets_is_read(tmp_path: Path) -> None:
    check_operations(vocabulary_model(tmp_path), [])


@pytest.mark.parametrize("name", ["../../words.txt", "/etc/passwd"])
def test_an_asset_elsewhere_is_not(tmp_path: Path, name: str) -> None:
    model = vocabulary_model(tmp_path)
    graph = read_graph(model)
    graph.meta_graphs[0].asset_file_def[0].filename = name
    (model / "saved_model.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(InputError, match="lies elsewhere"):
        check_operations(model, [])


@pytest.mark.parametrize(
    "make",
    [
        models.babyweight,
        models.mnist,
        models.cartpole,
        models.contract,
        models.half_plus_two,
        models.counter,
        models.random,
    ],
)
def test_ordinary_models_pass(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    check_operations(make(tmp_path / "model"), [])


def test_a_model_as_text(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", tf.io.read_file)
    text = text_format.MessageToString(read_graph(model))
    shutil.move(model / "saved_model.pb", tmp_path / "kept")
    (model / "saved_model.pbtxt").write_text(text)
    with pytest.raises(InputError, match="ReadFile"):
        check_operations(model, [])
