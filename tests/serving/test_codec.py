"""The fast reader reads what the general one would have read, and leaves everything else to it."""

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from serving import codec
from serving.codec import RowReader
from serving.settings import read_settings
from stages.core.errors import InputError
from stages.rest.requests import Arrays, decode_instances
from stages.savedmodel.graph import Tensor
from tests.linear import assert_linear
from tests.serving.test_properties import EXAMPLES, leaves

TYPES = {"text": tf.string, "single": tf.float32, "double": tf.float64, "flag": tf.bool}
INPUTS = {name: Tensor(name, name, dtype, (None,)) for name, dtype in TYPES.items()}
READ = RowReader(INPUTS)
LIMITS = read_settings().limits
ROW = {"text": "a", "single": 1.5, "double": 2, "flag": True}

many = hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
usual = {"text": st.text(), "single": st.floats(width=32), "double": st.floats(), "flag": st.booleans()}
numbers = st.integers(-(2**70), 2**70) | st.floats()
rows = st.fixed_dictionaries(usual) | st.fixed_dictionaries({**usual, "single": numbers, "double": numbers})
spoilt = st.builds(lambda row, name, leaf: {**row, name: leaf}, rows, st.sampled_from([*usual, "more"]), leaves)


def same(short: Arrays, body: bytes) -> bool:
    """Whether the general reader finds the same arrays, to the bit."""
    long = decode_instances(codec.parse(body, LIMITS)["instances"], INPUTS)
    return long.keys() == short.keys() and all(
        found.dtype == short[name].dtype
        and (
            [text.encode() for text in short[name]] == found.tolist()
            if found.dtype == object
            else found.tobytes() == short[name].tobytes()
        )
        for name, found in long.items()
    )


def body_of(*instances: Any, **more: Any) -> bytes:
    return json.dumps({"instances": instances, **more}).encode()


@many
@given(instances=st.lists(rows, min_size=1, max_size=4))
def test_it_reads_the_same(instances: list[dict[str, Any]]) -> None:
    body = body_of(*instances)
    found = READ(body)
    assert found is None or same(found, body)
    usual = np.isfinite(np.array([[row["single"], row["double"]] for row in instances], float)).all()
    assert not usual or found is not None


