"""Batch normalisation folded into the layers before it, for models that only predict.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(2018), section 3.2.
"""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def _normalizes(layer: keras.Layer | None) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


def _can_absorb(layer: keras.Layer | None, following: keras.Layer | None) -> bool:
    """Whether `following` normalises the outputs of `layer`, and these are linear in its kernel."""
    return (
        _normalizes(following)
        and isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
        and layer.activation is keras.activations.linear
    )


def _scale_and_offset(normalization: keras.layers.BatchNormalization) -> tuple[Floats, Floats]:
    """What a normalisation multiplies its inputs by, and then adds, per channel."""
    *parameters, mean, variance = normalization.get_weights()
    gamma = parameters.pop(0) if normalization.scale else 1.0
    beta = parameters.pop() if normalization.center else 0.0
    scale = gamma / np.sqrt(variance.astype(np.float64) + normalization.epsilon)
    return scale, beta - mean * scale


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Return a model that predicts what `model` predicts, without its batch normalisation.

    In a `Sequential` model each `BatchNormalization` that follows a `Conv2D` or `Dense` becomes part of that layer's
    kernel and bias, and every other one a `Rescaling` by constants. Other models are returned unchanged.
    """
    layers = model.layers
    if not isinstance(model, keras.Sequential) or not any(map(_normalizes, layers)):
        return model
    folded = keras.Sequential([keras.Input(model.input_shape[1:])])
    for before, layer, after in zip([None, *layers], layers, [*layers[1:], None], strict=False):
        if _can_absorb(before, layer):
            continue
        config: dict[str, Any] = layer.get_config()
        weights: list[Floats] = layer.get_weights()
        if _normalizes(layer):
            scale, offset = _scale_and_offset(layer)
            folded.add(keras.layers.Rescaling(scale.tolist(), offset.tolist()))
            continue
        if _can_absorb(layer, after):
            scale, offset = _scale_and_offset(after)
            kernel, bias, *_ = [*weights, np.zeros(len(scale))]
            config, weights = config | {"use_bias": True}, [kernel * scale, bias * scale + offset]
        folded.add(type(layer).from_config(config))
        folded.layers[-1].set_weights(weights)
    return folded
