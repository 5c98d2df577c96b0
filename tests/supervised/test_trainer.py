import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.core.params import SupervisedTrain
from stages.supervised.batches import batch_indices
from stages.supervised.trainer import History, Trainer, fit
from stages.training.checkpoint import Checkpoints
from tests.conftest import ROOT
from tests.supervised.task import EXAMPLES, LinearTask, training


def trained(folder: Path, task: LinearTask, params: SupervisedTrain, every: int = 10) -> tuple[History, bytes]:
    with Checkpoints("linear", "run", 2, folder) as checkpoints:
        history = fit(Trainer(task, params, 1, checkpoint_every=every), checkpoints, "linear")
    return history, b"".join(v.numpy().tobytes() for v in task.model.variables)


def test_it_solves_what_can_be_solved(tmp_path: Path) -> None:
    history, _ = trained(tmp_path, LinearTask(), training(steps=300))
    assert history[-1]["error"] < 0.01
    assert [point["step"] for point in history[:3]] == [15, 30, 45]


@pytest.mark.parametrize("stop", [7, 10, 23, 39])
def test_a_run_cut_short_resumes_to_the_same_bytes(tmp_path: Path, stop: int) -> None:
    whole = trained(tmp_path / "whole", LinearTask(dropout=0.3), training())
    # The same steps of the same schedule, with a checkpoint at the last of them.
    with Checkpoints("linear", "run", 2, tmp_path / "cut") as checkpoints:
        trainer = Trainer(LinearTask(dropout=0.3), training(), 1, checkpoint_every=stop)
        while trainer.step < stop:
            trainer.advance()
        assert trainer.step == stop
        trainer.save(checkpoints)
    assert trained(tmp_path / "cut", LinearTask(dropout=0.3), training()) == whole


def test_where_checkpoints_fall_does_not_change_the_bytes(tmp_path: Path) -> None:
    often = trained(tmp_path / "often", LinearTask(dropout=0.3), training(), every=3)
    assert often == trained(tmp_path / "seldom", LinearTask(dropout=0.3), training(), every=1000)


def test_a_point_of_the_curve_is_the_mean_loss_since_the_point_before(tmp_path: Path) -> None:
    trainer = Trainer(LinearTask(), training(), 1, checkpoint_every=1)
    losses = [trainer.advance() for _ in range(40)]
    history, _ = trained(tmp_path, LinearTask(), training(), every=7)
    assert [point["loss"] for point in history] == pytest.approx([np.mean(losses[:15]), np.mean(losses[15:30])])


def test_a_longer_run_at_a_constant_rate_extends_a_finished_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = training(schedule="constant", steps=60)
    whole = trained(tmp_path / "whole", LinearTask(dropout=0.3), longer)
    trained(tmp_path / "two", LinearTask(dropout=0.3), training(schedule="constant"))
    assert trained(tmp_path / "two", LinearTask(dropout=0.3), longer) == whole
    assert "resumed at step 40" in capsys.readouterr().err


def test_an_interrupted_run_saves_and_says_how_to_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = trained(tmp_path / "whole", LinearTask(), training())

    class Interrupted(LinearTask):
        def evaluate(self) -> dict[str, float]:
            signal.raise_signal(signal.SIGINT)
            return super().evaluate()

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", Interrupted(), training())
    assert "interrupted at step 15, saved; `dvc repro` resumes from there" in capsys.readouterr().err
    assert trained(tmp_path / "cut", LinearTask(), training()) == whole


