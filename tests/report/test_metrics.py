"""Which way a metric is better."""

import json

import pytest

from stages.report.metrics import better, direction, flatten
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("key", "way"),
    [
        ("rmse", -1),
        ("rmse_preterm", -1),
        ("expected_calibration_error", -1),
        ("validation_loss", -1),
        ("accuracy", 1),
        ("recall.7", 1),
        ("r2", 1),
        ("mean_return", 1),
        ("solved", 1),
        ("std_return", 0),
        ("baselines.linear.rmse", 0),
        ("test_births", 0),
        ("threshold", 0),
        ("episodes", 0),
    ],
)
def test_directions(key: str, way: int) -> None:
    assert direction(key) == way


def test_every_workload_of_the_project_has_a_metric_with_a_direction() -> None:
    for path in ROOT.glob("results/*/evaluate.json"):
        assert any(direction(key) for key, _ in flatten(json.loads(path.read_text()))), path


@pytest.mark.parametrize(
    ("key", "before", "after", "judged"),
    [
        ("rmse", 1.0, 0.9, True),
        ("rmse", 0.9, 1.0, False),
        ("accuracy", 0.9, 0.95, True),
        ("solved", True, False, False),
        ("accuracy", 0.9, 0.9, None),
        ("episodes", 100, 20, None),
        ("rmse_preterm", None, 1.0, None),
        ("source", "files", "synthetic", None),
    ],
)
def test_judgements(key: str, before: object, after: object, judged: bool | None) -> None:
    assert better(key, before, after) is judged


def test_flattening_keeps_order_and_leaves_lists_out() -> None:
    assert list(flatten({"b": {"y": 1, "x": None}, "a": "word", "list": [1]})) == [
        ("b.y", 1),
        ("b.x", None),
        ("a", "word"),
    ]
