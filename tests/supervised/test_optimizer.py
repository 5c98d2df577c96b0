import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.supervised.optimizer import Adam
from tests.supervised.task import training


def rates(**changes: object) -> list[float]:
    params = training(**changes)
    factors = Adam([tf.Variable([0.0])], params).factors(0, params.steps)
    return [float(rate) for rate in factors[:, 0]]


def test_one_cycle_warms_up_and_decays_to_zero() -> None:
    found = rates(steps=100)
    assert found.index(max(found)) == 25 and max(found) == pytest.approx(0.1)
    assert found[0] == pytest.approx(0.1 / 25)
    assert found[62] == pytest.approx(0.1 * (1 + np.cos(np.pi * 37 / 75)) / 2, rel=1e-5)
    assert 0 < found[99] < 1e-4
    assert found[25:] == sorted(found[25:], reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_cycle_of_few_steps_has_a_rate_for_each(steps: int) -> None:
    assert all(0 < rate < 0.1001 for rate in rates(steps=steps))


def test_a_constant_rate_stays() -> None:
    assert set(rates(schedule="constant", steps=1000)) == {float(np.float32(0.1))}


def test_adam_takes_the_steps_of_keras_adam() -> None:
    start = np.random.default_rng(2).normal(size=(2, 7)).astype("float32")
    ours, theirs = tf.Variable(start), keras.Variable(start)
    fused, plain = Adam([ours], training(schedule="constant")), keras.optimizers.Adam(0.1)
    for step, factors in enumerate(fused.factors(0, 20)):
        gradient = tf.constant(np.random.default_rng(step).normal(size=start.shape).astype(np.float32))
        fused.apply([gradient], tf.constant(factors))
        plain.apply([gradient], [theirs])
    assert np.abs(ours.numpy() - start).max() > 0.3
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=3e-5)  # 1 - 0.999 in float32 is 4e-5 off
    for own, expected in zip(fused.variables, plain.variables[2:], strict=True):  # after the steps and the rate
        np.testing.assert_allclose(own.numpy(), expected.numpy(), rtol=1e-4, atol=1e-6)


def test_the_factors_of_a_step_do_not_depend_on_the_chunk() -> None:
    adam = Adam([tf.Variable([0.0])], training())
    assert (adam.factors(0, 40)[13:17] == adam.factors(13, 17)).all()
