"""The comparison of a scratch run with the committed outputs."""

import pytest

from tools.verify_bytes import difference, report


def test_the_same_outputs_are_said_in_one_line() -> None:
    (line,) = report({"train: weights": "a"}, {"train: weights": "a"}, {})
    assert line == "All 1 outputs are the same to the byte: this machine makes what is committed."


def test_each_output_that_differs_is_named_and_metrics_are_compared() -> None:
    before = {"export: model": "a", "fetch: digits": "d", "train: weights": "b"}
    after = {"export: model": "x", "fetch: digits": "d", "report: page": "c"}
    metrics = {"results/evaluate.json accuracy": {"old": 0.9955, "new": 0.995, "diff": -0.0005}}
    assert list(report(before, after, metrics)) == [
        "1 of 4 outputs are the same to the byte. These differ:",
        "  export: model",
        "  report: page  (new)",
        "  train: weights  (not made here)",
        "Metrics that differ, committed and here:",
        "  results/evaluate.json accuracy  0.9955 and 0.995: 0.05 % apart",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"), [(1.0, 1.0, 0), (0, 0, 0), (4.0, 3.0, 0.25), (None, 1.0, float("inf"))]
)
def test_differences_are_fractions_of_the_larger_value(old: float | None, new: float, expected: float) -> None:
    assert difference(old, new) == expected
