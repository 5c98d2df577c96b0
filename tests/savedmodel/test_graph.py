"""What a SavedModel's files say, apart from what loading it says."""

from pathlib import Path

import pytest
from tensorflow.core.protobuf import saved_model_pb2

from stages.core.errors import InputError
from stages.savedmodel.graph import read_signatures


def write(folder: Path, **tags: list[str]) -> Path:
    """A SavedModel with a graph for each signature's name, tagged as given."""
    message = saved_model_pb2.SavedModel()
    for name, words in tags.items():
        graph = message.meta_graphs.add()
        graph.meta_info_def.tags.extend(words)
        graph.signature_def[name].method_name = "tensorflow/serving/predict"
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


def test_the_graph_with_the_only_tag_serve_is_served(tmp_path: Path) -> None:
    assert list(read_signatures(write(tmp_path, tpu=["serve", "tpu"], cpu=["serve"]))) == ["cpu"]


def test_no_such_graph(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="damaged SavedModel: no graph with the tag serve alone"):
        read_signatures(write(tmp_path, tpu=["serve", "tpu"], train=["train"]))
