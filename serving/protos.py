"""TensorFlow Serving's messages and services, as far as this server has them, without TensorFlow Serving's package.

Source: `model_server_config.proto`, `prediction_service.proto`, `model_service.proto`, `prediction_log.proto` and what
they import. Fields that are not listed here are unknown: an error in a configuration, ignored elsewhere. The names are
TensorFlow Serving's, in a pool of their own, so that its package may be imported beside this one.
"""

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import error_codes_pb2, meta_graph_pb2

_PACKAGE = "tensorflow.serving"
_Field = descriptor_pb2.FieldDescriptorProto
_IMPORTS = (any_pb2, wrappers_pb2, example_pb2, tensor_pb2, error_codes_pb2, meta_graph_pb2)
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    # Configuration
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
    # Inference
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "oneof .google.protobuf.Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "oneof string"),
    },
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, "map .tensorflow.TensorProto"),
        "output_filter": (3, "repeated string"),
    },
    "PredictResponse": {"outputs": (1, "map .tensorflow.TensorProto"), "model_spec": (2, "ModelSpec")},
    "Input": {
        "example_list": (1, "oneof ExampleList"),
        "example_list_with_context": (2, "oneof ExampleListWithContext"),
    },
    "ExampleList": {"examples": (1, "repeated .tensorflow.Example")},
    "ExampleListWithContext": {"examples": (1, "repeated .tensorflow.Example"), "context": (2, ".tensorflow.Example")},
    "ClassificationRequest": {"model_spec": (1, "ModelSpec"), "input": (2, "Input")},
    "ClassificationResponse": {"result": (1, "ClassificationResult"), "model_spec": (2, "ModelSpec")},
    "ClassificationResult": {"classifications": (1, "repeated Classifications")},
    "Classifications": {"classes": (1, "repeated Class")},
    "Class": {"label": (1, "string"), "score": (2, "float")},
    "RegressionRequest": {"model_spec": (1, "ModelSpec"), "input": (2, "Input")},
    "RegressionResponse": {"result": (1, "RegressionResult"), "model_spec": (2, "ModelSpec")},
    "RegressionResult": {"regressions": (1, "repeated Regression")},
    "Regression": {"value": (1, "float")},
    "MultiInferenceRequest": {"tasks": (1, "repeated InferenceTask"), "input": (2, "Input")},
    "InferenceTask": {"model_spec": (1, "ModelSpec"), "method_name": (2, "string")},
    "MultiInferenceResponse": {"results": (1, "repeated InferenceResult")},
    "InferenceResult": {
        "model_spec": (1, "ModelSpec"),
        "classification_result": (2, "oneof ClassificationResult"),
        "regression_result": (3, "oneof RegressionResult"),
    },
    "GetModelMetadataRequest": {"model_spec": (1, "ModelSpec"), "metadata_field": (2, "repeated string")},
    "GetModelMetadataResponse": {"model_spec": (1, "ModelSpec"), "metadata": (2, "map .google.protobuf.Any")},
    "SignatureDefMap": {"signature_def": (1, "map .tensorflow.SignatureDef")},
    # Models
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
    "GetModelStatusResponse": {"model_version_status": (1, "repeated ModelVersionStatus")},
    "ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "enum State"),
        "status": (3, "StatusProto"),
    },
    "StatusProto": {"error_code": (1, "enum .tensorflow.error.Code"), "error_message": (2, "string")},
    "ReloadConfigRequest": {"config": (1, "ModelServerConfig")},
    "ReloadConfigResponse": {"status": (1, "StatusProto")},
    # Records of warm-up requests
    "PredictionLog": {
        "classify_log": (2, "ClassifyLog"),
        "regress_log": (3, "RegressLog"),
        "predict_log": (6, "PredictLog"),
    },
    "ClassifyLog": {"request": (1, "ClassificationRequest")},
    "RegressLog": {"request": (1, "RegressionRequest")},
    "PredictLog": {"request": (1, "PredictRequest")},
}
_STATES = {"UNKNOWN": 0, "START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}
SERVICES = {
    "PredictionService": {
        "Predict": ("PredictRequest", "PredictResponse"),
        "Classify": ("ClassificationRequest", "ClassificationResponse"),
        "Regress": ("RegressionRequest", "RegressionResponse"),
        "MultiInference": ("MultiInferenceRequest", "MultiInferenceResponse"),
        "GetModelMetadata": ("GetModelMetadataRequest", "GetModelMetadataResponse"),
    },
    "ModelService": {
        "GetModelStatus": ("GetModelStatusRequest", "GetModelStatusResponse"),
        "HandleReloadConfigRequest": ("ReloadConfigRequest", "ReloadConfigResponse"),
    },
}
"""Methods by service, each with the names of its messages."""

_SCALARS = {
    "string": _Field.TYPE_STRING,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "float": _Field.TYPE_FLOAT,
}


def _add_field(message: descriptor_pb2.DescriptorProto, scope: str, name: str, number: int, kind: str) -> None:
    """Add a field: `<type>`, `enum <type>`, `repeated <type>`, `oneof <type>`, or `map <type>` with strings for keys.

    All `oneof` fields of a message are alternatives to each other.
    """
    *words, kind = kind.split()
    (word,) = words or [""]
    many = word in ("repeated", "map")
    field = message.field.add(name=name, number=number, label=_Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL)
    if word == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    if word == "map":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, "", "key", 1, "string")
        _add_field(entry, "", "value", 2, kind)
        kind = f".{scope}.{entry.name}"
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_ENUM if word == "enum" else _Field.TYPE_MESSAGE
        field.type_name = kind if kind[0] == "." else f".{_PACKAGE}.{kind}"


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="savedmodel_pipeline/serving.proto", package=_PACKAGE)
    file.syntax = "proto3"
    file.dependency.extend([module.DESCRIPTOR.name for module in _IMPORTS])
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add_field(message, f"{_PACKAGE}.{name}", field, number, kind)
    states = file.enum_type.add(name="State")
    for name, number in _STATES.items():
        states.value.add(name=name, number=number)
    for name, methods in SERVICES.items():
        service = file.service.add(name=name)
        for method, (request, response) in methods.items():
            service.method.add(name=method, input_type=f".{_PACKAGE}.{request}", output_type=f".{_PACKAGE}.{response}")
    return file


def _copy(file: descriptor_pb2.FileDescriptorProto, found: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    """Collect a file of the default pool after those that it imports."""
    if file.name not in found:
        for dependency in file.dependencies:
            _copy(dependency, found)
        found[file.name] = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)


def _all_files() -> list[descriptor_pb2.FileDescriptorProto]:
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for module in _IMPORTS:
        _copy(module.DESCRIPTOR, found)
    return [*found.values(), _file()]


POOL = descriptor_pool.DescriptorPool()
MESSAGES = message_factory.GetMessages(_all_files(), POOL)
"""Classes of messages by full name."""

ModelServerConfig = MESSAGES[f"{_PACKAGE}.ModelServerConfig"]
PredictionLog = MESSAGES[f"{_PACKAGE}.PredictionLog"]
SignatureDefMap = MESSAGES[f"{_PACKAGE}.SignatureDefMap"]
