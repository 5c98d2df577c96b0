"""The agent: it acts in NumPy, and learns in one TensorFlow call that makes many updates.

Source: Mnih et al., "Human-level control through deep reinforcement learning" (2015); van Hasselt et al. (2016)
for double, Wang et al. (2016) for dueling, Hessel et al. (2018) for n-step. It departs from the first in the squared
error in place of Huber's, Adam in place of RMSProp, and in many updates a call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.cartpole import model
from stages.cartpole import params as schema
from stages.cartpole.dqn.replay import Transitions, transition
from stages.cartpole.model import Floats, initial, split
from stages.cartpole.params import Train
from stages.core.errors import InputError
from stages.training.checkpoint import Arrays

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# Adam's constants as in Kingma and Ba (2015).
DECAY_1, DECAY_2, EPSILON = 0.9, 0.999, 1e-8


def environments(name: str, count: int) -> gym.vector.VectorEnv:
    """Several copies of an environment, stepped together: by its own vectorised code if it has some.

    After an episode's end the next step resets: it ignores the action and gives the first observation.

    Raises:
        InputError: if it does not exist, or is none that a DQN of flat observations can play.
    """
    gym.logger.min_level = gym.logger.ERROR  # it says that CartPole-v0 is out of date
    try:
        envs = gym.make_vec(name, count)
    except (gym.error.Error, ImportError) as error:
        raise InputError(f"cartpole.train.env: {name!r}: {' '.join(str(error).split())}") from None
    observation, action = envs.single_observation_space, envs.single_action_space
    if not isinstance(observation, gym.spaces.Box) or len(observation.shape) != 1:
        raise InputError(f"cartpole.train.env: {name}: expected a flat Box of observations, found {observation}")
    if not isinstance(action, gym.spaces.Discrete):
        raise InputError(f"cartpole.train.env: {name}: expected Discrete actions, found {action}")
    mode = envs.metadata.get("autoreset_mode")
    if mode != gym.vector.AutoresetMode.NEXT_STEP:
        raise InputError(f"cartpole.train.env: {name}: expected environments that reset on the next step, found {mode}")
    return envs


class Policy:
    """Greedy actions and action values in NumPy.

    Args:
        config: what `model.build` takes.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.scale = np.broadcast_to(config["observation_scale"], config["observations"]).astype(np.float32)

    def set(self, flat: Floats) -> None:
        """Take these weights."""
        layers = split(flat, self.config)
        self._kernels = layers[::2]
        shifts: list[Floats] = []
        # max(x + b, 0) is max(x, -b) + b, where b can wait: it adds the same to every row of the next layer.
        for kernel, bias in zip(self._kernels, layers[1::2], strict=True):
            shifts.append(bias + shifts[-1] @ kernel if shifts else bias)
        self._least, self._head = [-shift for shift in shifts[:-1]], shifts[-1]

    def __call__(self, scaled: Floats) -> Indices:
        """Best actions int64 [n] for observations that are divided by their scale, float32 [n, observations]."""
        values = scaled
        for kernel, least in zip(self._kernels[:-1], self._least, strict=True):
            values = values @ kernel
            np.maximum(values, least, out=values)
        values = values @ self._kernels[-1] + self._head
        # What dueling adds to every action alike does not change which is best.
        best: Indices = np.argmax(values[:, self.config["dueling"] :], axis=1)
        return best


class Exploration:
    """Random actions instead of greedy ones, each kept for a geometric number of steps.

    With `hold` 1 this is epsilon-greedy; longer ones reach further (Dabney et al., "Temporally-extended
    epsilon-greedy exploration", 2021).

    Args:
        schedule: the share of random actions.
        envs: number of environments.
        actions: number of actions.
    """

    def __init__(self, schedule: schema.Exploration, envs: int, actions: int) -> None:
        self.schedule, self.actions = schedule, actions
        self.arrays: Arrays = {"action": np.zeros(envs, np.int64), "left": np.zeros(envs, np.int64)}

    def share(self, step: int) -> float:
        """Share of random actions at an environment step."""
        done = min(step / self.schedule.steps, 1.0)
        return self.schedule.start + (self.schedule.end - self.schedule.start) * done

    def replace(self, greedy: Indices, step: int, random: np.random.Generator) -> Indices:
        """Actions [envs] to take where `greedy` are the best."""
        action, left = self.arrays["action"], self.arrays["left"]
        chance, pick = random.random((2, len(left)))
        begin = (left == 0) & (chance < self.share(step))
        np.copyto(action, (pick * self.actions).astype(np.int64), where=begin)
        np.copyto(left, random.geometric(1 / self.schedule.hold, len(left)), where=begin)
        taken = np.where(left > 0, action, greedy)
        np.maximum(left - 1, 0, out=left)
        return taken


def _values(weights: list[tf.Tensor], scaled: tf.Tensor, dueling: bool) -> tf.Tensor:
    values = scaled
    for layer in range(0, len(weights) - 2, 2):
        values = tf.nn.relu(values @ weights[layer] + weights[layer + 1])
    values = values @ weights[-2] + weights[-1]
    if not dueling:
        return values
    state, advantages = values[:, :1], values[:, 1:]
    return state + advantages - tf.reduce_mean(advantages, axis=1, keepdims=True)


