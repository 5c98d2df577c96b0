"""Batch normalisation folded into the layers before it, for models that only predict.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(2018), section 3.2.
"""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def _is_linear(layer: keras.Layer | None) -> bool:
    """Whether a layer's outputs are linear in its kernel."""
    kinds = keras.layers.Conv2D | keras.layers.Dense
    return isinstance(layer, kinds) and layer.activation is keras.activations.linear


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
    normalization = keras.layers.BatchNormalization
    if not isinstance(model, keras.Sequential) or not any(isinstance(layer, normalization) for layer in model.layers):
        return model
    parts: list[tuple[type[keras.Layer], dict[str, Any], list[Floats]]] = []
    before: keras.Layer | None = None
    for layer in model.layers:
        if not isinstance(layer, normalization):
            parts.append((type(layer), layer.get_config(), layer.get_weights()))
        else:
            scale, offset = _scale_and_offset(layer)
            if _is_linear(before):
                kind, config, (kernel, *biases) = parts.pop()
                bias = biases[0] if biases else 0.0
                parts.append((kind, config | {"use_bias": True}, [kernel * scale, bias * scale + offset]))
            else:
                parts.append((keras.layers.Rescaling, {"scale": scale.tolist(), "offset": offset.tolist()}, []))
        before = layer
    folded = keras.Sequential([keras.Input(model.input_shape[1:])])
    for kind, config, weights in parts:
        folded.add(kind.from_config(config))
        folded.layers[-1].set_weights(weights)
    return folded
