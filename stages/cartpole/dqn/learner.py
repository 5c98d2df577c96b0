"""The Q-learning updates, many in one TensorFlow call, and the greedy policy.

Source: Mnih et al., "Human-level control through deep reinforcement learning" (2015); van Hasselt et al. (2016)
for double Q-learning, Wang et al. (2016) for dueling, Hessel et al. (2018) for n-step returns. It departs from the
first in the squared error in place of Huber's, Adam in place of RMSProp, and in many updates per call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.cartpole import model
from stages.cartpole.dqn.replay import Indices, Transitions, transition_type
from stages.cartpole.model import Floats, split
from stages.cartpole.params import Train
from stages.training.checkpoint import Arrays

# Adam's constants as in Kingma and Ba (2015).
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class QLearner:
    """The Q-network's weights, its target network's, and Adam's state.

    Args:
        config: the network's configuration, as `model.build` takes it.
        train: the training run's parameters.
        random: generator of the initial weights.
        stored: type of observations that are stored as they are; None: transitions hold them scaled.
    """

    def __init__(self, config: dict[str, Any], train: Train, random: np.random.Generator, stored: Any = None) -> None:
        initial = model.initial(config, random)
        zeros = np.zeros_like(initial)
        self.arrays: Arrays = {"state": np.stack([initial, initial, zeros, zeros])}
        self.updates = 0
        self._learn = _compile(config, train)
        self._averaged = train.tau < 1
        self._stored = stored
        self._shape, self._observations = (train.gradient_steps, train.batch_size), config["observations"]

    @property
    def online(self) -> Floats:
        """Weights of the Q-network [parameters]."""
        weights: Floats = self.arrays["state"][0]
        return weights

    @property
    def target(self) -> Floats:
        """Weights of the target network [parameters]."""
        weights: Floats = self.arrays["state"][1]
        return weights

    @property
    def saved(self) -> Floats:
        """Weights of the network that trials play and that is saved [parameters].

        With `tau` below 1 that is the target network, a moving average of the online one: it plays more evenly (Polyak
        and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992).
        """
        return self.target if self._averaged else self.online

    def compile(self) -> None:
        """Trace and compile now instead of in the first `learn`, by a call whose result is dropped."""
        given: list[npt.NDArray[Any]] = [np.zeros(self._shape, transition_type(self._observations, bool(self._stored)))]
        given += [np.zeros((*self._shape, self._observations), self._stored)] * 2 if self._stored else []
        self._call(given[0], np.zeros(self._shape, np.float32), given[1:])

    def learn(self, transitions: Transitions, weights: Floats, observations: Sequence[npt.NDArray[Any]] = ()) -> Floats:
        """Make one update per batch.

        Args:
            transitions: [gradient steps, batch].
            weights: importance weights [gradient steps, batch].
            observations: before and after the transitions, [gradient steps, batch, observations] each, if they are not
                in them.

        Returns:
            The temporal-difference errors before each update, float32 [gradient steps, batch].
        """
        state, errors = self._call(transitions, weights, observations)
        self.arrays["state"][...] = state
        self.updates += self._shape[0]
        return errors.numpy()  # type: ignore[no-any-return]

    def _call(self, transitions: Transitions, weights: Floats, observations: Sequence[npt.NDArray[Any]]) -> Any:
        if observations:
            rows = np.stack([transitions[name] for name in ("action", "return", "discount")], axis=-1)
        else:
            rows = transitions.view(np.float32).reshape(*self._shape, -1)
        return self._learn(self.arrays["state"], np.int32(self.updates), [rows, *observations], weights)


class Policy:
    """The greedy policy of a Q-network in NumPy: for a few observations several times as fast as a TensorFlow call.

    Args:
        config: the network's configuration, as `model.build` takes it.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.scale = np.broadcast_to(config["observation_scale"], config["observations"]).astype(np.float32)

    def set_weights(self, flat: Floats) -> None:
        """Use these weights [parameters]."""
        layers, first = split(flat, self.config), 2 * len(_convolutions(self.config))
        self._filters, layers = layers[:first], layers[first:]
        self._kernels = layers[::2]
        shifts: list[Floats] = []
        # max(x + b, 0) is max(x, -b) + b, and b moves into the next layer's bias: one pass over the values less.
        for kernel, bias in zip(self._kernels, layers[1::2], strict=True):
            shifts.append(bias + shifts[-1] @ kernel if shifts else bias)
        self._floors, self._head = [-shift for shift in shifts[:-1]], shifts[-1]

    def __call__(self, scaled: Floats) -> Indices:
        """Best actions int64 [n] for observations divided by their scale, float32 [n, observations]."""
        values = self._convolved(scaled) if self._filters else scaled
        for kernel, floor in zip(self._kernels[:-1], self._floors, strict=True):
            values = values @ kernel
            np.maximum(values, floor, out=values)
        values = values @ self._kernels[-1] + self._head
        # A dueling head's state value adds the same to every action, so the advantages decide.
        best: Indices = np.argmax(values[:, self.config["dueling"] :], axis=1)
        return best

    def _convolved(self, scaled: Floats) -> Floats:
        values: Floats = _pixels(scaled, self.config, np.transpose, np.reshape)
        pairs = zip(self._filters[::2], self._filters[1::2], strict=True)
        for (kernel, bias), (_, size, stride) in zip(pairs, _convolutions(self.config), strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(values, (size, size), (1, 2))[:, ::stride, ::stride]
            # [n, height, width, channels, size, size] to [n, height, width, size * size * channels]
            patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], -1)
            values = patches @ kernel.reshape(-1, kernel.shape[-1])
            values += bias
            np.maximum(values, 0, out=values)
        return values.reshape(len(values), -1)


