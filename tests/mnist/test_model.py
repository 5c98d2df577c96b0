import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.mnist.model import PIXELS, BatchNormalization, build, dropout_factors, train_outputs


def test_batches_are_normalized_as_keras_normalizes_them() -> None:
    values = tf.constant(np.random.default_rng(3).normal(3, 2, (16, 5, 5, 4)).astype(np.float32))
    upstream = tf.constant(np.random.default_rng(4).normal(size=(16, 5, 5, 4)).astype(np.float32))
    ours, theirs = (kind(momentum=0.9) for kind in (BatchNormalization, keras.layers.BatchNormalization))
    results = []
    for layer in ours, theirs:
        layer.build(values.shape)
        for _ in range(3):
            with tf.GradientTape() as tape:
                tape.watch(values)
                if layer is ours:
                    outputs, moved = ours.train_outputs(values)
                else:
                    outputs = theirs(values, training=True)
            gradients = tape.gradient(outputs, [values, *layer.trainable_variables], upstream)
            if layer is ours:
                for variable, value in zip(ours.moving_statistics, moved, strict=True):
                    variable.assign(value)
        moving = [variable.numpy() for variable in layer.non_trainable_variables]
        results.append([outputs, *gradients, *moving, layer(values, training=False)])
    for own, expected in zip(*results, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-5)


def test_dropout_draws_zeros_at_its_rate_and_keeps_the_mean() -> None:
    model = build({"kind": "strided", "classes": 10, "dropout": 0.3})
    (factors,) = dropout_factors(model, 64, tf.constant([1, 2], tf.int64))
    assert factors.shape == (64, 5 * 5 * 64)
    assert float(tf.reduce_mean(tf.cast(factors == 0, tf.float32))) == pytest.approx(0.3, abs=0.01)
    assert float(tf.reduce_mean(factors)) == pytest.approx(1, abs=0.01)
    pixels = np.random.default_rng(0).random((64, PIXELS)).astype(np.float32)
    dropped, _ = train_outputs(model, pixels, [factors])
    every, _ = train_outputs(model, pixels, [tf.ones_like(factors)])
    again, _ = train_outputs(model, pixels, [factors])
    assert (dropped.numpy() == again.numpy()).all(), "the network keeps no state of its own"
    assert (dropped.numpy() != every.numpy()).any()
    without = build({"kind": "strided", "classes": 10, "dropout": 0.0})
    assert dropout_factors(without, 64, tf.constant([1, 2], tf.int64)) == []


@pytest.mark.parametrize(("network", "parameters"), [("strided", 55170), ("original", 3274634)])
def test_networks_have_their_size(network: str, parameters: int) -> None:
    model = build({"kind": network, "classes": 10, "dropout": 0.5})
    assert model.count_params() == parameters
    assert model(np.zeros((2, PIXELS), np.float32)).shape == (2, 10)
