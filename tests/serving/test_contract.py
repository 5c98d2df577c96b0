"""The contract, sentence by sentence.

Each test names the section of TensorFlow Serving's "RESTful API" (`tensorflow_serving/g3doc/api_rest.md`) that it
holds the server to. "Source" is `json_tensor.cc` or `http_rest_api_util.cc`, where that page is silent.
"""

import base64
import json
import math
from typing import Any, ClassVar

import numpy as np
import pytest
from fastapi.testclient import TestClient

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
            ("GET", "/v1/models/unknown", 404, "no model 'unknown'"),
            ("GET", "/v1/models/unknown/metadata", 404, "no model 'unknown'"),
            ("POST", "/v1/models/unknown:predict", 404, "no model 'unknown'"),
            ("GET", "/v1/models/contract/versions/7", 404, "model contract: no version 7"),
            ("POST", "/v1/models/contract/versions/7:predict", 404, "model contract: no version 7"),
            ("POST", "/v1/models/contract/versions/x:predict", 400, "expected a version's number"),
            ("GET", "/v1/models/contract/versions/99999999999999999999", 400, "expected a version's number"),
            ("POST", "/v1/models/contract/labels/canary:predict", 400, "no label 'canary'"),
            ("POST", "/v1/models/contract:classify", 501, "not implemented"),
            ("POST", "/v1/models/contract/versions/1:regress", 501, "not implemented"),
            ("GET", "/v1/models/contract:predict", 404, "no model 'contract:predict'"),
            ("POST", "/v1/models/contract", 405, "Method Not Allowed"),
            ("GET", "/v2/models", 404, "Not Found"),
        ],
    )
    def test_each_has_its_status(self, client: TestClient, method: str, path: str, status: int, words: str) -> None:
        assert words in error(client.request(method, path, content='{"instances": [1]}'), status)


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
        assert "no signature 'other'; it has " in refused(client, "other", instances=[1])

    def test_signature_name_must_be_a_string(self, client: TestClient) -> None:
        assert "signature_name: expected a string" in refused(client, signature_name=3, instances=[1])

    def test_both_formats(self, client: TestClient) -> None:
        """Request format: either of instances and inputs, but not both."""
        message = refused(client, instances=[1], inputs=[1])
        assert message == "expected either 'instances' or 'inputs', found both"

    def test_neither_format(self, client: TestClient) -> None:
        assert "found neither" in refused(client)

    @pytest.mark.parametrize("body", ["", "{", "nonsense", '{"instances": [1]} x', '{"instances": [01]}', b"\xff"])
    def test_malformed_json(self, client: TestClient, body: str | bytes) -> None:
        assert "malformed JSON" in error(client.post(PREDICT, content=body), 400)

    @pytest.mark.parametrize("body", ["[1]", "1", "null", '"text"'])
    def test_must_be_an_object(self, client: TestClient, body: str) -> None:
        """Request format: the body must be a JSON object."""
        assert "expected a JSON object" in error(client.post(PREDICT, content=body), 400)

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
        assert refused(client, "named", instances=rows) == "instance 1: the input 'sensor' is missing"

    def test_extra_input(self, client: TestClient) -> None:
        rows = [self.ROWS[0], {**self.ROWS[1], "more": 1}]
        message = refused(client, "named", instances=rows)
        assert message == "instance 1: 'more' is no input; expected sensor, signal, tag"

    def test_values_where_objects_belong(self, client: TestClient) -> None:
        assert "instance 0: expected an object" in refused(client, "named", instances=[1, 2])

    def test_mixed_objects_and_values(self, client: TestClient) -> None:
        """Source: a plain list or a list of objects, not a mix."""
        assert "input 'x', instance 1: expected a number, found an object" in refused(client, instances=[1, {"x": 2}])
        assert "instance 1: expected an object" in refused(client, instances=[{"x": 2}, 1])

    def test_empty(self, client: TestClient) -> None:
        assert "expected at least one" in refused(client, instances=[])

    @pytest.mark.parametrize("value", [1, {"x": 1}, "text", None])
    def test_must_be_a_list(self, client: TestClient, value: Any) -> None:
        assert "instances: expected a list" in refused(client, instances=value)

    @pytest.mark.parametrize(
        ("signature", "instances", "message"),
        [
            ("matrix", [[[1, 2]], [[3]]], "input 'x', instance 1, element [0]: expected a list of 2, found one of 1"),
            ("matrix", [[[1, 2]], 3], "input 'x', instance 1: expected a list of 1, found a number"),
            ("matrix", [[[1, [2]]]], "input 'x', instance 0, element [0][1]: expected a number, found a list"),
            ("matrix", [[1, 2]], "input 'x', instance 0: expected a list of 1, found one of 2"),
            ("any_shape", [[1, 2], [3]], "input 'x', instance 1: expected a list of 2, found one of 1"),
            ("any_shape", [[1, 2], 3], "input 'x', instance 1: expected a list, found a number"),
            (None, [1, "2"], "input 'x', instance 1: expected a number, found a string"),
            (None, [1, None], "input 'x', instance 1: expected a number, found null"),
            (None, [1, True], "input 'x', instance 1: expected a number, found true or false"),
            ("scalar", [1], "input 'x': expected a number, found a list"),
        ],
    )
    def test_ragged_or_wrong(self, client: TestClient, signature: str, instances: Any, message: str) -> None:
        """Source: all values at the level of the shape's rank, lists of one size, of the input's type."""
        assert refused(client, signature, instances=instances) == message


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
            ("named", [1], "inputs: expected an object of the inputs, found a list"),
            ("lengths", {"a": [1]}, "inputs: the input 'b' is missing"),
            ("lengths", {"a": [1], "b": [1], "c": 1}, "inputs: 'c' is no input; expected a, b"),
            ("matrix", [[[1, 2]], [[3, "4"]]], "input 'x', element [1][0][1]: expected a number, found a string"),
            ("matrix", 7, "input 'x': expected a list, found a number"),
        ],
    )
    def test_wrong(self, client: TestClient, signature: str, inputs: Any, message: str) -> None:
        assert refused(client, signature, inputs=inputs) == message


