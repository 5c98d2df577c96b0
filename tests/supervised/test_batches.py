from stages.supervised.batches import batch_indices


def test_an_epoch_is_a_permutation_and_differs_from_the_next() -> None:
    first = batch_indices(0, 6, 50, 8, seed=1)
    assert len(set(first.ravel())) == 48
    assert (batch_indices(2, 6, 50, 8, seed=1) == first[2:]).all()
    assert (batch_indices(6, 12, 50, 8, seed=1) != first).any()
    assert (batch_indices(0, 6, 50, 8, seed=2) != first).any()
