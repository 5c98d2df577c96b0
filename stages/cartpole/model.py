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
    """The network: observations float32 [n, observations] to action values float32 [n, actions].

    Args:
        config: what `configuration` returns.
    """
    import keras

    inputs = keras.Input([config["observations"]])
    scale = np.broadcast_to(config["observation_scale"], config["observations"])
    values = keras.layers.Rescaling((1 / scale).tolist())(inputs)
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

    spec = tf.TensorSpec([None, config["observations"]], tf.float32, names.input_name)
    return tf.function(act).get_concrete_function(spec)


def configuration(model: Network, observations: int, actions: int) -> dict[str, Any]:
    """What `build` takes: the section's keys and the environment's sizes."""
    return {**model.model_dump(), "observations": observations, "actions": actions}


# Training holds all weights in one flat vector: one array to update, to compile for and to save.


def shapes(config: dict[str, Any]) -> list[tuple[int, ...]]:
    """Shapes of kernel and bias of each layer, in order; a dueling head has one column more, for the state."""
    head = config["actions"] + config["dueling"]
    sizes = [config["observations"], *config["hidden_units"], head]
    return [shape for pair in itertools.pairwise(sizes) for shape in (pair, pair[1:])]


def split(flat: Floats, config: dict[str, Any]) -> list[Floats]:
    """Cut a flat vector [parameters] into kernels and biases, which share its memory."""
    ends = itertools.accumulate(math.prod(shape) for shape in shapes(config))
    return [part.reshape(shape) for part, shape in zip(np.split(flat, list(ends)[:-1]), shapes(config), strict=True)]


def initial(config: dict[str, Any], random: np.random.Generator) -> Floats:
    """First weights, flat: uniform kernels for ReLU (He et al. 2015), the last times `head_scale`; zero biases."""
    parts = []
    for shape in shapes(config):
        limit = math.sqrt(6 / shape[0]) if len(shape) == 2 else 0.0
        parts.append(random.uniform(-limit, limit, shape).ravel())
    parts[-2] *= config["head_scale"]
    return np.concatenate(parts).astype(np.float32)


def save(flat: Floats, config: dict[str, Any], path: Path) -> None:
    """Write weights as Keras does (`.weights.h5`), without importing Keras: that takes longer than to train."""
    with h5py.File(path, "w") as file:
        for index, array in enumerate(split(flat, config)):
            layer, part = divmod(index, 2)
            file[f"layers/dense{f'_{layer}' if layer else ''}/vars/{part}"] = array
