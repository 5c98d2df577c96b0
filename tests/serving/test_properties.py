"""Whatever is sent, the server answers as its contract says, and never with a 500.

`SERVING_EXAMPLES=10000 pytest …` is the long run.
"""

import json
import math
import os
from typing import Any

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from serving import codec
from stages.rest.requests import decode_inputs, decode_instances
from stages.rest.tensors import SUPPORTED
from stages.savedmodel.graph import Tensor

EXAMPLES = int(os.environ.get("SERVING_EXAMPLES", "300"))
SIGNATURES = ["serving_default", "named", "lengths", "binary", "any_shape", "scalar", "matrix"]
SIGNATURES += ["to_float16", "positive", "nothing"]
SIGNATURES += [dtype.name for dtype in SUPPORTED]

many = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5),
    st.just({"b64": "aGk="}), st.builds(lambda text: {"b64": text}, st.text(max_size=5)),
)  # fmt: skip
names = st.sampled_from(["x", "a", "b", "tag", "signal", "sensor", "image_bytes"]) | st.text(max_size=3)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "instances": trees | st.lists(trees, min_size=1, max_size=4),
        "inputs": trees,
        "signature_name": st.sampled_from(SIGNATURES) | trees,
    },
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """JSON with a few bytes of it changed, removed or doubled."""
    body = bytearray(json.dumps(draw(documents)).encode())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(body)


def check(client: TestClient, body: bytes) -> None:
    response = client.post("/v1/models/contract:predict", content=body)
    assert response.status_code in {200, 400, 501}, (body, response.text)
    answer = json.loads(response.text)
    assert set(answer) == ({"error"} if response.status_code != 200 else {"predictions"} & set(answer) or {"outputs"})


@many
@given(document=documents)
def test_any_document(client: TestClient, document: dict[str, Any]) -> None:
    check(client, json.dumps(document).encode())


@many
@given(body=damaged() | st.binary(max_size=60))
def test_any_bytes(client: TestClient, body: bytes) -> None:
    check(client, body)


@many
@given(data=st.data())
def test_well_typed_values_come_back(client: TestClient, data: st.DataObject) -> None:
    """Every value of every type, in both formats, comes back equal: no 4xx for good input."""
    dtype = data.draw(st.sampled_from(sorted(SUPPORTED, key=lambda dtype: dtype.name)))
    if dtype.name == "bool":
        values: Any = st.booleans()
    elif dtype.name == "string":
        values = st.text()
    elif dtype.is_floating:
        values = st.floats(width=dtype.size * 8)
    else:
        values = st.integers(int(dtype.min), int(dtype.max))
    sent = data.draw(st.lists(values, min_size=1, max_size=5))
    key, answer = data.draw(st.sampled_from([("instances", "predictions"), ("inputs", "outputs")]))
    body = json.dumps({"signature_name": dtype.name, key: sent})
    response = client.post("/v1/models/contract:predict", content=body)
    assert response.status_code == 200, response.text
    found = json.loads(response.text)[answer]
    if dtype.is_floating:
        np.testing.assert_array_equal(np.array(found, dtype.as_numpy_dtype), np.array(sent, dtype.as_numpy_dtype))
        assert all(type(value) is float for value in found)
    else:
        assert found == sent


@many
@given(
    shape=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    special=st.sampled_from([0.0, 0.5, math.nan, math.inf]),
    by_row=st.booleans(),
)
def test_any_shape_survives_both_writers(shape: list[int], special: float, by_row: bool) -> None:
    """Encoding, then decoding: finite values go through one library, NaN and infinities through another."""
    values = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    values[values == 1] = special
    body = codec.encode_outputs({"y": values}, by_row)
    document = json.loads(body)["predictions" if by_row else "outputs"]
    inputs = {"x": Tensor("x", "x:0", tf.float32, ())}
    if 0 in shape:  # JSON cannot tell what follows an empty dimension
        assert (document == []) == (shape[0] == 0)
        return
    found = decode_instances(document, inputs) if by_row else decode_inputs(document, inputs)
    np.testing.assert_array_equal(found["x"], values)
