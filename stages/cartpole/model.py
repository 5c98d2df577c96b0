"""The Q-network, its serving function and the flat layout of its weights in training."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.cartpole.params import Network, SignatureNames

if TYPE_CHECKING:
    import keras

Floats = npt.NDArray[np.float32]


def build(config: dict[str, Any]) -> keras.Model:
    """The network: observations [n, ...] to action values float32 [n, actions].

    Observations are float32 [n, observations], or images in the shape and type that the environment gives them.

    Args:
        config: what `configuration` returns.
    """
    import keras

    image = config.get("image")
    shape = image["shape"] if image else [config["observations"]]
    inputs = keras.Input(shape, dtype=image["dtype"] if image else None)
    scale = np.broadcast_to(config["observation_scale"], config["observations"]).reshape(shape)
    values = keras.layers.Rescaling((1 / scale).tolist())(inputs)
    if image:
        values = keras.layers.Permute([axis + 1 for axis in image["axes"]])(values)
        values = keras.layers.Reshape(image["grid"])(values)
        for filters, size, stride in image["convolutions"]:
            values = keras.layers.Conv2D(filters, size, stride, activation="relu")(values)
        values = keras.layers.Flatten()(values)
    for units in config["hidden_units"]:
        values = keras.layers.Dense(units, "relu")(values)
    values = keras.layers.Dense(config["actions"] + config["dueling"])(values)
    if config["dueling"]:
        state, advantages = values[:, :1], values[:, 1:]
        values = state + advantages - keras.ops.mean(advantages, axis=1, keepdims=True)
    return keras.Model(inputs, values)


def serving_function(model: keras.Model, config: dict[str, Any], names: SignatureNames) -> Any:
    """The serving function: observations to greedy `actions` int64 [n] and `q_values` float32 [n, actions]."""

    def act(observations: tf.Tensor) -> dict[str, tf.Tensor]:
        values = model(observations, training=False)
        return {"actions": tf.argmax(values, axis=1), "q_values": values}

    spec = tf.TensorSpec([None, *model.input_shape[1:]], model.input.dtype, names.input_name)
    return tf.function(act).get_concrete_function(spec)


def configuration(
    model: Network, observations: int, actions: int, image: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What `build` takes: the section's keys, the environment's sizes, and what `images.configuration` returns."""
    config = {**model.model_dump(), "observations": observations, "actions": actions}
    return config if image is None else {**config, "image": image}


# Training holds all weights in one flat vector: one array to update, to compile for and to save.


def shapes(config: dict[str, Any]) -> list[tuple[int, ...]]:
    """Shapes of kernel and bias of each layer, in order; a dueling head has one column more, for the state."""
    found: list[tuple[int, ...]] = []
    inputs = config["observations"]
    if image := config.get("image"):
        height, width, channels = image["grid"]
        for filters, size, stride in image["convolutions"]:
            found += [(size, size, channels, filters), (filters,)]
            height, width, channels = (height - size) // stride + 1, (width - size) // stride + 1, filters
        inputs = height * width * channels
    head = config["actions"] + config["dueling"]
    sizes = [inputs, *config["hidden_units"], head]
    return found + [shape for pair in itertools.pairwise(sizes) for shape in (pair, pair[1:])]


def split(flat: Floats, config: dict[str, Any]) -> list[Floats]:
    """Cut a flat vector [parameters] into kernels and biases, which share its memory."""
    ends = itertools.accumulate(math.prod(shape) for shape in shapes(config))
    return [part.reshape(shape) for part, shape in zip(np.split(flat, list(ends)[:-1]), shapes(config), strict=True)]


def initial(config: dict[str, Any], random: np.random.Generator) -> Floats:
    """First weights, flat: uniform kernels for ReLU (He et al. 2015), the last times `head_scale`; zero biases."""
    parts = []
    for shape in shapes(config):
        limit = math.sqrt(6 / math.prod(shape[:-1])) if len(shape) > 1 else 0.0
        parts.append(random.uniform(-limit, limit, shape).ravel())
    parts[-2] *= config["head_scale"]
    return np.concatenate(parts).astype(np.float32)


def save(flat: Floats, config: dict[str, Any], path: Path) -> None:
    """Write weights as Keras does (`.weights.h5`), without importing Keras: that takes longer than to train."""
    counts = {"conv2d": 0, "dense": 0}
    parts = split(flat, config)
    with h5py.File(path, "w") as file:
        for kernel, bias in zip(parts[::2], parts[1::2], strict=True):
            kind = "conv2d" if kernel.ndim == 4 else "dense"
            layer = f"layers/{kind}{f'_{counts[kind]}' if counts[kind] else ''}/vars"
            file[f"{layer}/0"], file[f"{layer}/1"] = kernel, bias
            counts[kind] += 1