class Mean(keras.layers.Layer):  # type: ignore[misc]
    """Keeps the mean of the inputs, and counts the calls."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.mean = self.add_weight(shape=[3], initializer="zeros", trainable=False, name="mean")
        self.calls = self.add_weight(shape=[], initializer="zeros", dtype="int32", trainable=False, name="calls")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        self.mean.assign(tf.reduce_mean(inputs, axis=0))
        self.calls.assign(self.calls + 1)
        return inputs


class AveragingTask(LinearTask):
    """Draws the weights of its examples, and has a layer that follows the batches."""

    def __init__(self) -> None:
        super().__init__(layers=[Mean()])

    def draw(self, step: tf.Tensor, batch_size: int) -> Sequence[tf.Tensor]:
        return [tf.random.stateless_uniform([batch_size], tf.stack([7, step]))]

    def loss(self, batch: Sequence[tf.Tensor]) -> tf.Tensor:
        inputs, targets, weights = batch
        return super().loss([inputs, targets]) * weights


@pytest.mark.parametrize("count", [2, 4])
def test_micro_batches_add_up_to_the_whole_batch(count: int) -> None:
    task, expected = AveragingTask(), AveragingTask()
    trainer = Trainer(task, training(micro_batches=count), 1)
    assert trainer.advance() == pytest.approx(Trainer(expected, training(), 1).advance(), rel=1e-5)
    for variable, other in zip(task.model.variables, expected.model.variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)
    (last,) = batch_indices(trainer.step - 1, trainer.step, EXAMPLES, 8, seed=1)
    layer = task.model.layers[0]
    assert int(layer.calls) == trainer.step
    np.testing.assert_allclose(layer.mean.numpy(), task.inputs[last].mean(axis=0), rtol=1e-5, atol=1e-6)


def normalized(dropout: float = 0.0) -> LinearTask:
    """A network as anybody writes it: nothing in the task knows of its normalisation and dropout."""
    return LinearTask(dropout, [keras.layers.Rescaling(5.0, 3.0), keras.layers.BatchNormalization(momentum=0.8)])


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_plain_batch_normalization_moves_its_statistics_to_the_inputs(tmp_path: Path, micro_batches: int) -> None:
    task = normalized()
    trained(tmp_path, task, training(steps=120, micro_batches=micro_batches))
    moving_mean, moving_variance = (v.numpy() for v in task.model.non_trainable_variables)
    np.testing.assert_allclose(moving_mean, 5 * task.inputs.mean(axis=0) + 3, atol=1)
    np.testing.assert_allclose(moving_variance, 25 * task.inputs.var(axis=0), rtol=0.5)


def test_a_plain_network_cut_short_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    params = training(micro_batches=2)
    whole = trained(tmp_path / "whole", normalized(dropout=0.3), params)
    with Checkpoints("linear", "run", 2, tmp_path / "cut") as checkpoints:
        trainer = Trainer(normalized(dropout=0.3), training(micro_batches=2), 1, checkpoint_every=7)
        while trainer.step < 7:
            trainer.advance()
        trainer.save(checkpoints)
    assert trained(tmp_path / "cut", normalized(dropout=0.3), params) == whole


def test_a_plain_network_is_the_same_bytes_however_many_replicas_share_it() -> None:
    def final(replicas: int) -> str:
        command = [sys.executable, "-m", "tests.supervised.task", str(replicas)]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout

    assert len({final(replicas) for replicas in (1, 2, 4)}) == 1


def test_dropout_differs_between_steps_and_micro_batches() -> None:
    kept: list[bytes] = []

    class Watched(LinearTask):
        def loss(self, batch: Sequence[tf.Tensor]) -> tf.Tensor:
            dropped = self.model.layers[0](tf.ones_like(batch[0]), training=True)
            tf.py_function(lambda values: kept.append(values.numpy().tobytes()), [dropped], [])
            return super().loss(batch)

    Trainer(Watched(dropout=0.5), training(steps=3, micro_batches=2), 1).advance()
    assert len(set(kept)) == 6


def test_the_networks_own_losses_count(tmp_path: Path) -> None:
    class Regularized(LinearTask):
        def __init__(self, strength: float) -> None:
            super().__init__()
            self.model.layers[-1].kernel_regularizer = keras.regularizers.L2(strength)
            self.model.layers[-1].kernel.regularizer = keras.regularizers.L2(strength)

    (free, *_), (shrunk, *_) = (
        np.abs(task.model.get_weights()[0])
        for task in (Regularized(0.0), Regularized(10.0))
        if trained(tmp_path / str(id(task)), task, training(steps=120, micro_batches=2))
    )
    assert free[0] > 1.5 and shrunk[0] < 0.3


def test_too_few_examples_for_a_batch_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = Trainer(LinearTask(), training(batch_size=64, micro_batches=4), 1)
    assert trainer.batch_size == 48
    assert capsys.readouterr().err == "batch_size: 64: more than the 50 training examples; each step takes 48\n"


def test_a_step_reads_its_own_examples_alone() -> None:
    read: list[int] = []

    class CountingTask(LinearTask):
        def examples(self, indices: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
            read.extend(indices.ravel())
            return super().examples(indices, steps)

    trainer = Trainer(CountingTask(), training(steps=6), 1)
    read.clear()
    trainer.advance()
    assert trainer.step == 6 and read == list(batch_indices(0, 6, EXAMPLES, 8, seed=1).ravel())
