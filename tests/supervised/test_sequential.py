import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.supervised.sequential import dropout_factors, predict_outputs, train_outputs


def network(*layers: keras.layers.Layer) -> keras.Sequential:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input([5, 5, 4]), *layers])


def inputs(rows: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(3).normal(3, 2, (rows, 5, 5, 4)).astype(np.float32))


def test_batches_are_normalized_as_keras_normalizes_them() -> None:
    values, results = inputs(16), []
    upstream = tf.constant(np.random.default_rng(4).normal(size=(16, 5, 5, 4)).astype(np.float32))
    for ours in True, False:
        model = network(keras.layers.BatchNormalization(momentum=0.9))
        for _ in range(3):
            with tf.GradientTape() as tape:
                tape.watch(values)
                outputs = train_outputs(model, values, []) if ours else model(values, training=True)
            gradients = tape.gradient(outputs, [values, *(v.value for v in model.trainable_variables)], upstream)
        moving = [variable.numpy() for variable in model.non_trainable_variables]
        predicted = predict_outputs(model, values) if ours else model(values, training=False)
        results.append([outputs, *gradients, *moving, predicted])
    for own, expected in zip(*results, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-5)


def test_dropout_draws_zeros_at_its_rate_and_keeps_the_mean() -> None:
    model = network(keras.layers.Flatten(), keras.layers.Dropout(0.3), keras.layers.Dense(10))
    (factors,) = dropout_factors(model, 640, tf.constant([1, 2], tf.int64))
    assert factors.shape == (640, 5 * 5 * 4)
    assert float(tf.reduce_mean(tf.cast(factors == 0, tf.float32))) == pytest.approx(0.3, abs=0.01)
    assert float(tf.reduce_mean(factors)) == pytest.approx(1, abs=0.01)
    values = inputs(640)
    dropped, every = train_outputs(model, values, [factors]), train_outputs(model, values, [tf.ones_like(factors)])
    assert (dropped.numpy() == train_outputs(model, values, [factors]).numpy()).all(), "the network keeps no state"
    assert (dropped.numpy() != every.numpy()).any()
    assert (predict_outputs(model, values).numpy() == every.numpy()).all()
    assert dropout_factors(network(keras.layers.Dropout(0.0)), 64, tf.constant([1, 2], tf.int64)) == []