class Learner:
    """Weights and optimiser, and the one call that makes `updates` steps of gradient descent.

    Args:
        config: what `model.build` takes.
        train: the learner's numbers.
        random: what draws the first weights.
    """

    def __init__(self, config: dict[str, Any], train: Train, random: np.random.Generator) -> None:
        first = initial(config, random)
        self.arrays: Arrays = {
            "state": np.stack([first, first, np.zeros_like(first), np.zeros_like(first)]),
            "updates": np.zeros((), np.int32),
        }
        self._update = _compile(config, train)
        self._shape, self._observations = (train.updates, train.batch_size), config["observations"]

    @property
    def online(self) -> Floats:
        """Weights that learn [parameters]."""
        weights: Floats = self.arrays["state"][0]
        return weights

    @property
    def target(self) -> Floats:
        """Weights that value what comes after [parameters]."""
        weights: Floats = self.arrays["state"][1]
        return weights

    @property
    def updates(self) -> int:
        """Updates made."""
        return int(self.arrays["updates"])

    def compile(self) -> None:
        """Trace and compile now what the first `learn` would: a call with nothing in it, whose result is dropped."""
        nothing = np.zeros(self._shape, transition(self._observations))
        self._call(nothing, np.zeros(self._shape, np.float32))

    def learn(self, transitions: Transitions, weights: Floats) -> Floats:
        """Make one update with each batch.

        Args:
            transitions: [updates, batch].
            weights: of their importance, [updates, batch].

        Returns:
            The temporal-difference errors before each update, float32 [updates, batch].
        """
        state, updates, errors = self._call(transitions, weights)
        self.arrays = {"state": np.asarray(state), "updates": np.asarray(updates)}
        return errors.numpy()  # type: ignore[no-any-return]

    def _call(self, transitions: Transitions, weights: Floats) -> Any:
        rows = transitions.view(np.float32).reshape(*self._shape, -1)
        return self._update(self.arrays["state"], self.arrays["updates"], rows, weights)


def _compile(config: dict[str, Any], train: Train) -> Callable[..., Any]:
    """The learner's call: state [4, parameters], updates, transitions, weights to new state and updates, and errors.

    The state's rows are the online and the target network's weights, and Adam's two moments.
    """
    dueling, actions, shapes = config["dueling"], config["actions"], model.shapes(config)
    sizes = [math.prod(shape) for shape in shapes]
    fields = [config["observations"], 1, 1, 1, config["observations"]]  # of a transition

    def layers(flat: tf.Tensor) -> list[tf.Tensor]:
        return [tf.reshape(part, shape) for part, shape in zip(tf.split(flat, sizes), shapes, strict=True)]

    def aims(online: list[tf.Tensor], target: list[tf.Tensor], reward: Any, discount: Any, after: Any) -> tf.Tensor:
        worth = _values(target, after, dueling)
        best = tf.argmax(_values(online, after, dueling) if train.double else worth, axis=1)
        aim = reward + discount * tf.reduce_sum(worth * tf.one_hot(best, actions), axis=1)
        return aim if train.target_range is None else tf.clip_by_value(aim, *train.target_range)

    def update(state: Any, batch: tf.Tensor, weight: tf.Tensor, rate: tf.Tensor, share: tf.Tensor) -> Any:
        online, target, mean, square = state
        observation, action, reward, discount, after = tf.split(batch, fields, axis=1)
        action, reward, discount = (tf.squeeze(part, axis=1) for part in (action, reward, discount))
        now = layers(online)
        aim = aims(now, layers(target), reward, discount, after)
        with tf.GradientTape() as tape:
            tape.watch(now)
            taken = tf.reduce_sum(
                _values(now, observation, dueling) * tf.one_hot(tf.cast(action, tf.int32), actions), axis=1
            )
            error = aim - taken
            loss = tf.reduce_mean(weight * error**2)
        gradient = tf.concat([tf.reshape(part, [-1]) for part in tape.gradient(loss, now)], axis=0)
        mean += (gradient - mean) * (1 - DECAY_1)
        square += (gradient**2 - square) * (1 - DECAY_2)
        online -= rate * mean / (tf.sqrt(square) + EPSILON)
        target = share * online + (1.0 - share) * target
        return (online, target, mean, square), error

    # One loop, so that one update is traced and compiled: sixteen in a row take sixteen times as long.
    @tf.function(jit_compile=train.xla, autograph=False)  # type: ignore[untyped-decorator]
    def learn(state: tf.Tensor, updates: tf.Tensor, transitions: tf.Tensor, weights: tf.Tensor) -> Any:
        counts = updates + tf.range(1, train.updates + 1)
        times = tf.cast(counts, tf.float32)
        rates = train.learning_rate * tf.sqrt(1 - DECAY_2**times) / (1 - DECAY_1**times)
        shares = tf.cast(counts % train.target_network.every == 0, tf.float32)
        if train.target_network.kind == "soft":
            shares = tf.fill([train.updates], train.target_network.rate)

        def body(index: tf.Tensor, state: Any, errors: tf.Tensor) -> Any:
            state, error = update(state, transitions[index], weights[index], rates[index], shares[index])
            return index + 1, state, tf.tensor_scatter_nd_update(errors, [[index]], [error])

        first = (0, tuple(tf.unstack(state)), tf.zeros([train.updates, train.batch_size]))
        _, state, errors = tf.while_loop(lambda index, *_: index < train.updates, body, first)
        return tf.stack(state), counts[-1], errors

    return learn  # type: ignore[no-any-return]
