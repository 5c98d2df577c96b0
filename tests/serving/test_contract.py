"""The contract, sentence by sentence.

Each test names the section of TensorFlow Serving's "RESTful API" (`tensorflow_serving/g3doc/api_rest.md`) that it
holds the server to. "Source" is `json_tensor.cc` or `http_rest_api_util.cc`, where that page is silent.
"""

import base64
import gzip
import json
import math
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf
from starlette.testclient import TestClient

from serving import codec
from serving.settings import Settings, read_settings
from tests.serving.conftest import error

PREDICT = "/v1/models/contract:predict"


def ask(client: TestClient, signature: str | None = None, **body: Any) -> Any:
    """Send a request that must be answered, and return the answer."""
    if signature:
        body["signature_name"] = signature
    response = client.post(PREDICT, content=json.dumps(body))
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return json.loads(response.text)


def refused(client: TestClient, signature: str | None = None, status: int = 400, **body: Any) -> str:
    """Send a request that must be refused, and return the message."""
    if signature:
        body["signature_name"] = signature
    return error(client.post(PREDICT, content=json.dumps(body)), status)


class TestErrors:
    """Introduction: in case of error, a JSON object with the key `error` and the message as its value."""

    @pytest.mark.parametrize(
        ("method", "path", "status", "words"),
        [
            ("GET", "/v1/models/unknown", 404, 'Could not find any versions of model "unknown"'),
            ("GET", "/v1/models/unknown/metadata", 404, "Servable not found for request: Latest(unknown)"),
            ("POST", "/v1/models/unknown:predict", 404, "Servable not found for request: Latest(unknown)"),
            ("POST", "/v1/models/unknown/versions/50:predict", 404, "request: Specific(unknown, 50)"),
            ("POST", "/v1/models/contract99:predict", 404, "Servable not found for request: Latest(contract99)"),
            ("GET", "/v1/models/contract/versions/7", 404, 'Could not find version 7 of model "contract"'),
            ("POST", "/v1/models/contract/versions/7:predict", 404, "request: Specific(contract, 7)"),
            ("GET", "/v1/models/contract/versions/7/metadata", 404, "request: Specific(contract, 7)"),
            ("POST", "/v1/models/contract/labels/canary:predict", 400, 'servable version label: "canary"'),
            ("GET", "/v1/models/contract/labels/canary/metadata", 400, 'servable version label: "canary"'),
            ("GET", "/v1/models/contract/versions/9223372036854775807", 404, "Could not find version"),
            ("GET", "/v1/models/contract/versions/9223372036854775808", 400, "Failed to convert version"),
            ("POST", f"/v1/models/contract/versions/{2**64 - 1}:regress", 400, "Failed to convert version"),
            ("GET", "/v1/models", 400, "Missing model name"),
        ],
    )
    def test_each_has_its_status(self, client: TestClient, method: str, path: str, status: int, words: str) -> None:
        assert words in error(client.request(method, path, content='{"instances": [1], "examples": [{}]}'), status)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/v1/foo"), ("POST", "/v1/foo"), ("GET", "/v1/"), ("POST", "/v1/models"), ("GET", "/v1/models/"),
            ("GET", "/v1/models/contract/"), ("GET", "/v1/models/debug/model_name"), ("POST", "/v1/models/contract"),
            ("GET", "/v1/models/contract:predict"), ("GET", "/v1/models/contract/version/50:predict"),
            ("POST", "/v1/models/contract/version/50:regress"), ("POST", "/v1/models/contract/versions/HELLO:regress"),
            ("POST", "/v1/models/contract/versions/-1:predict"), ("POST", "/v1/models/contract/metadata"),
            ("POST", "/v1/models/contract/label/stable:regress"), ("POST", "/v1/models/contract:PREDICT"),
            ("POST", "/v1/models/contract/versions/1/labels/stable:regress"), ("POST", "/v1/models/contract:explain"),
            ("PUT", "/v1/models/contract"), ("DELETE", "/v1/models/contract"), ("PATCH", "/v1/models/contract:predict"),
        ],
    )  # fmt: skip
    def test_malformed_paths_and_other_methods(self, client: TestClient, method: str, path: str) -> None:
        """Source: a path that no API has, or a method other than GET and POST, is malformed."""
        assert error(client.request(method, path), 400) == f"Malformed request: {method} {path}"

    def test_head(self, client: TestClient) -> None:
        assert client.head("/v1/models/contract").status_code == 400

    @pytest.mark.parametrize(("origin", "status"), [({"origin": "http://127.0.0.1"}, 200), ({}, 400)])
    def test_options(self, client: TestClient, origin: dict[str, str], status: int) -> None:
        """Source: OPTIONS is answered if it has an Origin. CORS headers are off by default, and always off here."""
        response = client.options(PREDICT, headers=origin)
        assert response.status_code == status
        assert not [name for name in response.headers if name.startswith("access-control")]

    def test_outside_the_api(self, client: TestClient) -> None:
        assert client.get("/v2/models").status_code == 404
        assert client.post("/statuspage").status_code == 404

    @pytest.mark.parametrize("path", ["/V1/MODELS/contract", "/v1/models/c%6fntract"])
    def test_case_and_encoding(self, client: TestClient, path: str) -> None:
        """Source: the path's words may have any case, names are percent-decoded."""
        assert client.get(path).json() == client.get("/v1/models/contract").json()

    def test_a_query_is_part_of_the_path(self, client: TestClient) -> None:
        """Source: evhttp_request.cc. The path that is matched ends with the query."""
        message = error(client.get("/v1/models/contract?verbose=1"), 404)
        assert message == 'Could not find any versions of model "contract?verbose=1"'
        message = error(client.post(f"{PREDICT}?verbose=1", content='{"instances": [1]}'), 400)
        assert message == f"Malformed request: POST {PREDICT}?verbose=1"

    @pytest.mark.parametrize("body", ["", "[", '{"signature_name": 1}'])
    def test_a_wrong_body_comes_before_an_unknown_model(self, client: TestClient, body: str) -> None:
        """Source: the body is parsed before the model is looked up."""
        error(client.post("/v1/models/unknown:predict", content=body), 400)
        error(client.post("/v1/models/unknown:classify", content=body), 400)


