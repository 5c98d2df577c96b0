from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import InputError
from stages.core.params import load


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.buffer", 1000, "1000: should be a power of two"),
        ("train.targets", [1.0, 0.0], r"\[1.0, 0.0\]: should be a lower bound, then a higher one"),
        ("train.targets", [1.0], r"\[1.0\]: list should have at least 2 items"),
        ("train.stop.threshold", "high", "'high': input should be a valid number"),
        ("train.target.kind", "medium", "'medium': input should be 'hard' or 'soft'"),
        ("model.observation_scale", [], r"\[\]: list should have at least 1 item"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: Any, message: str, params_file: Callable[..., Path]) -> None:
    path = params_file({f"cartpole.{key}": value})
    load.cache_clear()
    with pytest.raises(InputError, match=f": cartpole.{key}: {message}"):
        load(path)
