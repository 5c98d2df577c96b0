"""Batch normalisation folded into the layers before it, compared with Keras' own layer."""

import keras
import numpy as np
import pytest
from keras import layers

from stages.savedmodel.folding import fold_batch_normalization


def with_statistics(model: keras.Model) -> keras.Model:
    """Give every weight a value of its own, as if the model were trained."""
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.5, 1.5, value.shape) for value in model.get_weights()])
    return model


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}], ids=str)
def test_a_folded_model_predicts_the_same_with_fewer_weights(use_bias: bool, options: dict[str, bool]) -> None:
    blocks = [
        layers.Conv2D(6, 3, 2, "same", use_bias=use_bias),
        layers.BatchNormalization(**options),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(4, use_bias=use_bias),
        layers.BatchNormalization(**options),
    ]
    model = with_statistics(keras.Sequential([keras.Input([8, 8, 2]), *blocks]))
    folded = fold_batch_normalization(model)
    images = np.random.default_rng(1).normal(size=[5, 8, 8, 2]).astype(np.float32)
    expected = keras.ops.convert_to_numpy(model(images, training=False))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(folded(images)), expected, rtol=1e-5)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in folded.layers)
    assert [value.shape for value in folded.get_weights()] == [(3, 3, 2, 6), (6,), (96, 4), (4,)]


@pytest.mark.parametrize(
    "between", [[layers.Conv2D(6, 3, activation="relu")], [layers.Conv2D(6, 3), layers.MaxPooling2D(2)]]
)
def test_what_follows_no_linear_kernel_becomes_constants(between: list[keras.Layer]) -> None:
    blocks = [layers.BatchNormalization(), *between, layers.BatchNormalization()]
    model = with_statistics(keras.Sequential([keras.Input([8, 8, 2]), *blocks]))
    random = np.random.default_rng(2)
    model.layers[-1].gamma.assign(random.uniform(-1, 1, [6]))  # maxima do not commute with a negative scale
    folded = fold_batch_normalization(model)
    images = np.random.default_rng(1).normal(size=[5, 8, 8, 2]).astype(np.float32)
    expected = keras.ops.convert_to_numpy(model(images, training=False))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(folded(images)), expected, rtol=1e-5, atol=1e-6)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in folded.layers)


def test_a_functional_model_stays() -> None:
    inputs = keras.Input([4])
    functional = keras.Model(inputs, layers.BatchNormalization()(layers.Dense(3)(inputs)))
    assert fold_batch_normalization(functional) is functional
