"""The supervised training loop: compiled in chunks of steps, resumed to the same bytes.

`keras.Model.fit` cannot resume inside an epoch. Here, everything a step depends on is either a variable that a
checkpoint holds or a pure function of the global step.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.core.errors import InputError
from stages.core.params import Training
from stages.supervised.batches import batch_indices, steps_per_epoch
from stages.supervised.cluster import Cluster
from stages.supervised.micro_batches import MicroBatches
from stages.supervised.optimizer import Adam
from stages.training.checkpoint import Checkpoints
from stages.training.progress import Interrupt, bar

CHUNK_STEPS = 100
"""Most steps in one compiled call: between two calls the run checks for Ctrl-C and updates its progress bar."""

History = list[dict[str, float]]


class SupervisedTask(Protocol):
    """What a workload defines: a model, its examples, its loss and its metrics."""

    model: keras.Model
    config: dict[str, Any]
    """What `model.build` of the workload takes."""
    num_examples: int
    """Number of training examples."""
    moving_statistics: Sequence[tf.Variable]
    """Variables that follow the batches, such as those of batch normalization."""

    def examples(self, indices: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
        """Read the training examples at `indices` [n, batch] for global steps [n], as arrays [n, batch, …]."""

    def draw(self, step: tf.Tensor, batch_size: int) -> Sequence[tf.Tensor]:
        """Draw a step's random tensors [batch, …], a pure function of the global step."""

    def loss(self, examples: Sequence[tf.Tensor], draws: Sequence[tf.Tensor]) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
        """Compute a micro-batch: a pure function of its rows and the model's variables.

        Args:
            examples: rows [n, …] of what `examples` returned.
            draws: the same rows of what `draw` returned.

        Returns:
            Losses float32 [n], and the values to which this micro-batch moves the `moving_statistics`. The trainer
            assigns the mean over all micro-batches.
        """

    def evaluate(self) -> dict[str, float]:
        """Compute metrics on held-out data, for the learning curve."""