class TestResponse:
    """Predict API, Response format."""

    def test_row_format_without_common_rows(self, client: TestClient) -> None:
        """Source: in row format all outputs must have the same first dimension."""
        assert "no common number" in refused(client, "lengths", instances=[{"a": 1, "b": 2}])

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
        assert "input 'x', instance 1: expected a whole number" in refused(client, signature, instances=[1, value])

    @pytest.mark.parametrize(
        ("signature", "value"),
        [
            ("int8", 128), ("uint8", -1), ("int16", 2**15), ("int32", 2**31), ("uint32", -1), ("int64", 2**63),
            ("float32", 1e39), ("float32", -(10**39)),
        ],
    )  # fmt: skip
    def test_out_of_range(self, client: TestClient, signature: str, value: Any) -> None:
        message = refused(client, signature, instances=[1, value])
        assert message.startswith(f"input 'x', instance 1: expected a number that fits {signature}")

    def test_number_of_400_digits(self, client: TestClient) -> None:
        """Too large for any type; only the parser that knows NaN reads it at all."""
        message = refused(client, "float64", instances=[math.nan, 10**400])
        assert message == "input 'x', instance 1: expected a number that fits float64"

    def test_unsigned_64_bits_out_of_range(self, client: TestClient) -> None:
        assert "instance 0: expected a" in refused(client, "uint64", instances=[2**64])

    @pytest.mark.parametrize("value", [0, 1, "true", None])
    def test_bool_is_true_or_false(self, client: TestClient, value: Any) -> None:
        assert "expected true or false" in refused(client, "bool", instances=[value])

    @pytest.mark.parametrize("value", [0, True, None, {"b65": "x"}, {"b64": 1}, {"b64": "eA==", "x": 1}])
    def test_string_is_a_string(self, client: TestClient, value: Any) -> None:
        assert refused(client, "string", instances=["a", value]).startswith("input 'x', instance 1: expected a string")

    def test_text_that_is_not_unicode(self, client: TestClient) -> None:
        body = '{"signature_name": "string", "instances": ["\\ud800"]}'
        assert "expected Unicode text" in error(client.post(PREDICT, content=body), 400)

    def test_unlisted_types_are_unsupported(self, client: TestClient) -> None:
        assert "float16" in refused(client, "float16", status=501, instances=[1])
        assert "float16" in refused(client, "half", status=501, instances=[1])

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

    @pytest.mark.parametrize("data", ["a", "a-b_", "aGVs bG8=", "é"])
    def test_bad_base64(self, client: TestClient, data: str) -> None:
        assert "instance 0: expected " in refused(client, "string", instances=[{"b64": data}])

    def test_only_for_strings(self, client: TestClient) -> None:
        assert "expected a number, found an object" in refused(client, instances=[{"b64": "aGVsbG8="}])


class TestConformance:
    """JSON conformance: requests and answers may hold NaN, Infinity and -Infinity."""

    def test_both_ways(self, client: TestClient) -> None:
        response = client.post(PREDICT, content='{"instances": [1.0, -3.14, NaN, Infinity, -Infinity]}')
        assert response.text == '{"predictions":[3.5,1.43,NaN,Infinity,-Infinity]}'

    def test_beside_other_outputs(self, client: TestClient) -> None:
        body = '{"instances": [[NaN, 0, 0, 0]]}'
        found = client.post("/v1/models/cartpole:predict", content=body)
        assert found.text == '{"predictions":[{"actions":0,"q_values":[NaN,NaN]}]}'

    def test_no_other_tokens(self, client: TestClient) -> None:
        assert "malformed" in error(client.post(PREDICT, content='{"instances": [nan]}'), 400)

    def test_a_literal_too_large_is_no_infinity(self, client: TestClient) -> None:
        assert "malformed" in error(client.post(PREDICT, content='{"instances": [1e999]}'), 400)
        assert "malformed" in error(client.post(PREDICT, content='{"instances": [NaN, 1e999]}'), 400)
