"""The agent: it acts in NumPy, and learns in one TensorFlow call that makes many updates.

Source: Mnih et al., "Human-level control through deep reinforcement learning" (2015); van Hasselt et al. (2016)
for double, Wang et al. (2016) for dueling, Hessel et al. (2018) for n-step. It departs from the first in the squared
error in place of Huber's, Adam in place of RMSProp, and in many updates a call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.cartpole.model import Floats, initial, split
from stages.shared.checkpoint import Arrays
from stages.shared.errors import InputError
from stages.shared.params import CartpoleExploration, CartpoleTrain

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
        raise InputError(f"cartpole.env: {name!r}: {' '.join(str(error).split())}") from None
    observation, action = envs.single_observation_space, envs.single_action_space
    if not isinstance(observation, gym.spaces.Box) or len(observation.shape) != 1:
        raise InputError(f"cartpole.env: {name}: expected a flat Box of observations, found {observation}")
    if not isinstance(action, gym.spaces.Discrete):
        raise InputError(f"cartpole.env: {name}: expected Discrete actions, found {action}")
    mode = envs.metadata.get("autoreset_mode")
    if mode != gym.vector.AutoresetMode.NEXT_STEP:
        raise InputError(f"cartpole.env: {name}: expected environments that reset on the next step, found {mode}")
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
        self.layers = split(flat, self.config, np.reshape)

    def __call__(self, scaled: Floats) -> Indices:
        """Best actions int64 [n] for observations that are divided by their scale, float32 [n, observations]."""
        values = scaled
        for layer in range(0, len(self.layers) - 2, 2):
            values = values @ self.layers[layer]
            values += self.layers[layer + 1]
            np.maximum(values, 0, out=values)
        values = values @ self.layers[-2] + self.layers[-1]
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

    def __init__(self, schedule: CartpoleExploration, envs: int, actions: int) -> None:
        self.schedule, self.actions = schedule, actions
        self.arrays: Arrays = {"action": np.zeros(envs, np.int64), "left": np.zeros(envs, np.int64)}

    def share(self, step: int) -> float:
        """Share of random actions at an environment step."""
        done = min(step / self.schedule.steps, 1.0)
        return self.schedule.start + (self.schedule.end - self.schedule.start) * done

    def replace(self, greedy: Indices, step: int, random: np.random.Generator) -> Indices:
        """Actions [envs] to take where `greedy` are the best."""
        action, left = self.arrays["action"], self.arrays["left"]
        begin = (left == 0) & (random.random(len(left)) < self.share(step))
        np.copyto(action, random.integers(0, self.actions, len(left)), where=begin)
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

    def __init__(self, config: dict[str, Any], train: CartpoleTrain, random: np.random.Generator) -> None:
        first = initial(config, random)
        self.arrays: Arrays = {
            "online": first,
            "target": first.copy(),  # a restored run writes into each
            "mean": np.zeros_like(first),
            "square": np.zeros_like(first),
            "updates": np.zeros((), np.int32),
        }
        self._update = _compile(config, train)
        self._shape, self._observations = (train.updates, train.batch_size), config["observations"]

    @property
    def updates(self) -> int:
        """Updates made."""
        return int(self.arrays["updates"])

    def compile(self) -> None:
        """Trace and compile now what the first `learn` would: a call with nothing in it, whose result is dropped."""
        row = np.zeros(self._shape, np.float32)
        observation = np.zeros((*self._shape, self._observations), np.float32)
        self._update(tuple(self.arrays.values()), (observation, row.astype(np.int32), row, row, observation, row))

    def learn(self, batches: tuple[npt.NDArray[Any], ...]) -> Floats:
        """Make one update with each batch.

        Args:
            batches: observation [updates, batch, observations], action, return and discount [updates, batch],
                next observation and importance weight in the same shapes.

        Returns:
            The temporal-difference errors before each update, float32 [updates, batch].
        """
        *state, errors = self._update(tuple(self.arrays.values()), batches)
        self.arrays = {name: np.asarray(value) for name, value in zip(self.arrays, state, strict=True)}
        return errors.numpy()  # type: ignore[no-any-return]


def _compile(config: dict[str, Any], train: CartpoleTrain) -> Callable[..., Any]:
    """The learner's call: (online, target, mean, square, updates), batches to the same state and errors."""
    dueling, actions = config["dueling"], config["actions"]

    def values(flat: tf.Tensor, scaled: tf.Tensor) -> tf.Tensor:
        return _values(split(flat, config, tf.reshape), scaled, dueling)

    def aims(online: tf.Tensor, target: tf.Tensor, reward: Any, discount: Any, after: Any) -> tf.Tensor:
        worth = values(target, after)
        best = tf.argmax(values(online, after) if train.double else worth, axis=1)
        aim = reward + discount * tf.reduce_sum(worth * tf.one_hot(best, actions), axis=1)
        return aim if train.targets is None else tf.clip_by_value(aim, *train.targets)

    def follow(target: tf.Tensor, online: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        if train.target.kind == "soft":
            return target + train.target.rate * (online - target)
        return tf.where(count % train.target.every == 0, online, target)

    def update(index: tf.Tensor, state: Any, errors: tf.Tensor, batches: Any) -> Any:
        online, target, mean, square, count = state
        observation, action, reward, discount, after, weight = (part[index] for part in batches)
        aim = aims(online, target, reward, discount, after)
        with tf.GradientTape() as tape:
            tape.watch(online)
            taken = tf.reduce_sum(values(online, observation) * tf.one_hot(action, actions), axis=1)
            error = aim - taken
            loss = tf.reduce_mean(weight * error**2)
        gradient = tape.gradient(loss, online)
        count += 1
        times = tf.cast(count, tf.float32)
        mean += (gradient - mean) * (1 - DECAY_1)
        square += (gradient**2 - square) * (1 - DECAY_2)
        rate = train.learning_rate * tf.sqrt(1 - DECAY_2**times) / (1 - DECAY_1**times)
        online -= rate * mean / (tf.sqrt(square) + EPSILON)
        state = (online, follow(target, online, count), mean, square, count)
        return index + 1, state, tf.tensor_scatter_nd_update(errors, [[index]], [error])

    # One loop, so that one update is traced and compiled: sixteen in a row take sixteen times as long.
    @tf.function(jit_compile=train.xla, autograph=False)  # type: ignore[untyped-decorator]
    def learn(state: Any, batches: Any) -> Any:
        _, state, errors = tf.while_loop(
            lambda index, *_: index < train.updates,
            lambda index, state, errors: update(index, state, errors, batches),
            (0, state, tf.zeros([train.updates, train.batch_size])),
        )
        return *state, errors

    return learn  # type: ignore[no-any-return]
