"""The loop on a linear model that it can solve."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.core.params import Training
from stages.supervised.trainer import Adam, History, Run, batches, rates, run_name, train
from stages.training.checkpoint import Checkpoints
from stages.training.progress import Interrupt

EXAMPLES, SLOPES = 50, np.array([2.0, -1.0, 0.5], np.float32)


class Linear:
    """Fit `SLOPES` from noiseless examples; a dropout layer draws from a seed generator."""

    def __init__(self, dropout: float = 0.0) -> None:
        keras.utils.set_random_seed(3)
        layers = [keras.layers.Dropout(dropout)] if dropout else []
        self.model = keras.Sequential([keras.Input([3]), *layers, keras.layers.Dense(1)])
        inputs = np.random.default_rng(0).normal(size=(EXAMPLES, 3)).astype(np.float32)
        self.inputs, self.targets = inputs, inputs @ SLOPES

    def examples(self, indices: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
        return self.inputs[indices], self.targets[indices]

    def loss(self, examples: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        inputs, targets = examples
        return (self.model(inputs, training=True)[:, 0] - targets) ** 2

    def statistics(self) -> Sequence[tuple[tf.Variable, tf.Tensor]]:
        return ()

    def evaluate(self) -> dict[str, float]:
        return {"error": float(np.abs(self.model.layers[-1].kernel.numpy()[:, 0] - SLOPES).max())}


def schedule(**changes: object) -> Training:
    values = {"steps": 40, "batch_size": 8, "learning_rate": 0.1, "schedule": "one_cycle"}
    intervals = {
        "evaluate_every": 15,
        "checkpoint_every": 10,
        "max_to_keep": 2,
        "replicas": 1,
        "micro_batches": 1,
        "worker_timeout": 9.0,
    }
    return Training.model_validate(values | intervals | changes)


def trained(folder: Path, learner: Linear, to: Training) -> tuple[History, bytes]:
    with Checkpoints("linear", "run", to.max_to_keep, folder) as checkpoints:
        history = train(learner, to, 1, EXAMPLES, checkpoints, "linear")
    return history, b"".join(v.numpy().tobytes() for v in learner.model.variables)


def test_it_solves_what_can_be_solved(tmp_path: Path) -> None:
    history, _ = trained(tmp_path, Linear(), schedule(steps=300))
    assert history[-1]["error"] < 0.01
    assert [point["step"] for point in history[:3]] == [15, 30, 45]


@pytest.mark.parametrize("stop", [7, 10, 23, 39])
def test_a_run_cut_short_goes_on_to_the_same_bytes(tmp_path: Path, stop: int) -> None:
    whole = trained(tmp_path / "whole", Linear(dropout=0.3), schedule())
    run = Run(Linear(dropout=0.3), schedule(), 1, EXAMPLES)
    checkpoints = Checkpoints("linear", "run", 2, tmp_path / "cut")
    while run.step < stop:
        run.advance()
    run.save(checkpoints)
    assert trained(tmp_path / "cut", Linear(dropout=0.3), schedule()) == whole


def test_where_checkpoints_fall_does_not_change_the_bytes(tmp_path: Path) -> None:
    often = trained(tmp_path / "often", Linear(dropout=0.3), schedule(checkpoint_every=3, keep=1))
    assert often[1] == trained(tmp_path / "seldom", Linear(dropout=0.3), schedule(checkpoint_every=1000))[1]


def test_a_longer_run_at_a_constant_rate_goes_on_from_a_finished_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = trained(tmp_path / "whole", Linear(dropout=0.3), schedule(schedule="constant", steps=60))
    trained(tmp_path / "two", Linear(dropout=0.3), schedule(schedule="constant"))
    assert trained(tmp_path / "two", Linear(dropout=0.3), schedule(schedule="constant", steps=60)) == whole
    assert "resumed at step 40" in capsys.readouterr().err


def test_the_name_of_a_run_has_its_steps_only_where_they_matter() -> None:
    def name(kind: str, steps: int, keep: int = 2) -> str:
        values = {"steps": steps, "keep": keep, "checkpoint_every": 5, "learning_rate": 0.1, "worker_timeout": 9.0}
        return run_name("mnist", {"parameters": {"mnist.train": values}}, schedule(schedule=kind))

    assert name("constant", 40) == name("constant", 60) == name("constant", 40, keep=9)
    assert name("one_cycle", 40) != name("one_cycle", 60)


def test_an_interrupted_run_saves_and_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import signal

    whole = trained(tmp_path / "whole", Linear(), schedule())

    class Stopped(Linear):
        def evaluate(self) -> dict[str, float]:
            signal.raise_signal(signal.SIGINT)
            return super().evaluate()

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", Stopped(), schedule())
    assert "interrupted at step 15, saved; `dvc repro` goes on from there" in capsys.readouterr().err
    assert trained(tmp_path / "cut", Linear(), schedule()) == whole


def test_the_handler_gives_way_to_a_second_signal() -> None:
    import signal

    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.noticed
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


class Following(Linear):
    """A variable that follows the mean of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = tf.Variable([0.0, 0.0, 0.0])

    def loss(self, examples: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        self.now = tf.reduce_mean(examples[0], axis=0)
        return super().loss(examples, step)

    def statistics(self) -> Sequence[tuple[tf.Variable, tf.Tensor]]:
        return [(self.seen, self.now)]


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_add_up_to_the_whole_batch(parts: int) -> None:
    learner, whole = Following(), Linear()
    run, expected = (Run(x, schedule(parts=n), 1, EXAMPLES) for x, n in ((learner, parts), (whole, 1)))
    loss, expected_loss = run.advance(), expected.advance()
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for found, other in zip(learner.model.variables, whole.model.variables, strict=True):
        np.testing.assert_allclose(found.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)
    (last,) = batches(run.step - 1, run.step, EXAMPLES, 8, seed=1)
    np.testing.assert_allclose(learner.seen.numpy(), learner.inputs[last].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_a_step_reads_its_own_examples_alone() -> None:
    read: list[int] = []

    class Counting(Linear):
        def examples(self, indices: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
            read.extend(indices.ravel())
            return super().examples(indices, steps)

    run = Run(Counting(), schedule(steps=6), 1, EXAMPLES)
    read.clear()
    run.advance()
    assert run.step == 6 and read == list(batches(0, 6, EXAMPLES, 8, seed=1).ravel())


def test_an_epoch_is_a_permutation_and_each_another_one() -> None:
    first = batches(0, 6, 50, 8, seed=1)
    assert len(set(first.ravel())) == 48
    assert (batches(2, 6, 50, 8, seed=1) == first[2:]).all()
    assert (batches(6, 12, 50, 8, seed=1) != first).any()
    assert (batches(0, 6, 50, 8, seed=2) != first).any()


def test_one_cycle_rises_to_the_rate_and_falls_to_nothing() -> None:
    found = list(rates(schedule(steps=100), np.arange(101)))
    assert found.index(max(found)) == 25 and max(found) == pytest.approx(0.1)
    assert found[0] == pytest.approx(0.1 / 25)
    assert found[100] == pytest.approx(0, abs=1e-9)
    keras_rate = keras.optimizers.schedules.CosineDecay(0.1 / 25, 75, warmup_target=0.1, warmup_steps=25)
    assert found == pytest.approx([float(keras_rate(step)) for step in range(101)], abs=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_cycle_of_few_steps_has_a_rate_for_each(steps: int) -> None:
    assert 0 < rates(schedule(steps=steps), np.arange(steps)).min() <= 0.1


def test_a_constant_rate_stays() -> None:
    assert (rates(schedule(schedule="constant"), np.arange(1000)) == 0.1).all()


def test_adam_takes_the_steps_of_keras_adam() -> None:
    start = np.random.default_rng(2).normal(size=(2, 7)).astype("float32")
    ours, theirs = tf.Variable(start), keras.Variable(start)
    fused, plain = Adam([ours], schedule(schedule="constant")), keras.optimizers.Adam(0.1)
    for step, factors in enumerate(fused.factors(0, 20)):
        gradient = tf.constant(np.random.default_rng(step).normal(size=start.shape).astype(np.float32))
        fused.apply([gradient], tf.constant(factors))
        plain.apply([gradient], [theirs])
    assert np.abs(ours.numpy() - start).max() > 0.3
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=3e-5)  # 1 - 0.999 in float32 is 4e-5 off
    for mine, other in zip(fused.variables, plain.variables[2:], strict=True):  # after the steps and the rate
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)


def test_the_factors_of_a_step_do_not_depend_on_the_chunk() -> None:
    adam = Adam([tf.Variable([0.0])], schedule())
    assert (adam.factors(0, 40)[13:17] == adam.factors(13, 17)).all()