@many
@given(instances=st.lists(rows | spoilt, max_size=3), change=st.tuples(st.integers(0, 200), st.binary(max_size=2)))
def test_it_reads_nothing_that_is_wrong(instances: list[Any], change: tuple[int, bytes]) -> None:
    body = bytearray(body_of(*instances))
    at, new = change
    body[at : at + len(new)] = new
    found = READ(bytes(body))
    assert found is None or same(found, bytes(body))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body_of(), id="no instance"),
        pytest.param(body_of({**ROW, "more": 1}), id="one input more"),
        pytest.param(body_of({"text": "a"}), id="inputs missing"),
        pytest.param(body_of(ROW, inputs={}), id="both keys"),
        pytest.param(b'{"inputs": {}}', id="columns"),
        pytest.param(body_of(ROW, signature_name="other"), id="another signature"),
        pytest.param(body_of({**ROW, "single": "1.5"}), id="a number as text"),
        pytest.param(body_of({**ROW, "single": True}), id="a truth value as a number"),
        pytest.param(body_of({**ROW, "flag": 1}), id="a number as a truth value"),
        pytest.param(body_of({**ROW, "text": {"b64": "aGk="}}), id="binary data"),
        pytest.param(body_of({**ROW, "double": float("nan")}), id="not a number"),
        pytest.param(body_of({**ROW, "double": 10**400}), id="too large for any"),
        pytest.param(body_of({**ROW, "text": "\ud800"}), id="half a character"),
        pytest.param(body_of(ROW).replace(b'"a"', b'"\xff"'), id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="nested without end"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_it_leaves_all_else(body: bytes) -> None:
    assert READ(body) is None


def test_a_key_named_twice_counts_as_last_named() -> None:
    body = body_of(ROW).replace(b'"single": 1.5', b'"single": 1.5, "single": 2.5')
    found = READ(body)
    assert found is not None
    assert found["single"].tolist() == [2.5]
    assert same(found, body)


def test_the_default_signature_may_be_named() -> None:
    for name in ("", "serving_default"):
        assert READ(body_of(ROW, signature_name=name)) is not None


@pytest.mark.parametrize(
    "types",
    [
        pytest.param([tf.float32], id="one input, which needs no name"),
        pytest.param([tf.float32, tf.int32], id="whole numbers"),
        pytest.param([], id="no default signature"),
    ],
)
def test_other_signatures_go_the_long_way(types: list[tf.DType]) -> None:
    read = RowReader({f"x{i}": Tensor(f"x{i}", "", dtype, (None,)) for i, dtype in enumerate(types)})
    assert read(body_of({f"x{i}": 1 for i in range(len(types))})) is None


def test_floats_beyond_the_type_are_infinite() -> None:
    body = body_of({**ROW, "single": 1e39})
    found = READ(body)
    assert found is not None and found["single"].tolist() == [np.inf]
    assert same(found, body)


UNITS = [
    b'\\"',
    b"\\",
    b'"',
    b'""',
    b'"NaN",',
    b"NaN",
    b"NaN,",
    b"-",
    b"Inf,",
    b"}",
    b"]",
    b"[",
    b"{",
    b"[],",
    b"[[]],",
]
UNITS += [b'{"":', b'{"a":1},', b"1", b"1.", b"e", b"0,", b" "]


class TestSize:
    @pytest.mark.parametrize("unit", UNITS)
    @pytest.mark.parametrize("start", [b"", b'{"instances":[', b'{"instances":[NaN,"', b'{"x":[NaN],"y":['], ids=repr)
    def test_reading_takes_time_in_proportion(self, start: bytes, unit: bytes) -> None:
        def read(size: int) -> None:
            with suppress(InputError):
                codec.parse(start + unit * (size // len(unit)), LIMITS)

        assert_linear(read, 1 << 18)

    @pytest.mark.parametrize("unit", [b"[],", b"{},", b"[[]],", b"[1],"])
    @pytest.mark.parametrize("start", [b'{"instances":[', b'{"x":NaN,"inputs":['])
    def test_instances_are_counted_before_they_are_built(self, start: bytes, unit: bytes) -> None:
        body = start + unit * 300_000 + unit[:-1] + b"]}"
        tracemalloc.start()
        try:
            with pytest.raises(codec.TooLargeError, match="expected at most 10000 instances, found 300001"):
                codec.parse(body, LIMITS)
            assert tracemalloc.get_traced_memory()[1] < 12 * len(body)  # as lists they take thirty times as much
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("start", [b'{"instances":[[', b'{"inputs":{"x":[', b'{"examples":[{"x":['])
    def test_values_are_counted_before_they_are_built(self, start: bytes) -> None:
        limits = LIMITS.model_copy(update={"values": 50_000})
        body = start + b"1," * 60_000 + b"1" + start.translate(bytes.maketrans(b"[{", b"]}"))[:0:-1]
        with pytest.raises(codec.TooLargeError, match="expected at most 50000 values, found 6000"):
            codec.parse(body, limits)

    def test_commas_and_brackets_in_text_are_none(self) -> None:
        text = "[,{\\" * 50_000
        limits = LIMITS.model_copy(update={"values": 10, "instances": 2})
        body = json.dumps({"instances": [text, text + '"'], "x": "NaN"}).encode()
        assert codec.parse(body, limits)["instances"] == [text, text + '"']
        assert codec.parse(body.replace(b'"NaN"', b"NaN"), limits)["instances"] == [text, text + '"']

    def test_as_many_as_are_allowed(self) -> None:
        limits = LIMITS.model_copy(update={"instances": 40_000})
        for rows in ([[1.5]] * 40_000, [{"a": 1}] * 40_000):
            assert codec.parse(json.dumps({"instances": rows}).encode(), limits)["instances"] == rows
