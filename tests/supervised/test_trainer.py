import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from stages.core.params import Training
from stages.supervised.batches import batch_indices
from stages.supervised.trainer import History, TrainingRun, fit
from stages.training.checkpoint import Checkpoints
from tests.supervised.task import EXAMPLES, LinearTask, training


def trained(folder: Path, task: LinearTask, params: Training) -> tuple[History, bytes]:
    with Checkpoints("linear", "run", params.max_to_keep, folder) as checkpoints:
        history = fit(TrainingRun(task, params, 1), checkpoints, "linear")
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
        run = TrainingRun(LinearTask(dropout=0.3), training(checkpoint_every=stop), 1)
        while run.step < stop:
            run.advance()
        assert run.step == stop
        run.save(checkpoints)
    assert trained(tmp_path / "cut", LinearTask(dropout=0.3), training()) == whole


def test_where_checkpoints_fall_does_not_change_the_bytes(tmp_path: Path) -> None:
    often = trained(tmp_path / "often", LinearTask(dropout=0.3), training(checkpoint_every=3, max_to_keep=1))
    seldom = trained(tmp_path / "seldom", LinearTask(dropout=0.3), training(checkpoint_every=1000))
    assert often[1] == seldom[1]


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


class AveragingTask(LinearTask):
    """Takes the mean of the inputs of a batch as a moving statistic, and counts the rows that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = tf.Variable([0.0, 0.0, 0.0])
        self.moving_statistics = [self.mean]

    def draw(self, step: tf.Tensor, batch_size: int) -> Sequence[tf.Tensor]:
        return [tf.random.stateless_uniform([batch_size], tf.stack([7, step]))]

    def loss(self, examples: Sequence[tf.Tensor], draws: Sequence[tf.Tensor]) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
        losses, _ = super().loss(examples, ())
        return losses * draws[0], [tf.reduce_mean(examples[0], axis=0)]


@pytest.mark.parametrize("count", [2, 4])
def test_micro_batches_add_up_to_the_whole_batch(count: int) -> None:
    task, expected = AveragingTask(), AveragingTask()
    run, expected_run = TrainingRun(task, training(micro_batches=count), 1), TrainingRun(expected, training(), 1)
    assert run.advance() == pytest.approx(expected_run.advance(), rel=1e-5)
    for variable, other in zip(task.model.variables, expected.model.variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)
    (last,) = batch_indices(run.step - 1, run.step, EXAMPLES, 8, seed=1)
    np.testing.assert_allclose(task.mean.numpy(), task.inputs[last].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_a_step_reads_its_own_examples_alone() -> None:
    read: list[int] = []

    class CountingTask(LinearTask):
        def examples(self, indices: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
            read.extend(indices.ravel())
            return super().examples(indices, steps)

    run = TrainingRun(CountingTask(), training(steps=6), 1)
    read.clear()
    run.advance()
    assert run.step == 6 and read == list(batch_indices(0, 6, EXAMPLES, 8, seed=1).ravel())
