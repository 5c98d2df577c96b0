"""What workloads say about themselves, and which way a metric is better."""

import json
import pkgutil
from functools import reduce
from operator import getitem

import pytest
import yaml

from stages.core.params import flatten, workload_names
from stages.workloads import Metric, Workload, find, interval
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
        ("rmse_low", 0),
        ("rmse_preterm_high", 0),
        ("recall_low.7", 0),
        ("threshold", 0),
        ("episodes", 0),
    ],
)
def test_directions(key: str, way: int) -> None:
    assert Workload("x", "X").direction(key) == way


@pytest.mark.parametrize("name", workload_names())
def test_any_workload_declares_what_its_stages_write(name: str) -> None:
    workload = find(name)
    assert (workload.name, (ROOT / "stages" / name / "prepare.py").exists()) == (name, workload.has_data)
    measured = dict(flatten(json.loads((ROOT / f"results/{name}/evaluate.json").read_text())))
    assert workload.metrics and {metric.key for metric in workload.metrics} <= measured.keys()
    assert workload.direction(workload.metrics[0].key)
    assert workload.sample_size in measured
    params = yaml.safe_load((ROOT / "params.yaml").read_text())[name]
    for key in workload.conditions:
        reduce(getitem, key.split("."), params)
    assert workload.comparison is None or callable(pkgutil.resolve_name(workload.comparison))


def test_a_workload_may_say_which_way_its_headline_is_better() -> None:
    cost = Workload("x", "X", metrics=(Metric("cost", "cost"),), higher_is_better=False)
    assert (cost.direction("cost"), cost.direction("rmse"), cost.direction("tests")) == (-1, -1, 0)
    assert cost.better("cost", 2.0, 1.0) is True


def test_an_unknown_workload_is_known_by_its_name() -> None:
    assert find("wild_birds") == Workload("wild_birds", "Wild birds")
    assert find("core").metrics == ()


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
    assert Workload("x", "X").better(key, before, after) is judged


def test_a_metric_and_its_interval() -> None:
    metrics = {"rmse": 1.0, "rmse_low": 0.9, "rmse_high": 1.1, "recall_low.7": 0.8, "recall_high.7": 1, "mae_low": None}
    assert interval(metrics, "rmse") == (0.9, 1.1)
    assert interval(metrics, "recall.7") == (0.8, 1.0)
    assert interval(metrics, "mae") is interval(metrics, "r2") is None
