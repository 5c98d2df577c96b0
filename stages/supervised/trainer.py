"""The supervised training loop: compiled in chunks of steps, resumed to the same bytes.

`keras.Model.fit` cannot resume inside an epoch. Here, everything a step depends on is either a variable that a
checkpoint holds or a pure function of the global step.
"""

import statistics
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages import times
from stages.core.errors import InputError
from stages.core.params import SupervisedTrain
from stages.supervised.batches import batch_indices, steps_per_epoch
from stages.supervised.cluster import Cluster
from stages.supervised.micro_batches import MicroBatches
from stages.supervised.optimizer import Adam
from stages.training.checkpoint import Checkpoints
from stages.training.progress import Interrupt, bar

CHUNK_STEPS = 100
"""Most steps in one compiled call: between two calls the run checks for Ctrl-C and updates its progress bar."""

History = list[dict[str, float]]


class SupervisedTask(ABC):
    """What a workload defines: a model, its examples, its loss and its metrics."""

    model: keras.Model
    config: dict[str, Any]
    """What `model.build` of the workload takes."""
    num_examples: int
    """Number of training examples."""

    @abstractmethod
    def examples(self, indices: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
        """Read the training examples at `indices` [n, batch] for global steps [n], as arrays [n, batch, …]."""

    def draw(self, step: tf.Tensor, batch_size: int) -> Sequence[tf.Tensor]:
        """Draw random tensors [batch, …] of a step, a pure function of the global step; by default none.

        What the model's own layers draw, such as `Dropout`, needs no place here.
        """
        return ()

    @abstractmethod
    def loss(self, batch: Sequence[tf.Tensor]) -> tf.Tensor:
        """Compute the losses float32 [n] of a micro-batch; those left out count as zero.

        The model's own losses, such as a regularizer's, are added. Variables that are not trained, such as the moving
        statistics of batch normalisation, keep their values within a step. They become the mean of what the
        micro-batches assign to them.

        Args:
            batch: rows [n, …] of what `examples` returned, then of what `draw` returned.
        """

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Compute metrics on all held-out data."""

    def evaluate_point(self) -> dict[str, float]:
        """Compute them for a point of the learning curve, on a fixed sample if there is much held-out data."""
        return self.evaluate()


class Trainer:
    """Trains a task step by step, and holds the state that a checkpoint keeps.

    Args:
        task: what to train.
        params: steps, batch size, rate and interval of the evaluations.
        seed: seed of the order of the examples.
        cluster: the processes that share the work; every one takes the same steps.
        checkpoint_every: steps between two checkpoints; None: one at the end.
    """

    def __init__(
        self,
        task: SupervisedTask,
        params: SupervisedTrain,
        seed: int,
        cluster: Cluster | None = None,
        checkpoint_every: int | None = None,
    ) -> None:
        self.task, self.params, self.seed, self.examples = task, params, seed, task.num_examples
        self.cluster, self.checkpoint_every = cluster or Cluster(), checkpoint_every or params.steps
        self.strategy = self.cluster.strategy
        replicas = self.strategy.num_replicas_in_sync
        self.micro_batches = MicroBatches(max(params.micro_batches // replicas, 1), replicas)
        count = self.micro_batches.count
        if self.examples < count:
            raise InputError(
                f"micro_batches, replicas: {count}: expected at most the number of training examples, {self.examples}"
            )
        self.batch_size = min(params.batch_size, self.examples) // count * count
        if self.batch_size < params.batch_size and self.cluster.is_chief:
            print(
                f"batch_size: {params.batch_size}: more than the {self.examples} training examples; "
                f"each step takes {self.batch_size}",
                file=sys.stderr,
            )
        self.steps_per_epoch = steps_per_epoch(self.examples, self.batch_size)
        self.optimizer = Adam([variable.value for variable in task.model.trainable_variables], params)
        self._weights = task.model.non_trainable_weights
        ids = set(map(id, task.model.weights))
        self._seeds = [v for v in task.model.variables if id(v) not in ids]  # what layers draw by
        self.step = 0
        self.history: History = []
        self._losses: list[float] = []  # of each step since the last point of the history
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
        """Take a step for each row of `examples` and the optimizer's `factors`; return their losses."""
        steps = tf.shape(factors)[0]
        losses = tf.TensorArray(tf.float32, steps)
        for i in tf.range(steps):
            # A gather's graph is smaller than a slice's.
            batch, step_factors = tuple(tf.gather(array, i) for array in examples), tf.gather(factors, i)
            loss = self.strategy.run(self._step, (batch, step_factors, first + tf.cast(i, tf.int64)))
            losses = losses.write(i, self.strategy.experimental_local_results(loss)[0])
        return losses.stack()

    def _step(self, batch: Sequence[tf.Tensor], factors: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Compute a replica's micro-batches, sum over all replicas and update the variables; return the mean loss."""
        variables, count = self.task.model.trainable_variables, self.micro_batches.count
        results, moved = [], []
        for index, rows in self.micro_batches.split([*batch, *self.task.draw(step, self.batch_size)]):
            with tf.GradientTape() as tape, self._frozen(step * count + tf.cast(index, tf.int64)) as scope:
                loss = tf.reduce_sum(self.task.loss(rows)) / self.batch_size
                loss = sum([value / count for value in self.task.model.losses], loss)
            moved = [v for v in self._weights if scope.get_current_value(v) is not None]
            means = [tf.cast(scope.get_current_value(v), tf.float32) / count for v in moved]
            results.append([loss, *tape.gradient(loss, variables), *means])
        loss, *sums = self.micro_batches.sum(results)
        self.optimizer.apply(sums[: len(variables)], factors)
        if moved:
            values = [_as_type(value, v.dtype) for v, value in zip(moved, sums[len(variables) :], strict=True)]
            tf.distribute.get_replica_context().merge_call(self._move, ([v.value for v in moved], values))
        return loss

    def _frozen(self, micro_batch: tf.Tensor) -> keras.StatelessScope:
        """A scope in which a model is a pure function of its variables: it keeps what layers assign to them.

        Args:
            micro_batch: index int64 of the micro-batch, from the first step on. Layers draw by it.
        """
        seeds = [(v, tf.random.fold_in(tf.cast(v.value, tf.int64), micro_batch)) for v in self._seeds]
        regularized = [(v, v.value) for v in self.task.model.trainable_variables if v.regularizer]
        return keras.StatelessScope([*seeds, *regularized], collect_losses=True)

    def _move(self, strategy: tf.distribute.Strategy, variables: Sequence[Any], values: Sequence[Any]) -> None:
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(variable, lambda v, value: v.assign(value), (value,), group=False)

    def _variables(self) -> dict[str, tf.Variable]:
        """Everything that a step changes: the model's and the optimizer's variables."""
        model = {f"model/{i}": v.value for i, v in enumerate(self.task.model.variables)}
        return model | {f"optimizer/{i}": v for i, v in enumerate(self.optimizer.variables)}

    def save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint of the current step."""
        checkpoints.save(
            self.step, {name: v.numpy() for name, v in self._variables().items()}, [self.history, self._losses]
        )

    def restore(self, checkpoints: Checkpoints | None) -> None:
        """Resume from the newest checkpoint, if there is one; a worker receives the chief's state."""
        if checkpoints and (newest := checkpoints.latest(at_most=self.params.steps)):
            self.step, arrays, (self.history, self._losses) = newest
            print(f"resumed at step {self.step}", file=sys.stderr)
            times.note(f"from step {self.step:,} on")
            for name, variable in self._variables().items():
                variable.assign(arrays[name])
        self.step = int(self.cluster.broadcast(np.array(self.step)))
        if self.step:
            for variable in self._variables().values():
                variable.assign(self.cluster.broadcast(variable.numpy()))

    def _read_chunk(self, first: int) -> tuple[int, Any]:
        """Read the chunk from step `first` to where something is due: its end, and the tensors that `_chunk` takes."""
        intervals = (self.params.evaluate_every, self.checkpoint_every, self.steps_per_epoch)
        last = min(*(first - first % every + every for every in intervals), first + CHUNK_STEPS, self.params.steps)
        indices = batch_indices(first, last, self.examples, self.batch_size, self.seed)
        examples = tuple(map(tf.constant, self.task.examples(indices, np.arange(first, last))))
        return last, (examples, tf.constant(self.optimizer.factors(first, last)), tf.constant(first, tf.int64))

    def advance(self) -> float:
        """Train one chunk while the next one is read; return its mean loss."""
        last, tensors = (self._next_chunk or self._reader.submit(self._read_chunk, self.step)).result()
        self._next_chunk = self._reader.submit(self._read_chunk, last) if last < self.params.steps else None
        losses: list[float] = self._train_chunk(*tensors).numpy().tolist()
        self.step = last
        self._losses += losses
        if self.cluster.is_chief and self.step % self.params.evaluate_every == 0:
            self.history.append(
                {"step": self.step, "loss": statistics.fmean(self._losses), **self.task.evaluate_point()}
            )
            self._losses.clear()
        return statistics.fmean(losses)

    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self.params.steps


def _as_type(mean: tf.Tensor, dtype: str) -> tf.Tensor:
    """A mean in a variable's own type, such as a whole number where it counts."""
    return tf.cast(mean if "float" in dtype else tf.round(mean), dtype)


def fit(trainer: Trainer, checkpoints: Checkpoints | None, description: str) -> History:
    """Train to the last step, from the newest checkpoint if there is one.

    Args:
        trainer: its task's model holds the result.
        checkpoints: where the state is kept; None in a worker, which gets it from the chief.
        description: the progress bar's title.

    Returns:
        The learning curve: step, mean training loss since the point before, and the task's metrics.

    Raises:
        KeyboardInterrupt: after a checkpoint was written, if the run was interrupted.
    """
    trainer.restore(checkpoints)
    is_chief = trainer.cluster.is_chief
    with Interrupt(is_chief) as interrupt, bar(description, trainer.params.steps, trainer.step, is_chief) as progress:
        while not trainer.finished():
            before = trainer.step
            loss = trainer.advance()
            progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
            progress.update(trainer.step - before)
            ends_interval = 0 in (trainer.step % trainer.checkpoint_every, trainer.step % trainer.steps_per_epoch)
            if checkpoints and (ends_interval or trainer.finished() or interrupt.noticed):
                trainer.save(checkpoints)
            if interrupt.noticed and not trainer.finished():
                interrupt.leave(trainer.step)
    return trainer.history
