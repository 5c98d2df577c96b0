import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from stages.babyweight.source.fingerprint import fingerprints


def expected(values: list[bytes]) -> list[int]:
    hashes = tf.fingerprint(tf.constant(values, tf.string), "farmhash64").numpy()
    return [int(number) for number in hashes.reshape(-1, 8).copy().view("<u8")[:, 0]]


@given(st.lists(st.binary(max_size=300), min_size=1))
def test_what_tensorflow_says(values: list[bytes]) -> None:
    assert fingerprints(pa.array(values)).tolist() == expected(values)


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
    assert fingerprints(pa.array(values)).tolist() == expected(values)


def test_any_type_of_text_and_any_slice() -> None:
    keys = ["a", "schlüssel", "", "b" * 70]
    wanted = expected([key.encode() for key in keys])
    for kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
        array = pa.array(keys).cast(kind)
        assert fingerprints(array).tolist() == wanted
        assert fingerprints(array[1:3]).tolist() == wanted[1:3]
        assert fingerprints(array[:0]).tolist() == []
