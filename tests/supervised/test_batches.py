import numpy as np
import pytest

from stages.supervised import batches
from stages.supervised.batches import batch_indices


def test_an_epoch_is_a_permutation_and_differs_from_the_next() -> None:
    first = batch_indices(0, 6, 50, 8, seed=1)
    assert len(set(first.ravel())) == 48
    assert (batch_indices(2, 6, 50, 8, seed=1) == first[2:]).all()
    assert (batch_indices(6, 12, 50, 8, seed=1) != first).any()
    assert (batch_indices(0, 6, 50, 8, seed=2) != first).any()


@pytest.mark.parametrize("examples", [2, 3, 50, 1000, 4097])
def test_an_order_that_is_not_shuffled_as_a_whole_is_a_permutation_too(
    monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    monkeypatch.setattr(batches, "MOST_SHUFFLED", 1)
    order = batch_indices(0, examples, examples, 1, seed=1).ravel()
    assert sorted(order.tolist()) == list(range(examples)) and order.dtype == np.int64
    steps = batches.steps_per_epoch(examples, 1)
    if examples > 40:
        assert (batch_indices(7, 9, examples, 1, seed=1).ravel() == order[7:9]).all()
        for other in (batch_indices(0, steps, examples, 1, 2), batch_indices(steps, 2 * steps, examples, 1, 1)):
            assert (other.ravel() != order).mean() > 0.9
        places = np.arange(examples)
        for seen in (order, np.diff(order, append=0)):
            assert abs(np.corrcoef(places, seen)[0, 1]) < 5 / examples**0.5


def test_a_batch_of_very_many_examples_is_made_at_once() -> None:
    """All of this order would take a quarter of a terabyte."""
    indices = batch_indices(10**9, 10**9 + 2, 1 << 36, 4, seed=3)
    assert indices.shape == (2, 4) and len({*indices.ravel()}) == 8 and indices.max() < 1 << 36


def test_an_order_stays_as_it_is() -> None:
    """A run that resumes with other code sees the examples that it would have seen."""
    assert batch_indices(10**9, 10**9 + 2, 1 << 36, 4, seed=3).tolist() == [
        [19671569997, 61732227014, 9669253172, 48526909509],
        [36101549365, 24154657802, 67985370725, 67931087981],
    ]
    assert batch_indices(0, 1, (1 << 24) + 1, 4, seed=3).tolist() == [[409190, 1024775, 12357610, 13297166]]