class TestModelStatus:
    """Model status API."""

    STATUS: ClassVar = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}

    def test_all_versions_without_a_version(self, client: TestClient) -> None:
        """URL: if version and label are omitted, the status of all versions is returned."""
        assert client.get("/v1/models/contract").json() == {"model_version_status": [self.STATUS]}

    def test_one_version(self, client: TestClient) -> None:
        """Response format: GetModelStatusResponse as JSON, in which 64-bit numbers are strings."""
        assert client.get("/v1/models/contract/versions/1").json() == {"model_version_status": [self.STATUS]}


class TestModelMetadata:
    """Model Metadata API: GetModelMetadataResponse as JSON."""

    def test_latest_version_without_a_version(self, client: TestClient) -> None:
        """URL: if version and label are omitted, the metadata of the latest version."""
        found = client.get("/v1/models/cartpole/metadata").json()
        assert found == client.get("/v1/models/cartpole/versions/1/metadata").json()
        assert found["model_spec"] == {"name": "cartpole", "signature_name": "", "version": "1"}

    def test_signature(self, client: TestClient) -> None:
        """Response format: each signature's inputs and outputs with type, shape (-1 is free) and tensor name."""
        found = client.get("/v1/models/cartpole/metadata").json()
        signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["method_name"] == "tensorflow/serving/predict"
        observations = signature["inputs"]["observations"]
        assert observations["dtype"] == "DT_FLOAT"
        assert observations["name"] == "serving_default_observations:0"
        assert observations["tensor_shape"] == {
            "dim": [{"size": "-1", "name": ""}, {"size": "4", "name": ""}],
            "unknown_rank": False,
        }
        assert signature["outputs"]["actions"]["dtype"] == "DT_INT64"


