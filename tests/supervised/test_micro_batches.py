import numpy as np
import pytest
import tensorflow as tf

from stages.supervised.micro_batches import MicroBatches, pairwise_sum


def test_micro_batches_are_consecutive_rows() -> None:
    rows, labels = tf.reshape(tf.range(24), [12, 2]), tf.range(12)
    found = list(MicroBatches(4, 1).split([rows, labels]))
    assert [index for index, _ in found] == [0, 1, 2, 3]
    assert [part.numpy().tolist() for _, (_, part) in found] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert (np.concatenate([part.numpy() for _, (part, _) in found]) == rows.numpy()).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8])
def test_a_pairwise_sum_is_the_sum(count: int) -> None:
    values = np.random.default_rng(count).normal(size=(count, 5)).astype(np.float32)
    np.testing.assert_allclose(pairwise_sum(list(tf.constant(values))), values.sum(axis=0), rtol=1e-5, atol=1e-6)


def test_sums_of_halves_added_are_the_sum_of_all() -> None:
    values = [tf.constant(v) for v in np.random.default_rng(0).normal(size=(8, 1000)).astype(np.float32)]
    halves = pairwise_sum(values[:4]) + pairwise_sum(values[4:])
    assert (pairwise_sum(values).numpy() == halves.numpy()).all()
    assert (pairwise_sum(values).numpy() != sum(values, tf.zeros(1000)).numpy()).any(), "the order matters"


def test_each_tensor_is_summed_over_the_micro_batches() -> None:
    first, second = MicroBatches(2, 1).sum([[tf.constant(1.0), tf.ones([2])], [tf.constant(2.0), tf.ones([2])]])
    assert float(first) == 3 and second.numpy().tolist() == [2, 2]
