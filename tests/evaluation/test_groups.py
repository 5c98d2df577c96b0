import numpy as np
import pytest

from stages.evaluation.groups import ErrorGroups, quarters, share_groups


def test_errors_by_group_in_blocks() -> None:
    groups = ErrorGroups({"sex": ["unknown", "girl", "boy"], "both": ["a", "b"]}, "births", {"both": 3})
    sex, both = np.array([1, 1, 2, 1]), np.array([0, 0, 0, 1])
    predicted, actual = np.array([7.0, 8.0, 6.0, 7.0]), np.array([6.0, 9.0, 6.5, 7.0])
    for part in (slice(0, 3), slice(3, 4)):
        groups.add({"sex": sex[part], "both": both[part]}, predicted[part], actual[part])
    rows = list(groups.rows())
    assert [list(row) for row in rows] == [groups.header] * 3
    assert groups.header == ["group", "value", "births", "rmse", "low", "high", "bias"]
    girl, boy, a = rows
    assert (girl["value"], girl["births"], girl["bias"]) == ("girl", 3, 0.0)
    assert girl["rmse"] == pytest.approx(np.sqrt(2 / 3), rel=1e-5) and girl["low"] < girl["rmse"] < girl["high"]
    assert boy == {"group": "sex", "value": "boy", "births": 1, "rmse": 0.5, "low": "", "high": "", "bias": -0.5}
    assert (a["group"], a["value"], a["births"]) == ("both", "a", 3), "b has fewer than three births"


def test_shares_by_group_leave_out_empty_ones() -> None:
    hits = np.array([True, False, True, True])
    rows = share_groups({"digit": (["0", "1", "2"], np.array([0, 0, 2, 2]))}, hits, "images", "accuracy")
    assert [(row["value"], row["images"], row["accuracy"]) for row in rows] == [("0", 2, 0.5), ("2", 2, 1.0)]
    assert rows[1]["low"] == pytest.approx(2 / (2 + 1.96**2), rel=1e-4) and rows[1]["high"] == 1.0


def test_quarters_of_few_and_of_equal_values() -> None:
    assert quarters(np.array([5.0, 1.0, 3.0, 2.0, 4.0])).tolist() == [3, 0, 1, 0, 2]
    assert quarters(np.array([2.0, 1.0])).tolist() == [1, 0]
    assert np.bincount(quarters(np.zeros(8))).tolist() == [2, 2, 2, 2]
