"""What metrics mean: which way is better, and how two values of one compare."""

import re
from collections.abc import Iterator
from typing import Any

LOWER = {"rmse", "mae", "loss", "error"}
HIGHER = {"accuracy", "recall", "r2", "return", "solved"}


def flatten(metrics: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers, words and truth values of nested metrics with their dotted keys, in the metrics' order."""
    if isinstance(metrics, dict):
        for key, value in metrics.items():
            yield from flatten(value, f"{path}.{key}" if path else key)
    elif not isinstance(metrics, list):
        yield path, metrics


def direction(key: str) -> int:
    """Which way a metric is better, by the words of its dotted key: 1 higher, -1 lower, 0 it is no measure of quality.

    The figures of baselines and the spread of returns are facts to compare with, not results to improve.
    """
    if "baselines" in key or "std_" in key:
        return 0
    words = set(re.split(r"[._]", key))
    return -1 if words & LOWER else 1 if words & HIGHER else 0


def better(key: str, before: Any, after: Any) -> bool | None:
    """Whether a metric became better (True) or worse (False); None if it is equal or no measure of quality."""
    if before == after or not all(isinstance(value, int | float) for value in (before, after)):
        return None
    return (after > before) == (direction(key) > 0) if direction(key) else None
