import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.cartpole import model
from stages.cartpole.dqn.learner import Policy, QLearner
from stages.cartpole.dqn.replay import transition_type
from stages.cartpole.params import SignatureNames, Train
from stages.core.params import TrainParams
from tests.conftest import ROOT

TRAIN = TrainParams[Train].read(ROOT / "params.yaml").train
CONFIG = {
    "observations": 3,
    "actions": 2,
    "hidden_units": [5, 4],
    "dueling": False,
    "observation_scale": [1.0, 2.0, 0.5],
    "head_scale": 0.1,
}


def trained(**changes: Any) -> Train:
    return Train(**{**TRAIN.model_dump(), "gradient_steps": 3, "batch_size": 4, "target_clip": None, **changes})


def batches(updates: int, size: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Transitions [updates, size] and their weights."""

    def draw(*more: int) -> np.ndarray:
        return random.normal(size=(updates, size, *more)).astype(np.float32)

    given = np.zeros((updates, size), transition_type(3))
    given["observation"], given["return"], given["next"] = draw(3), draw(), draw(3)
    given["action"] = random.integers(0, 2, (updates, size))
    given["discount"] = random.choice([0.0, 0.9], (updates, size))
    return given, np.abs(draw())


def network(dueling: bool = False) -> keras.Model:
    """The Keras form for observations that are scaled already."""
    return model.build({**CONFIG, "dueling": dueling, "observation_scale": [1.0]})


def weights(flat: np.ndarray, config: dict[str, Any]) -> list[np.ndarray]:
    return model.split(flat, config)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="double"),
        pytest.param({"double_q": False}, id="one network picks and values"),
        pytest.param({"target_clip": [-0.5, 0.5]}, id="clipped"),
        pytest.param({"target_update_interval": 1, "tau": 0.3}, id="soft target"),
        pytest.param({"dueling": True}, id="dueling"),
        pytest.param({"jit_compile": True}, id="XLA"),
    ],
)
def test_the_compiled_learner_does_what_keras_does(changes: dict[str, Any]) -> None:
    config = {**CONFIG, "dueling": changes.pop("dueling", False)}
    train = trained(**{"target_update_interval": 2, **changes})
    random = np.random.default_rng(0)
    learner = QLearner(config, train, random)
    online, target = network(config["dueling"]), network(config["dueling"])
    for net in (online, target):
        net.set_weights(weights(learner.online, config))
    adam = keras.optimizers.Adam(train.learning_rate, epsilon=1e-8)
    given, importance = batches(train.gradient_steps, train.batch_size, random)
    expected = []
    for count, (batch, weight) in enumerate(zip(given, importance, strict=True), 1):
        worth = target(batch["next"])
        best = tf.argmax(online(batch["next"]) if train.double_q else worth, axis=1)
        aim = batch["return"] + batch["discount"] * tf.gather(worth, best, batch_dims=1)
        if train.target_clip:
            aim = tf.clip_by_value(aim, *train.target_clip)
        with tf.GradientTape() as tape:
            error = aim - tf.gather(online(batch["observation"]), batch["action"].astype(int), batch_dims=1)
            loss = tf.reduce_mean(weight * error**2)
        adam.apply(tape.gradient(loss, online.trainable_variables), online.trainable_variables)
        if count % train.target_update_interval == 0:
            pairs = zip(target.get_weights(), online.get_weights(), strict=True)
            target.set_weights([old + train.tau * (new - old) for old, new in pairs])
        expected.append(error.numpy())

    errors = learner.learn(given, importance)

    assert np.allclose(errors, expected, atol=1e-5)
    assert learner.updates == train.gradient_steps
    for net, flat in ((online, learner.online), (target, learner.target)):
        for ours, theirs in zip(weights(flat, config), net.get_weights(), strict=True):
            assert np.allclose(ours, theirs, atol=1e-5)


def test_an_average_is_saved_where_the_target_network_is_one() -> None:
    for tau in (1.0, 0.3):
        learner = QLearner(CONFIG, trained(target_update_interval=2, tau=tau), np.random.default_rng(0))
        learner.learn(*batches(3, 4, np.random.default_rng(1)))
        assert (learner.online != learner.target).any()
        assert (learner.saved == (learner.online if tau == 1 else learner.target)).all()


def test_the_learner_finds_the_action_that_is_worth_more() -> None:
    train = trained(gradient_steps=200, batch_size=32, learning_rate=0.01)
    learner, random = QLearner(CONFIG, train, np.random.default_rng(0)), np.random.default_rng(1)
    given, weight = batches(train.gradient_steps, train.batch_size, random)
    given["return"] = (given["observation"][..., 0] > 0) == (given["action"] == 1)
    given["discount"] = 0
    learner.learn(given, np.ones_like(weight))
    policy = Policy(CONFIG)
    policy.set_weights(learner.online)
    fresh = np.asarray(random.normal(size=(1000, 3)), np.float32)
    assert np.mean(policy(fresh) == (fresh[:, 0] > 0)) > 0.95


@pytest.mark.parametrize("dueling", [False, True])
def test_saved_weights_make_the_same_network_in_keras(dueling: bool, tmp_path: Path) -> None:
    config = {**CONFIG, "dueling": dueling}
    random = np.random.default_rng(0)
    flat = random.normal(size=model.initial(config, random).shape).astype(np.float32)
    path = tmp_path / "model.weights.h5"
    model.save(flat, config, path)
    built = model.build(config)
    built.load_weights(path)
    for ours, theirs in zip(weights(flat, config), built.get_weights(), strict=True):
        assert (ours == theirs).all()
    observation = random.normal(size=(100, 3)).astype(np.float32)
    policy = Policy(config)
    policy.set_weights(flat)
    best = np.argmax(built(observation), axis=1)
    scaled = np.asarray(observation / np.array([1, 2, 0.5]), np.float32)
    assert (policy(scaled) == best).all()


def test_dueling_values_differ_from_their_mean_by_the_advantages() -> None:
    built = network(dueling=True)
    head = built.get_weights()[-1]
    assert head.shape == (3,)
    built.set_weights([0 * w for w in built.get_weights()[:-1]] + [np.array([5, 1, 3], np.float32)])
    assert np.allclose(built(np.zeros((1, 3), np.float32)), [[4, 6]])


def test_first_weights_are_small_in_the_head() -> None:
    config = {**CONFIG, "hidden_units": [256, 256]}
    _, _, hidden, bias, head, _ = weights(model.initial(config, np.random.default_rng(0)), config)
    limit = np.sqrt(6 / 256)
    assert limit * 0.99 < np.abs(hidden).max() <= limit
    assert limit * 0.09 < np.abs(head).max() <= limit * 0.1
    assert (bias == 0).all()


IMAGES = {
    "channels last": ((5, 6, 2), [0, 1, 2], [5, 6, 2], [[4, 3, 1]]),
    "channels first": ((2, 5, 6), [1, 2, 0], [5, 6, 2], [[4, 3, 1]]),
    "frames of images with channels": ((2, 7, 8, 3), [1, 2, 0, 3], [7, 8, 6], [[4, 3, 2], [3, 2, 1]]),
}


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("layout", IMAGES)
def test_images_are_convolved_alike_in_training_acting_and_serving(layout: str, dueling: bool, tmp_path: Path) -> None:
    shape, axes, grid, convolutions = IMAGES[layout]
    image = {"shape": list(shape), "dtype": "uint8", "axes": axes, "grid": grid, "convolutions": convolutions}
    size = math.prod(shape)
    config = {**CONFIG, "observations": size, "observation_scale": [255.0], "dueling": dueling, "image": image}
    train, random = trained(gradient_steps=1, n_envs=1), np.random.default_rng(0)
    learner = QLearner(config, train, random, np.dtype(np.uint8))
    learner.arrays["state"][:2] = random.normal(size=learner.online.shape) / 3
    flat = learner.online.copy()
    path = tmp_path / "model.weights.h5"
    model.save(flat, config, path)
    built = model.build(config)
    built.load_weights(path)
    before, after = random.integers(0, 256, (2, 1, 4, size), np.uint8)
    given = np.zeros((1, 4), transition_type(size, frames=True))
    given["action"], given["return"], given["discount"] = [[0, 1, 1, 0]], [[0.5, -1, 2, 0]], [[0.9, 0, 0.9, 0.9]]

    values, worth = (built(batch[0].reshape(4, *shape)).numpy() for batch in (before, after))
    aim = given["return"][0] + given["discount"][0] * worth.max(axis=1)
    errors = learner.learn(given, np.ones((1, 4), np.float32), [before, after])
    assert np.allclose(errors[0], aim - values[np.arange(4), given["action"][0].astype(int)], atol=1e-4)
    for part, first in zip(weights(learner.online, config), weights(flat, config), strict=True):
        assert (part != first).any()
    policy = Policy(config)
    policy.set_weights(flat)
    assert (policy((after[0] / 255).astype(np.float32)) == worth.argmax(axis=1)).all()
    function = model.serving_function(built, config, SignatureNames(input_name="observations"))
    given_to = function.inputs[0]
    assert (given_to.shape.as_list(), given_to.dtype) == ([None, *shape], tf.uint8)