class TestRequest:
    """Predict API, URL and Request format."""

    def test_the_example(self, client: TestClient) -> None:
        """Example: half_plus_three of 1, 2 and 5."""
        assert ask(client, instances=[1.0, 2.0, 5.0]) == {"predictions": [3.5, 4.0, 5.5]}

    def test_by_version(self, client: TestClient) -> None:
        """URL: a version can be asked for."""
        response = client.post("/v1/models/contract/versions/1:predict", content='{"instances": [1]}')
        assert response.json() == {"predictions": [3.5]}

    def test_signature_name(self, client: TestClient) -> None:
        """Request format: signature_name is optional; without it the default serving signature is used."""
        assert ask(client, "serving_default", instances=[1]) == ask(client, instances=[1])
        assert ask(client, "float32", instances=[1]) == {"predictions": [1.0]}
        assert ask(client, signature_name="", instances=[1]) == {"predictions": [3.5]}  # Source: empty is default

    def test_unknown_signature(self, client: TestClient) -> None:
        assert 'Serving signature name: "other" not found in signature def' in refused(client, "other", instances=[1])

    def test_signature_name_must_be_a_string(self, client: TestClient) -> None:
        assert "'signature_name' key must be a string value." in refused(client, signature_name=3, instances=[1])

    def test_both_formats(self, client: TestClient) -> None:
        """Request format: either of instances and inputs, but not both."""
        assert "Not formatted correctly expecting only one" in refused(client, instances=[1], inputs=[1])

    def test_neither_format(self, client: TestClient) -> None:
        assert refused(client) == "Missing 'inputs' or 'instances' key"

    @pytest.mark.parametrize("body", ["", "{", "nonsense", '{"instances": [01]}', '{"instances": [nan]}', b"\xff"])
    def test_malformed_json(self, client: TestClient, body: str | bytes) -> None:
        assert "JSON Parse error" in error(client.post(PREDICT, content=body), 400)

    @pytest.mark.parametrize("body", ['{"instances": [1]} x', '{"instances": [1]}{}', '\ufeff{"instances": [1]}'])
    def test_around_the_document(self, client: TestClient, body: str) -> None:
        """Source: a byte order mark before the object and whatever follows it are ignored."""
        assert client.post(PREDICT, content=body).json() == {"predictions": [3.5]}

    @pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
    def test_deep_nesting_in_ignored_keys(self, client: TestClient, brackets: tuple[str, str]) -> None:
        """Source: DeeplyNestedWellFormed. No nesting exhausts the parser."""
        deep = brackets[0] * 100_000 + "1" + brackets[1] * 100_000
        assert client.post(PREDICT, content=f'{{"instances":[1], "x":{deep}}}').json() == {"predictions": [3.5]}
        body = f'{{"signature_name":{deep}, "instances":[1]}}'
        assert "key must be a string" in error(client.post(PREDICT, content=body), 400)
        assert "JSON Parse error" in error(client.post(PREDICT, content=f'{{"instances":[1], "x":{deep[:-9]}}}'), 400)

    @pytest.mark.parametrize("body", ["[1]", "1", "null", '"text"'])
    def test_must_be_an_object(self, client: TestClient, body: str) -> None:
        """Request format: the body must be a JSON object."""
        assert "Is not object" in error(client.post(PREDICT, content=body), 400)

    @pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/json"])
    def test_content_type_is_not_looked_at(self, client: TestClient, kind: str | None) -> None:
        """Example: curl -d sends a form's content type."""
        headers = {"content-type": kind} if kind else {}
        response = client.post(PREDICT, content='{"instances": [1]}', headers=headers)
        assert response.json() == {"predictions": [3.5]}

    def test_other_keys_are_ignored(self, client: TestClient) -> None:
        """Source: keys beside these three are not looked at."""
        assert ask(client, instances=[1], comment="mine") == {"predictions": [3.5]}