class TrainingRun:
    """A training run: a task, its optimizer and the state that a checkpoint holds.

    Args:
        task: what to train.
        params: steps, batch size, rate and intervals.
        seed: seed of the order of the examples.
        cluster: the processes that share the work; every one takes the same steps.
    """

    def __init__(self, task: SupervisedTask, params: Training, seed: int, cluster: Cluster | None = None) -> None:
        self.task, self.params, self.seed, self.examples = task, params, seed, task.num_examples
        self.cluster = cluster or Cluster()
        self.strategy = self.cluster.strategy
        replicas = self.strategy.num_replicas_in_sync
        self.micro_batches = MicroBatches(max(params.micro_batches // replicas, 1), replicas)
        count = self.micro_batches.count
        if self.examples < count:
            raise InputError(
                f"micro_batches, replicas: {count}: expected at most the number of training examples, {self.examples}"
            )
        self.batch_size = min(params.batch_size, self.examples) // count * count
        self.steps_per_epoch = steps_per_epoch(self.examples, self.batch_size)
        self.optimizer = Adam([variable.value for variable in task.model.trainable_variables], params)
        self.step = 0
        self.history: History = []
        self._reader = ThreadPoolExecutor(1)
        self._next_chunk: Future[tuple[int, Any]] | None = None
        first = task.examples(np.zeros([1, self.batch_size], np.int64), np.zeros([1], np.int64))
        self._train_chunk = tf.function(
            self._chunk,
            input_signature=[
                tuple(tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in first),
                tf.TensorSpec([None, 3], tf.float32),
                tf.TensorSpec([], tf.int64),
            ],
        )

    def _chunk(self, examples: Sequence[tf.Tensor], factors: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """Take a step for each row of `examples` and the optimizer's `factors`; return their mean loss."""
        loss_sum = tf.zeros([])
        for i in tf.range(tf.shape(factors, out_type=tf.int64)[0]):
            # A gather's graph is smaller than a slice's.
            batch, step_factors = tuple(tf.gather(array, i) for array in examples), tf.gather(factors, i)
            losses = self.strategy.run(self._step, (batch, step_factors, first + i))
            loss_sum += self.strategy.experimental_local_results(losses)[0]
        return loss_sum / tf.cast(tf.shape(factors)[0], tf.float32)

    def _step(self, batch: Sequence[tf.Tensor], factors: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Compute a replica's micro-batches, sum over all replicas and update the variables; return the mean loss."""
        variables = self.task.model.trainable_variables
        results = []
        for rows in self.micro_batches.split([*batch, *self.task.draw(step, self.batch_size)]):
            with tf.GradientTape() as tape:
                losses, moved = self.task.loss(rows[: len(batch)], rows[len(batch) :])
                loss = tf.reduce_sum(losses) / self.batch_size
            means = [value / self.micro_batches.count for value in moved]
            results.append([loss, *tape.gradient(loss, variables), *means])
        loss, *sums = self.micro_batches.sum(results)
        gradients, moved = sums[: len(variables)], sums[len(variables) :]
        self.optimizer.apply(gradients, factors)
        if moved:
            tf.distribute.get_replica_context().merge_call(self._move, (moved,))
        return loss

    def _move(self, strategy: tf.distribute.Strategy, values: Sequence[Any]) -> None:
        for variable, value in zip(self.task.moving_statistics, values, strict=True):
            strategy.extended.update(variable, lambda v, value: v.assign(value), (value,), group=False)

    def _variables(self) -> dict[str, tf.Variable]:
        """Everything that a step changes: the model's and the optimizer's variables."""
        model = {f"model/{i}": v.value for i, v in enumerate(self.task.model.variables)}
        return model | {f"optimizer/{i}": v for i, v in enumerate(self.optimizer.variables)}

    def save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint of the current step."""
        checkpoints.save(self.step, {name: v.numpy() for name, v in self._variables().items()}, self.history)

    def restore(self, checkpoints: Checkpoints | None) -> None:
        """Resume from the newest checkpoint, if there is one; a worker receives the chief's state."""
        if checkpoints and (newest := checkpoints.latest(at_most=self.params.steps)):
            self.step, arrays, self.history = newest
            print(f"resumed at step {self.step}", file=sys.stderr)
            for name, variable in self._variables().items():
                variable.assign(arrays[name])
        self.step = int(self.cluster.broadcast(np.array(self.step)))
        if self.step:
            for variable in self._variables().values():
                variable.assign(self.cluster.broadcast(variable.numpy()))

    def _read_chunk(self, first: int) -> tuple[int, Any]:
        """Read the chunk from step `first` to where something is due: its end, and the tensors that `_chunk` takes."""
        intervals = (self.params.evaluate_every, self.params.checkpoint_every, self.steps_per_epoch)
        last = min(*(first - first % every + every for every in intervals), first + CHUNK_STEPS, self.params.steps)
        indices = batch_indices(first, last, self.examples, self.batch_size, self.seed)
        examples = tuple(map(tf.constant, self.task.examples(indices, np.arange(first, last))))
        return last, (examples, tf.constant(self.optimizer.factors(first, last)), tf.constant(first, tf.int64))

    def advance(self) -> float:
        """Train one chunk while the next one is read; return its mean loss."""
        last, tensors = (self._next_chunk or self._reader.submit(self._read_chunk, self.step)).result()
        self._next_chunk = self._reader.submit(self._read_chunk, last) if last < self.params.steps else None
        loss = float(self._train_chunk(*tensors))
        self.step = last
        if self.cluster.is_chief and self.step % self.params.evaluate_every == 0:
            self.history.append({"step": self.step, "loss": loss, **self.task.evaluate()})
        return loss

    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self.params.steps


def fit(run: TrainingRun, checkpoints: Checkpoints | None, description: str) -> History:
    """Train to the last step, from the newest checkpoint if there is one.

    Args:
        run: the run; its task's model holds the result.
        checkpoints: where the state is kept; None in a worker, which gets it from the chief.
        description: the progress bar's title.

    Returns:
        The learning curve: step, mean training loss since the point before, and the task's metrics.

    Raises:
        KeyboardInterrupt: after a checkpoint was written, if the run was interrupted.
    """
    run.restore(checkpoints)
    is_chief = run.cluster.is_chief
    with Interrupt(is_chief) as interrupt, bar(description, run.params.steps, run.step, is_chief) as progress:
        while not run.finished():
            before = run.step
            loss = run.advance()
            progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
            progress.update(run.step - before)
            ends_interval = 0 in (run.step % run.params.checkpoint_every, run.step % run.steps_per_epoch)
            if checkpoints and (ends_interval or run.finished() or interrupt.noticed):
                run.save(checkpoints)
            if interrupt.noticed and not run.finished():
                interrupt.leave(run.step)
    return run.history
