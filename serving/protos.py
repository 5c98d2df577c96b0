"""The messages of TensorFlow Serving that this server reads, without TensorFlow Serving's package.

Source: `model_server_config.proto`, `file_system_storage_path_source.proto`, `prediction_log.proto` and what they
import. Fields that are not listed here are unknown: an error in a configuration, ignored in a warm-up record.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import tensor_pb2

_PACKAGE = "savedmodel_pipeline.serving"
_Field = descriptor_pb2.FieldDescriptorProto
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "ModelServerConfig": {"model_config_list": (1, "ModelConfigList")},
    "ModelConfigList": {"config": (1, "repeated ModelConfig")},
    "ModelConfig": {
        "name": (1, "string"),
        "base_path": (2, "string"),
        "model_platform": (4, "string"),
        "model_version_policy": (7, "ServableVersionPolicy"),
        "version_labels": (8, "map int64"),
    },
    "ServableVersionPolicy": {"latest": (100, "Latest"), "all": (101, "All"), "specific": (102, "Specific")},
    "Latest": {"num_versions": (1, "uint32")},
    "All": {},
    "Specific": {"versions": (1, "repeated int64")},
    "PredictionLog": {
        "classify_log": (2, "ExamplesLog"),
        "regress_log": (3, "ExamplesLog"),
        "predict_log": (6, "PredictLog"),
    },
    "ExamplesLog": {"request": (1, "ExamplesRequest")},
    "ExamplesRequest": {"model_spec": (1, "ModelSpec"), "input": (2, "Input")},
    "Input": {"example_list": (1, "ExampleList"), "example_list_with_context": (2, "ExampleListWithContext")},
    "ExampleList": {"examples": (1, "repeated .tensorflow.Example")},
    "ExampleListWithContext": {"examples": (1, "repeated .tensorflow.Example"), "context": (2, ".tensorflow.Example")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "map .tensorflow.TensorProto")},
    "ModelSpec": {"name": (1, "string"), "signature_name": (3, "string")},
}
_SCALARS = {"string": _Field.TYPE_STRING, "int64": _Field.TYPE_INT64, "uint32": _Field.TYPE_UINT32}


def _add_field(message: descriptor_pb2.DescriptorProto, scope: str, name: str, number: int, kind: str) -> None:
    """Add a field: `<type>`, `repeated <type>`, or `map <type>` with strings for keys."""
    *label, kind = kind.split()
    field = message.field.add(name=name, number=number, label=_Field.LABEL_REPEATED if label else _Field.LABEL_OPTIONAL)
    if label == ["map"]:
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, "", "key", 1, "string")
        _add_field(entry, "", "value", 2, kind)
        kind = f".{scope}.{entry.name}"
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = kind if kind[0] == "." else f".{_PACKAGE}.{kind}"


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="savedmodel_pipeline/serving.proto", package=_PACKAGE)
    file.syntax = "proto3"
    file.dependency.extend([example_pb2.DESCRIPTOR.name, tensor_pb2.DESCRIPTOR.name])
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add_field(message, f"{_PACKAGE}.{name}", field, number, kind)
    return file


_CLASSES = message_factory.GetMessages([_file()], descriptor_pool.Default())
ModelServerConfig = _CLASSES[f"{_PACKAGE}.ModelServerConfig"]
PredictionLog = _CLASSES[f"{_PACKAGE}.PredictionLog"]
