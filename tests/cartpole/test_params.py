from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.check_params import check
from stages.core.errors import InputError


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.buffer_size", 0, "0: input should be greater than or equal to 1"),
        ("train.target_clip", [1.0, 0.0], r"\[1.0, 0.0\]: should be a lower bound, then a higher one"),
        ("train.target_clip", [1.0], r"\[1.0\]: list should have at least 2 items"),
        ("train.stop.reward_threshold", "high", "'high': input should be a valid number"),
        ("train.tau", 0.0, "0.0: input should be greater than 0"),
        ("train.network.observation_scale", [], r"\[\]: list should have at least 1 item"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: Any, message: str, params_file: Callable[..., Path]) -> None:
    path = params_file({f"cartpole.{key}": value})
    with pytest.raises(InputError, match=f": cartpole.{key}: {message}"):
        check(path)
