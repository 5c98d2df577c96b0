import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from stages.babyweight.source.fingerprint import Strings, fingerprints


def expected(values: list[bytes]) -> list[int]:
    found = tf.fingerprint(tf.constant(values, tf.string), "farmhash64").numpy()
    return [int(number) for number in found.reshape(-1, 8).copy().view("<u8")[:, 0]]


@given(st.lists(st.binary(max_size=300), min_size=1))
def test_what_tensorflow_says(values: list[bytes]) -> None:
    assert fingerprints(Strings.of(values)).tolist() == expected(values)


@pytest.mark.parametrize(
    "values",
    [
        [bytes(range(length)) for length in range(200)],
        [b"%d" % i for i in range(12_000)],
        [b"the same"] * 3,
        [b"synthetic-%d" % i for i in range(70_000)],
        [b"x" * 100_000, b"short"],
        [b""],
    ],
    ids=["each length", "numbers", "the same", "many", "a long one", "an empty one"],
)
def test_every_length_and_many(values: list[bytes]) -> None:
    assert fingerprints(Strings.of(values)).tolist() == expected(values)


def test_no_string() -> None:
    assert fingerprints(Strings.of([])).tolist() == []


def test_strings_come_out_of_their_text() -> None:
    strings = Strings(np.frombuffer("a,schlüssel,b".encode(), np.uint8), np.array([0, 2, 13]), np.array([1, 12, 14]))
    assert len(strings) == 3 and strings.to_list() == ["a", "schlüssel", "b"]
    some = strings.take(np.array([1, 2]))
    assert some.to_list() == ["schlüssel", "b"] and some.text.tobytes() == "schlüssel,b".encode()
    assert strings.take(np.array([], np.int64)).to_list() == []
    assert Strings.of([b"", "ä".encode(), b"b"]).to_list() == ["", "ä", "b"]