class TestRows:
    """Specifying input tensors in row format."""

    def test_one_input_as_values(self, client: TestClient) -> None:
        """One named input: instances is the input's value; scalars."""
        assert ask(client, "string", instances=["foo", "bar", "baz"]) == {"predictions": ["foo", "bar", "baz"]}

    def test_one_input_as_nested_lists(self, client: TestClient) -> None:
        """Tensors in nested notation: two of the shape [1, 2]."""
        assert ask(client, "matrix", instances=[[[1, 2]], [[3, 4]]]) == {"predictions": [[[1.0, 2.0]], [[3.0, 4.0]]]}

    def test_one_input_as_objects(self, client: TestClient) -> None:
        """Source: with one input, too, each item may be an object."""
        assert ask(client, instances=[{"x": 1}, {"x": 2}]) == {"predictions": [3.5, 4.0]}

    ROWS = (
        {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
        {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
    )

    def test_several_inputs_as_objects(self, client: TestClient) -> None:
        """Several named inputs: each item is an object of name and value; so are the answers."""
        found = ask(client, "named", instances=self.ROWS)["predictions"]
        assert found == [{f"out_{key}": value for key, value in row.items()} for row in self.ROWS]

    def test_missing_input(self, client: TestClient) -> None:
        rows = [self.ROWS[0], {"tag": "bar", "signal": [3, 4, 1, 2, 5]}]
        message = refused(client, "named", instances=rows)
        assert "element: 1 of 'instances' list. JSON object keys must be equal to" in message

    def test_extra_input(self, client: TestClient) -> None:
        rows = [self.ROWS[0], {**self.ROWS[1], "more": 1}]
        message = refused(client, "named", instances=rows)
        assert "element: 1 of 'instances' list. JSON object keys must be equal to" in message

    def test_values_where_objects_belong(self, client: TestClient) -> None:
        assert "'instances' is a plain list" in refused(client, "named", instances=[1, 2])

    def test_mixed_objects_and_values(self, client: TestClient) -> None:
        """Source: a plain list or a list of objects, not a mix."""
        assert "Expecting value/list but got object at item 1" in refused(client, instances=[1, {"x": 2}])
        assert "Expecting object but got list at item 1" in refused(client, instances=[{"x": 2}, 1])

    def test_empty(self, client: TestClient) -> None:
        assert refused(client, instances=[]) == "No values in 'instances' array"

    @pytest.mark.parametrize("value", [1, {"x": 1}, "text", None])
    def test_must_be_a_list(self, client: TestClient, value: Any) -> None:
        assert "Expecting 'instances' to be an list/array" in refused(client, instances=value)

    @pytest.mark.parametrize(
        ("signature", "instances", "message"),
        [
            ("any_shape", [[1, 2], [3, 4], [5, 6, 7]], "instance 2: Expecting tensor size: 2 but got: 3"),
            ("any_shape", [[1, 2], [3, 4], [[5, 6]]], "instance 2: Expecting shape [2] but got: [1, 2]"),
            ("any_shape", [1, [1]], "instance 1: Expecting shape [] but got: [1]"),
            ("any_shape", [[[1, 2], [3]]], "instance 0, element [1]: Encountered list at unexpected size: 1"),
            ("any_shape", [[[1, 2], 3]], "instance 0, element [1]: JSON Value: 3 found at incorrect level"),
            ("any_shape", [[1, [2]]], "instance 0, element [1]: Encountered list at unexpected level"),
            (None, [1, "2"], 'instance 1: JSON Value: "2" Type: String is not of expected type: float'),
            (None, [1, None], "instance 1: JSON Value: null Type: Null is not of expected type: float"),
            (None, [1, True], "instance 1: JSON Value: true Type: True is not of expected type: float"),
            ("any_shape", [[1, 2], ["a", "b"]], "instance 1, element [0]: JSON Value: "),
        ],
    )
    def test_ragged_or_wrong(self, client: TestClient, signature: str, instances: Any, message: str) -> None:
        """Source: all values at the level of the shape's rank, lists of one size, of the input's type."""
        assert refused(client, signature, instances=instances).startswith(f"input 'x', {message}")

    def test_the_graph_decides_on_shapes(self, client: TestClient) -> None:
        """Source: the request's own nesting is the shape; the signature's is not looked at."""
        assert ask(client, instances=[[1, 2], [3, 4]]) == {"predictions": [[3.5, 4.0], [4.5, 5.0]]}
        assert ask(client, "matrix", instances=[1, 2]) == {"predictions": [1.0, 2.0]}
        assert ask(client, "scalar", instances=[1]) == {"predictions": [1.0]}
        assert "the model refused the inputs" in refused(client, "multiplied", instances=[[1, 2, 3]])


class TestColumns:
    """Specifying input tensors in column format."""

    VALUES: ClassVar = {
        "tag": ["foo", "bar"],
        "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
        "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]],
    }

    def test_object(self, client: TestClient) -> None:
        """inputs can be a map of name to tensor."""
        assert ask(client, "named", inputs=self.VALUES)["outputs"] == {f"out_{k}": v for k, v in self.VALUES.items()}

    def test_one_tensor(self, client: TestClient) -> None:
        """inputs can be a single tensor; so is the answer of a single output."""
        assert ask(client, inputs=[1, 2]) == {"outputs": [3.5, 4.0]}
        assert ask(client, inputs={"x": [1, 2]}) == {"outputs": [3.5, 4.0]}

    def test_arbitrary_shapes(self, client: TestClient) -> None:
        """Inputs need not share the first dimension."""
        assert ask(client, "lengths", inputs={"a": [1, 2, 3], "b": [1]}) == {"outputs": {"of_a": 3, "of_b": 1}}
        assert ask(client, "any_shape", inputs=[[[1]]]) == {"outputs": [[[1.0]]]}

    def test_scalar(self, client: TestClient) -> None:
        """Request format: inputs can be a value."""
        assert ask(client, "scalar", inputs=2) == {"outputs": 2.0}
        assert ask(client, "scalar", inputs=math.inf) == {"outputs": math.inf}
        assert ask(client, "scalar_text", inputs={"b64": "aGk="}) == {"outputs": "hi"}

    def test_empty_column(self, client: TestClient) -> None:
        assert ask(client, inputs=[]) == {"outputs": []}

    @pytest.mark.parametrize(
        ("signature", "inputs", "message"),
        [
            ("named", [1], "'inputs' is a plain value/list"),
            ("named", {"b64": "aGk="}, "'inputs' is a plain value/list"),
            ("lengths", {"a": [1]}, "Missing named input: b in 'inputs' object."),
            ("lengths", {}, "Missing named input: a in 'inputs' object."),
            (None, None, "input 'x': JSON Value: null Type: Null is not of expected type: float"),
            ("matrix", [[[1, 2]], [[3, "4"]]], "input 'x', element [1, 0, 1]: JSON Value: \"4\" Type: String"),
        ],
    )
    def test_wrong(self, client: TestClient, signature: str, inputs: Any, message: str) -> None:
        assert refused(client, signature, inputs=inputs).startswith(message)

    def test_extra_keys_are_ignored(self, client: TestClient) -> None:
        """Source: in column format, only the inputs' keys are looked at."""
        assert ask(client, "lengths", inputs={"a": [1], "b": [1], "c": 1}) == {"outputs": {"of_a": 1, "of_b": 1}}

    @pytest.mark.parametrize("body", [{"inputs": {}}, {"inputs": [1]}, {"instances": [{}]}, {"instances": [1]}])
    def test_a_signature_without_inputs(self, client: TestClient, body: dict[str, Any]) -> None:
        """Source: an empty map of inputs is refused."""
        assert "Failed to get input map for signature: nothing" in refused(client, "nothing", **body)


class TestResponse:
    """Predict API, Response format."""

    def test_row_format_without_common_rows(self, client: TestClient) -> None:
        """Source: in row format all outputs must have the same first dimension."""
        assert "has no shape information" in refused(client, "lengths", instances=[{"a": 1, "b": 2}])
        assert "inconsistent batch size" in refused(client, "uneven", instances=[1, 2])

    def test_several_outputs(self, client: TestClient) -> None:
        """Several named outputs: objects in row format, one object in columnar format."""
        rows = client.post("/v1/models/cartpole:predict", json={"instances": [[0, 0, 0, 0]] * 2}).json()
        assert rows == {"predictions": [{"actions": 0, "q_values": [0.0, 0.0]}] * 2}
        columns = client.post("/v1/models/cartpole:predict", json={"inputs": [[0, 0, 0, 0]] * 2}).json()
        assert columns == {"outputs": {"actions": [0, 0], "q_values": [[0.0, 0.0]] * 2}}

    def test_a_value_that_the_model_refuses(self, client: TestClient) -> None:
        assert "x must be positive" in refused(client, "positive", instances=[-1])

    def test_output_of_binary_values(self, client: TestClient) -> None:
        """Output of binary values: those of a tensor whose name ends in _bytes are encoded as Base64."""
        image = {"b64": base64.b64encode(b"\xff\x00image").decode()}
        assert ask(client, "binary", instances=[image, "text"]) == {"predictions": [image, {"b64": "dGV4dA=="}]}


class TestTypes:
    """JSON mapping."""

    @pytest.mark.parametrize(
        ("signature", "values"),
        [
            ("bool", [True, False]),
            ("string", ["Hello World!", "", 'quote " slash \\ é 漢']),
            ("int8", [-128, 127]),
            ("uint8", [0, 255]),
            ("int16", [-(2**15), 2**15 - 1]),
            ("int32", [-(2**31), 2**31 - 1]),
            ("uint32", [0, 2**32 - 1]),
            ("int64", [-(2**63), 2**63 - 1]),
            ("uint64", [0, 2**64 - 1]),
            ("float32", [1.1, -10.0, 0.0, 3.4028235e38]),
            ("float64", [1.1, -10.0, 0.0, 1.7976931348623157e308, 5e-324]),
        ],
    )
    def test_each_goes_both_ways(self, client: TestClient, signature: str, values: list[Any]) -> None:
        found = ask(client, signature, instances=values)["predictions"]
        assert found == values
        assert [type(value) for value in found] == [type(value) for value in values]

    @pytest.mark.parametrize("signature", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
    @pytest.mark.parametrize("value", [1.0, 1.5, "1", True, None, math.nan])
    def test_whole_numbers_only(self, client: TestClient, signature: str, value: Any) -> None:
        """The JSON value of an integer type is a decimal number like 1, -10, 0. Source: 1.0 is none."""
        assert "is not of expected type: " in refused(client, signature, instances=[1, value])

    @pytest.mark.parametrize(
        ("signature", "value"),
        [
            ("int8", 128), ("uint8", -1), ("int16", 2**15), ("int32", 2**31), ("uint32", -1), ("int64", 2**63),
        ],
    )  # fmt: skip
    def test_out_of_range(self, client: TestClient, signature: str, value: Any) -> None:
        """Of 8 and 16 bits, TensorFlow Serving takes any number of 32 bits and wraps it round."""
        message = refused(client, signature, instances=[1, value])
        assert (
            message == f"input 'x', instance 1: JSON Value: {value} Type: Number is not of expected type: {signature}"
        )

    def test_float_overflow(self, client: TestClient) -> None:
        """Source: FloatTensorThatExceedsMaxReturnsInf, FloatTensorThatExceedsMinReturnsZero."""
        body = '{"signature_name": "float32", "instances": [1e39, -1.7976931348623157e308, 2.2250738585072014e-308]}'
        assert client.post(PREDICT, content=body).text == '{"predictions":[Infinity,-Infinity,0.0]}'

    def test_number_of_400_digits(self, client: TestClient) -> None:
        """Too large for any type."""
        message = refused(client, "float64", instances=[math.nan, 10**400])
        assert message.startswith("input 'x', instance 1: JSON Value: 1000")

    def test_unsigned_64_bits_out_of_range(self, client: TestClient) -> None:
        assert "is not of expected type: uint64" in refused(client, "uint64", instances=[2**64])

    @pytest.mark.parametrize("value", [0, 1, "true", None])
    def test_bool_is_true_or_false(self, client: TestClient, value: Any) -> None:
        assert "is not of expected type: bool" in refused(client, "bool", instances=[value])

    @pytest.mark.parametrize("value", [0, True, None, {"b65": "x"}, {"b64": 1}, {"b64": "eA==", "x": 1}])
    def test_string_is_a_string(self, client: TestClient, value: Any) -> None:
        message = refused(client, "string", instances=["a", value])
        assert message.startswith(
            "Expecting value/list" if type(value) is dict else "input 'x', instance 1: JSON Value: "
        )

    def test_text_that_is_not_unicode(self, client: TestClient) -> None:
        body = '{"signature_name": "string", "instances": ["\\ud800"]}'
        assert "JSON Parse error" in error(client.post(PREDICT, content=body), 400)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64"])
    def test_types_without_a_json_form(self, client: TestClient, dtype: str) -> None:
        """Source: a value of such a type is unimplemented; row format reports any wrong value as an invalid argument.

        An empty column has no value.
        """
        assert dtype in refused(client, dtype, status=501, inputs=[1])
        assert dtype in refused(client, dtype, status=400, instances=[1])
        assert dtype in refused(client, f"to_{dtype}", instances=[1])
        assert ask(client, dtype, inputs=[]) == {"outputs": []}

    def test_exponents(self, client: TestClient) -> None:
        """Exponent notation is accepted, too."""
        body = '{"instances": [1e1, 2E-1, -1.5e+2]}'
        assert client.post(PREDICT, content=body).json() == {"predictions": [8.0, 3.1, -72.0]}

    def test_whole_floats_keep_a_decimal(self, client: TestClient) -> None:
        """Source: .0 is added to whole floats, so that a reader can tell the type."""
        assert client.post(PREDICT, content='{"instances": [2, -6]}').text == '{"predictions":[4.0,0.0]}'
        assert client.post(PREDICT, content='{"instances": [2, NaN]}').text == '{"predictions":[4.0,NaN]}'

    def test_floats_are_written_short(self, client: TestClient) -> None:
        """Source: a float32 of 0.2 is not written as 0.20000000298."""
        body = '{"signature_name": "float32", "instances": [0.2, 0.1%s]}'
        assert client.post(PREDICT, content=body % "").text == '{"predictions":[0.2,0.1]}'
        assert client.post(PREDICT, content=body % ", NaN").text == '{"predictions":[0.2,0.1,NaN]}'

    def test_precision(self, client: TestClient) -> None:
        """Floating Point Precision: what a float32 cannot hold is converted silently."""
        (found,) = ask(client, "float32", instances=[1435774380])["predictions"]
        assert np.float32(found) == np.float32(1435774336)


class TestBinary:
    """Encoding binary values."""

    def test_input(self, client: TestClient) -> None:
        """Binary data must be Base64 in an object with the key b64."""
        assert ask(client, "string", instances=[{"b64": "aGVsbG8="}]) == {"predictions": ["hello"]}
        assert ask(client, "string", instances=[{"x": {"b64": "aGVsbG8="}}]) == {"predictions": ["hello"]}
        assert ask(client, "string", inputs=[{"b64": "aGVsbG8"}]) == {"outputs": ["hello"]}  # Source: padding may lack
        assert ask(client, "string", inputs=[{"b64": "aGVs\r\n bG8="}]) == {"outputs": ["hello"]}  # and lines may end
        assert ask(client, "string", inputs={"b64": "aGVsbG8="}) == {"outputs": "hello"}

    @pytest.mark.parametrize("data", ["a", "a-b_", "aG=VsbG8=", "aGVsbG8==", "é"])
    def test_bad_base64(self, client: TestClient, data: str) -> None:
        assert "instance 0: Unable to base64 decode" in refused(client, "string", instances=[{"b64": data}])

    def test_only_for_strings(self, client: TestClient) -> None:
        assert "is not of expected type: float" in refused(client, instances=[{"b64": "aGVsbG8="}])


class TestConformance:
    """JSON conformance: requests and answers may hold NaN, Infinity and -Infinity."""

    def test_both_ways(self, client: TestClient) -> None:
        response = client.post(PREDICT, content='{"instances": [1.0, -3.14, NaN, Infinity, -Infinity, Inf, -Inf]}')
        assert response.text == '{"predictions":[3.5,1.43,NaN,Infinity,-Infinity,Infinity,-Infinity]}'

    def test_words_in_strings_stay(self, client: TestClient) -> None:
        body = '{"signature_name": "string", "instances": ["NaN", "a \\"Inf", "Infinity]"], "x": NaN}'
        assert client.post(PREDICT, content=body).json() == {"predictions": ["NaN", 'a "Inf', "Infinity]"]}

    def test_beside_other_outputs(self, client: TestClient) -> None:
        body = '{"instances": [[NaN, 0, 0, 0]]}'
        found = client.post("/v1/models/cartpole:predict", content=body)
        assert found.text == '{"predictions":[{"actions":0,"q_values":[NaN,NaN]}]}'

    def test_no_other_tokens(self, client: TestClient) -> None:
        for token in ("nan", "infinity", "INF", "Nan", "+Inf"):
            assert "JSON Parse error" in error(client.post(PREDICT, content=f'{{"instances": [{token}]}}'), 400)

    def test_a_literal_too_large_is_no_infinity(self, client: TestClient) -> None:
        assert "JSON Parse error" in error(client.post(PREDICT, content='{"instances": [1e999]}'), 400)
        assert "JSON Parse error" in error(client.post(PREDICT, content='{"instances": [NaN, 1e999]}'), 400)

    @pytest.mark.parametrize("body", ['{"instances": [1], NaN: 1}', '{"instances": [1], "x": [{"y": 1, Infinity: 1}]}'])
    def test_no_key_is_a_number(self, client: TestClient, body: str) -> None:
        assert "Missing a name for object member" in error(client.post(PREDICT, content=body), 400)


class TestExamples:
    """Classify and Regress API."""

    MODEL = "/v1/models/half_plus_two"

    def ask(self, client: TestClient, action: str, body: str) -> Any:
        response = client.post(f"{self.MODEL}:{action}", content=body)
        assert response.status_code == 200, response.text
        return json.loads(response.text)

    def test_regress(self, client: TestClient) -> None:
        """Response format: one number for each example, in order."""
        body = '{"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}, {"x": [20.0]}, {}]}'
        assert self.ask(client, "regress", body) == {"results": [42.0, 12.0, 2.0]}

    def test_classify(self, client: TestClient) -> None:
        """Response format: pairs of label and score for each example; no label is the empty string."""
        body = '{"signature_name": "classify_x_to_y", "examples": [{"x": 20.0}, {"x": 10.0}]}'
        assert self.ask(client, "classify", body) == {"results": [[["", 12.0]], [["", 7.0]]]}

    def test_labels(self, client: TestClient) -> None:
        body = '{"signature_name": "classify_labels", "examples": [{"x": NaN}]}'
        assert self.ask(client, "classify", body)["results"][0][0][0] == "half"
        assert self.ask(client, "classify", body.replace("labels", "only_labels")) == {"results": [[["half", 0.0]]]}

    def test_context(self, client: TestClient) -> None:
        """Request format: the context's features are part of every example."""
        body = '{"signature_name": "regress_x_to_y", "context": {"x": 4.0}, "examples": [{}, {"z": "a"}]}'
        assert self.ask(client, "regress", body) == {"results": [4.0, 4.0]}

    def test_by_version_and_label(self, client: TestClient) -> None:
        body = '{"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}]}'
        assert client.post(f"{self.MODEL}/versions/123:regress", content=body).json() == {"results": [42.0]}

    def test_predict_takes_serialised_examples(self, client: TestClient) -> None:
        example = tf.train.Example()
        example.features.feature["x"].float_list.value.append(4)
        instance = {"b64": base64.b64encode(example.SerializeToString()).decode()}
        body = json.dumps({"signature_name": "regress_x_to_y", "instances": [instance]})
        assert self.ask(client, "predict", body) == {"predictions": [[4.0]]}

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ("{}", "'examples' is expected and was not found"),
            ('{"examples": 1}', "is not a list"),
            ('{"examples": []}', "'examples' value is an empty array"),
            ('{"examples": [1]}', "Example must be JSON object but got JSON Number"),
            ('{"context": [], "examples": [{}]}', "Example must be JSON object but got JSON Array"),
            ('{"examples": [{"x": null}]}', "Feature: x has element with unexpected JSON type: Null"),
            ('{"examples": [{"x": [[1]]}]}', "Feature: x has element with unexpected JSON type: Array"),
            ('{"examples": [{"x": {"y": 1}}]}', "Feature: x has element with unexpected JSON type: Object"),
            ('{"examples": [{"x": [1, "a"]}]}', "Unexpected element type in feature: x"),
            ('{"examples": [{"x": [1, 2.0]}]}', "Unexpected element type in feature: x"),
            ('{"examples": [{"x": [1.0, true]}]}', "Unexpected element type in feature: x"),
            ('{"examples": [{"x": 18446744073709551615}]}', "has uint64_t element"),
            (f'{{"examples": [{{"x": {10**400}}}]}}', "Feature: x has element with unexpected JSON type: Number"),
            ('{"examples": [{"x": {"b64": "a"}}]}', "Unable to base64 decode"),
            ('{"signature_name": 1, "examples": [{}]}', "key must be a string value"),
            ('{"signature_name": "none", "examples": [{}]}', "not found in signature def"),
            ('{"examples": [{"x": 1.0}]}', "Expected one input Tensor named inputs"),
            ('{"signature_name": "regress_x_to_y", "examples": [{"x": "text"}]}', "the model refused the inputs"),
            ('{"signature_name": "regress_x2_to_y3", "examples": [{"x": 1.0}]}', "the model refused the inputs"),
        ],
    )
    @pytest.mark.parametrize("action", ["classify", "regress"])
    def test_refusals(self, client: TestClient, action: str, body: str, words: str) -> None:
        assert words in error(client.post(f"{self.MODEL}:{action}", content=body), 400)

    def test_signatures_of_the_other_kind(self, client: TestClient) -> None:
        body = '{"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}]}'
        assert "at least one of classes, scores" in error(client.post(f"{self.MODEL}:classify", content=body), 400)
        body = body.replace("regress_x_to_y", "classify_x_to_y")
        assert "Expected one output Tensor" in error(client.post(f"{self.MODEL}:regress", content=body), 400)

    @pytest.mark.parametrize(
        ("values", "kind", "expected"),
        [
            ("[1, true, false, -9223372036854775808]", "int64_list", [1, 1, 0, -(2**63)]),
            ("[1.5, NaN, -Infinity, 1e39]", "float_list", [1.5, math.nan, -math.inf, math.inf]),
            ("[36893488147419103232]", "float_list", [2.0**65]),
            ('["a", {"b64": "aGVs\\nbG8="}]', "bytes_list", [b"a", b"hello"]),
            ("2", "int64_list", [2]),
            ("[]", None, []),
        ],
    )
    def test_features(self, values: str, kind: str | None, expected: list[Any]) -> None:
        """Request format: numbers, strings and binary data. Source: booleans are integers."""
        (serialised,) = codec.decode_examples(
            codec.parse(f'{{"examples": [{{"x": {values}}}]}}'.encode(), read_settings().limits)
        )
        feature = tf.train.Example.FromString(serialised).features.feature["x"]
        assert feature.WhichOneof("kind") == kind
        if kind:
            np.testing.assert_array_equal(getattr(feature, kind).value, expected)


class TestCompression:
    """Source: evhttp_request.cc. Content-Encoding: gzip is decompressed."""

    GZIP: ClassVar = {"content-encoding": "gzip"}

    def test_gzip(self, client: TestClient) -> None:
        body = gzip.compress(b'{"instances": [1]}')
        assert client.post(PREDICT, content=body, headers=self.GZIP).json() == {"predictions": [3.5]}

    def test_gzip_in_parts(self, client: TestClient) -> None:
        body = gzip.compress(json.dumps({"instances": list(range(5000))}).encode())
        parts = iter([body[:10], body[10:100], body[100:]])
        assert len(client.post(PREDICT, content=parts, headers=self.GZIP).json()["predictions"]) == 5000

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b'{"instances": [1]}', id="plain"),
            pytest.param(gzip.compress(b'{"instances": [1]}')[:-12], id="cut short"),
            pytest.param(b"\x1f\x8b", id="two bytes"),
            pytest.param(gzip.compress(b'{"instances": [1]}') + b"xx", id="more after it"),
            pytest.param(gzip.compress(b'{"instances": [1]}') * 2, id="twice"),
        ],
    )
    def test_not_gzip(self, client: TestClient, body: bytes) -> None:
        for content in (body, iter([body])):
            assert "not gzip data" in error(client.post(PREDICT, content=content, headers=self.GZIP), 400)

    def test_the_limit_is_on_what_comes_out(self, client: TestClient, settings: Settings) -> None:
        bomb = gzip.compress(b" " * (settings.limits.body_bytes + 1))
        assert len(bomb) < 100_000
        assert "expected a body of at most" in error(client.post(PREDICT, content=bomb, headers=self.GZIP), 413)
