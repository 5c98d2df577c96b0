import re

import numpy as np
import pytest

from stages.core.errors import InputError
from stages.mnist.source.idx import Digits, check_counts, pack, parse


def test_what_is_packed_is_parsed(digits: Digits) -> None:
    for key, values in digits.items():
        assert (parse(key, pack(values), "f") == values).all()
    assert pack(np.array([5, 7], np.uint8)) == b"\0\0\x08\x01\0\0\0\x02\x05\x07"


@pytest.mark.parametrize(
    ("key", "raw", "message"),
    [
        pytest.param("train_labels", b"", "expected an IDX file of bytes in 1 dimensions", id="empty"),
        pytest.param("train_labels", pack(np.zeros((2, 2), np.uint8)), "bytes in 1 dimensions", id="dimensions"),
        pytest.param("train_labels", b"\0\0\x0d\x01\0\0\0\x01\0", "bytes in 1 dimensions", id="floats"),
        pytest.param("train_labels", pack(np.zeros(0, np.uint8)), "expected labels, found the shape [0]", id="none"),
        pytest.param(
            "test_images",
            pack(np.zeros((1, 32, 32), np.uint8)),
            "expected images of 28 x 28 pixels, found the shape [1, 32, 32]",
            id="size",
        ),
        pytest.param(
            "test_labels",
            pack(np.zeros(9, np.uint8))[:-1],
            "expected 17 bytes as its header says, found 16",
            id="truncated",
        ),
        pytest.param("test_labels", pack(np.zeros(9, np.uint8)) + b"0", "expected 17 bytes", id="longer"),
    ],
)
def test_another_file_is_refused(key: str, raw: bytes, message: str) -> None:
    with pytest.raises(InputError, match=f"^f: .*{re.escape(message)}"):
        parse(key, raw, "f")


def test_an_image_without_a_label_is_refused(digits: Digits) -> None:
    with pytest.raises(InputError, match=r"^f: expected as many train labels as images, found 59 and 60"):
        check_counts(digits | {"train_labels": digits["train_labels"][1:]}, "f")
