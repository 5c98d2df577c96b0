"""No cell of few people is told, and none follows from what is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.disclosure import FEWEST, few, told, told_counts

COUNTS = st.one_of(st.integers(0, 2 * FEWEST), st.integers(0, 1000))


@pytest.mark.parametrize(
    ("counts", "left"),
    [
        ([50, 60, 9, 8], [50, 60]),
        ([50, 60, 9], [60]),
        ([12, 3], []),
        ([10, 50], [10, 50]),
        ([3, 4], []),
        ([], []),
    ],
)
def test_few_are_left_out(counts: list[int], left: list[int]) -> None:
    assert [n for n, tell in zip(counts, told(counts), strict=True) if tell] == left
    named = dict(enumerate(counts))
    assert [*told_counts(named).values()] == left and told_counts(named).items() <= named.items()


def test_cells_of_several_groups_are_left_out_by_each() -> None:
    parts = [[30, 0], [20, 0], [4, 0], [0, 90], [0, 80]]
    assert told(parts).tolist() == [True, False, False, True, True]
    assert told(parts, left_out=np.array([0, 0, 0, 1, 0], bool)).tolist() == [True, False, False, False, True]


@given(st.lists(COUNTS, max_size=12))
def test_what_is_left_out_is_of_enough_people(counts: list[int]) -> None:
    answer = told(counts)
    out = [n for n, tell in zip(counts, answer, strict=True) if not tell]
    assert not any(few(n) for n, tell in zip(counts, answer, strict=True) if tell)
    assert not few(sum(out)) or len(out) == sum(n > 0 for n in counts), "all are left out of few people in all"
    assert not few(min(counts, default=0)) or out
    assert all(map(few, counts)) or not out or few(min(out)), "nothing is left out without need"


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS), min_size=1, max_size=8))
def test_what_is_left_out_of_each_group_is_of_enough_people(counts: list[tuple[int, int, int]]) -> None:
    parts, answer = np.array(counts), told(counts)
    assert not ((parts[answer] > 0) & (parts[answer] < FEWEST)).any()
    for group in parts.T:
        assert not few(group[~answer].sum()) or not group[answer].any()
