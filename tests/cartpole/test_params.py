from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.check_params import check
from stages.core.errors import InputError


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.buffer", 1000, "1000: should be a power of two"),
        ("train.target_range", [1.0, 0.0], r"\[1.0, 0.0\]: should be a lower bound, then a higher one"),
        ("train.target_range", [1.0], r"\[1.0\]: list should have at least 2 items"),
        ("train.stop.threshold", "high", "'high': input should be a valid number"),
        ("train.target_network.kind", "medium", "'medium': input should be 'hard' or 'soft'"),
        ("train.network.observation_scale", [], r"\[\]: list should have at least 1 item"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: Any, message: str, params_file: Callable[..., Path]) -> None:
    path = params_file({f"cartpole.{key}": value})
    with pytest.raises(InputError, match=f": cartpole.{key}: {message}"):
        check(path)
