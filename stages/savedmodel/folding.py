"""Batch normalisation folded into the layers before it, for models that only predict.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(2018), section 3.2.
"""

from itertools import pairwise
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def _can_absorb(layer: keras.Layer, following: keras.Layer) -> bool:
    """Whether `following` normalises the outputs of `layer`, and these are linear in its kernel."""
    return (
        isinstance(following, keras.layers.BatchNormalization)
        and isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
        and layer.activation is keras.activations.linear
    )


def _absorb(weights: list[Floats], normalization: keras.layers.BatchNormalization) -> list[Floats]:
    """The kernel and bias of a layer that does what a kernel, perhaps a bias, and a normalisation do."""
    kernel, bias, *_ = [*weights, np.zeros(weights[0].shape[-1])]
    *scale_and_offset, mean, variance = normalization.get_weights()
    scale = scale_and_offset.pop(0) if normalization.scale else 1.0
    offset = scale_and_offset.pop() if normalization.center else 0.0
    scale = scale / np.sqrt(variance.astype(np.float64) + normalization.epsilon)
    return [kernel * scale, (bias - mean) * scale + offset]


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Return a model that predicts what `model` predicts, without its batch normalisation.

    Each `BatchNormalization` that follows a `Conv2D` or `Dense` in a `Sequential` model becomes part of that layer's
    kernel and bias. Other models are returned unchanged.
    """
    absorbed = {
        layer.name: following
        for layer, following in (pairwise(model.layers) if isinstance(model, keras.Sequential) else ())
        if _can_absorb(layer, following)
    }
    if not absorbed:
        return model
    dropped = {layer.name for layer in absorbed.values()}
    kept = [layer for layer in model.layers if layer.name not in dropped]
    folded = keras.Sequential([keras.Input(model.input_shape[1:])])
    for layer in kept:
        bias = {"use_bias": True} if layer.name in absorbed else {}
        folded.add(type(layer).from_config(layer.get_config() | bias))
    for layer, new in zip(kept, folded.layers, strict=True):
        weights = layer.get_weights()
        if layer.name in absorbed:
            weights = _absorb(weights, absorbed[layer.name])
        new.set_weights(weights)
    return folded