def _convolutions(config: dict[str, Any]) -> list[list[int]]:
    return config["image"]["convolutions"] if "image" in config else []


def _pixels(flat: Any, config: dict[str, Any], transpose: Callable[..., Any], reshape: Callable[..., Any]) -> Any:
    """Flat observations [n, observations] as images [n, height, width, channels]."""
    shaped = reshape(flat, [-1, *config["image"]["shape"]])
    return reshape(
        transpose(shaped, [0, *(axis + 1 for axis in config["image"]["axes"])]), [-1, *config["image"]["grid"]]
    )


def _q_values(weights: list[tf.Tensor], scaled: tf.Tensor, config: dict[str, Any]) -> tf.Tensor:
    values, convolutions = scaled, _convolutions(config)
    if convolutions:
        values = _pixels(scaled, config, tf.transpose, tf.reshape)
        for layer, (_, _, stride) in enumerate(convolutions):
            kernel, bias = weights[2 * layer : 2 * layer + 2]
            values = tf.nn.relu(tf.nn.conv2d(values, kernel, stride, "VALID") + bias)
        values = tf.reshape(values, [-1, weights[2 * len(convolutions)].shape[0]])
    for layer in range(2 * len(convolutions), len(weights) - 2, 2):
        values = tf.nn.relu(values @ weights[layer] + weights[layer + 1])
    values = values @ weights[-2] + weights[-1]
    if not config["dueling"]:
        return values
    state, advantages = values[:, :1], values[:, 1:]
    return state + advantages - tf.reduce_mean(advantages, axis=1, keepdims=True)


def _compile(config: dict[str, Any], train: Train) -> Callable[..., Any]:
    """The compiled call: state, updates made, transitions and importance weights to the new state and the errors.

    The state [4, parameters] holds the weights of the online and the target network, and Adam's two moments.
    """
    actions, shapes = config["actions"], model.shapes(config)
    sizes = [math.prod(shape) for shape in shapes]
    fields = [config["observations"], 1, 1, 1, config["observations"]]  # of a transition
    scale = np.broadcast_to(config["observation_scale"], config["observations"]).astype(np.float32)

    def layers(flat: tf.Tensor) -> list[tf.Tensor]:
        return [tf.reshape(part, shape) for part, shape in zip(tf.split(flat, sizes), shapes, strict=True)]

    def td_target(online: Any, target: Any, reward: tf.Tensor, discount: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
        values = _q_values(target, after, config)
        best = tf.argmax(_q_values(online, after, config) if train.double_q else values, axis=1)
        value = reward + discount * tf.reduce_sum(values * tf.one_hot(best, actions), axis=1)
        return value if train.target_clip is None else tf.clip_by_value(value, *train.target_clip)

    def update(state: Any, batch: list[tf.Tensor], weight: tf.Tensor, rate: tf.Tensor, tau: tf.Tensor) -> Any:
        online, target, mean, square = state
        if len(batch) == 1:
            observation, action, reward, discount, after = tf.split(batch[0], fields, axis=1)
        else:  # numbers, and observations as they were stored
            action, reward, discount = tf.split(batch[0], 3, axis=1)
            observation, after = (tf.cast(stored, tf.float32) / scale for stored in batch[1:])
        action, reward, discount = (tf.squeeze(part, axis=1) for part in (action, reward, discount))
        kernels = layers(online)
        goal = td_target(kernels, layers(target), reward, discount, after)
        taken = tf.one_hot(tf.cast(action, tf.int32), actions)
        with tf.GradientTape() as tape:
            tape.watch(kernels)
            error = goal - tf.reduce_sum(_q_values(kernels, observation, config) * taken, axis=1)
            loss = tf.reduce_mean(weight * error**2)
        gradient = tf.concat([tf.reshape(part, [-1]) for part in tape.gradient(loss, kernels)], axis=0)
        mean += (gradient - mean) * (1 - BETA_1)
        square += (gradient**2 - square) * (1 - BETA_2)
        online -= rate * mean / (tf.sqrt(square) + EPSILON)
        target = tau * online + (1.0 - tau) * target
        return (online, target, mean, square), error

    # A loop, so that one update is traced and compiled: sixteen in a row take sixteen times as long to compile.
    @tf.function(jit_compile=train.jit_compile, autograph=False)  # type: ignore[untyped-decorator]
    def learn(state: tf.Tensor, updates: tf.Tensor, transitions: list[tf.Tensor], weights: tf.Tensor) -> Any:
        counts = updates + tf.range(1, train.gradient_steps + 1)
        times = tf.cast(counts, tf.float32)
        rates = train.learning_rate * tf.sqrt(1 - BETA_2**times) / (1 - BETA_1**times)
        taus = train.tau * tf.cast(counts % train.target_update_interval == 0, tf.float32)

        def body(index: tf.Tensor, state: Any, errors: tf.Tensor) -> Any:
            batch = [part[index] for part in transitions]
            state, error = update(state, batch, weights[index], rates[index], taus[index])
            return index + 1, state, tf.tensor_scatter_nd_update(errors, [[index]], [error])

        first = (0, tuple(tf.unstack(state)), tf.zeros([train.gradient_steps, train.batch_size]))
        _, state, errors = tf.while_loop(lambda index, *_: index < train.gradient_steps, body, first)
        return tf.stack(state), errors

    return learn  # type: ignore[no-any-return]
