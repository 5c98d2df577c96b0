"""The supervised training loop: compiled in chunks of steps, exact to resume.

`keras.Model.fit` cannot resume inside an epoch. Here everything that a step depends on is either a variable
that a checkpoint holds, or a pure function of the global step: the order of the examples is
`default_rng([seed, epoch]).permutation`, and a learner draws its distortions from the step's number.
"""

import argparse
import functools
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages import runtime
from stages.core.errors import InputError
from stages.core.files import significant, write_json
from stages.core.params import Training
from stages.supervised import micro_batches
from stages.supervised.cluster import Machines
from stages.training.checkpoint import Arrays, Checkpoints, explain_start, note_finished, run_digest
from stages.training.progress import Interrupt, bar
from stages.training.provenance import describe
from stages.weights import write_curve, write_weights

LONGEST_CHUNK = 100
"""Steps of one compiled call: between two calls the run looks for Ctrl-C and moves its progress bar."""

_BETAS, _EPSILON = (0.9, 0.999), 1e-7

History = list[dict[str, float]]


class Learner(Protocol):
    """What a workload gives to be trained."""

    model: keras.Model

    def examples(self, indices: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
        """Arrays [n, batch, …] of the training examples at `indices` [n, batch], for global steps [n]."""

    def loss(self, examples: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """Losses float32 [rows] of a part [rows, …] of a batch of such arrays, at a global step."""

    def statistics(self) -> Sequence[tuple[tf.Variable, tf.Tensor]]:
        """Variables that follow the batches, and where the last `loss` would take each; all parts' mean counts."""

    def evaluate(self) -> dict[str, float]:
        """Metrics on held-out data, for the learning curve."""


def rates(schedule: Training, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Learning rates [n] of steps [n].

    Constant, or one cycle: a linear rise over the first quarter of the steps, then a cosine down to zero
    (after Smith, "Super-Convergence", 2017).
    """
    highest = schedule.learning_rate
    if schedule.schedule == "constant":
        return np.full(len(steps), highest)
    rise = schedule.steps // 4
    up = highest / 25 + (highest - highest / 25) * steps / max(rise, 1)
    down = highest * (1 + np.cos(np.pi * (steps - rise) / (schedule.steps - rise))) / 2
    return np.where(steps < rise, up, down)


class Adam:
    """Adam (Kingma and Ba, 2015), in one operation a variable.

    What is the same for all variables is computed for many steps at once, before the graph runs: in every step it
    would take longer than a small network's update.

    Args:
        variables: what it trains, made in the same strategy's scope.
        schedule: how fast.
    """

    def __init__(self, variables: Sequence[tf.Variable], schedule: Training) -> None:
        self._trained, self._schedule = list(variables), schedule
        self._moments = [tuple(tf.Variable(tf.zeros_like(v)) for _ in _BETAS) for v in self._trained]

    @property
    def variables(self) -> list[tf.Variable]:
        """Its state: both moments of each variable."""
        return [moment for moments in self._moments for moment in moments]

    def factors(self, first: int, last: int) -> npt.NDArray[np.float32]:
        """What steps `first` to `last` need, [last - first, 3]: the rate and the powers of both betas."""
        steps = np.arange(first, last)
        powers = [beta ** (steps + 1.0) for beta in _BETAS]
        return np.stack([rates(self._schedule, steps), *powers], axis=1, dtype=np.float32, casting="same_kind")

    def apply(self, gradients: Sequence[tf.Tensor], factors: tf.Tensor) -> None:
        """Change the variables.

        Args:
            gradients: of each, the same in every replica.
            factors: the step's row of `factors`.
        """
        tf.distribute.get_replica_context().merge_call(self._update, (gradients, factors))

    def _update(self, strategy: tf.distribute.Strategy, gradients: Sequence[Any], factors: Any) -> None:
        for variable, moments, gradient in zip(self._trained, self._moments, gradients, strict=True):
            strategy.extended.update(variable, self._change, (*moments, gradient, factors), group=False)

    @staticmethod
    def _change(variable: tf.Variable, m: tf.Variable, v: tf.Variable, gradient: tf.Tensor, factors: tf.Tensor) -> None:
        rate, beta1_power, beta2_power = tf.unstack(factors)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            epsilon=_EPSILON,
            grad=gradient,
        )


def paired_sum(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of neighbours, then of neighbouring sums, and so on."""
    while len(values) > 1:
        pairs = [a + b for a, b in zip(values[::2], values[1::2], strict=False)]
        values = [*pairs, *values[2 * len(pairs) :]]
    return values[0]


def total(found: Sequence[Sequence[tf.Tensor]]) -> list[tf.Tensor]:
    """Sums over all parts of all replicas, in pairs: first within a replica, then between them.

    So they are rounded the same however many replicas share the parts, as long as both are powers of two.

    Args:
        found: the same float32 tensors of each part of this replica.
    """
    here = [paired_sum(values) for values in zip(*found, strict=True)]
    place, replicas = micro_batches.replica()
    if replicas == 1:
        return here
    # Each replica's in a row of its own, so that the exchange itself rounds nothing.
    flat = tf.concat([tf.reshape(value, [-1]) for value in here], axis=0)
    rows = tf.one_hot(place, replicas)[:, tf.newaxis] * flat
    rows = tf.distribute.get_replica_context().all_reduce("SUM", rows)
    sums = tf.split(paired_sum(tf.unstack(rows)), [value.shape.num_elements() for value in here])
    return [tf.reshape(summed, value.shape) for summed, value in zip(sums, here, strict=True)]


def batches(first: int, last: int, examples: int, batch_size: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices [last - first, batch_size] of the examples of steps `first` to `last`, all of one epoch."""
    per_epoch = steps_per_epoch(examples, batch_size)
    epoch, start = divmod(first, per_epoch)
    chosen = _order(seed, epoch, examples)[start * batch_size : (start + last - first) * batch_size]
    return chosen.reshape(last - first, batch_size).astype(np.int64)


@functools.lru_cache(maxsize=1)
def _order(seed: int, epoch: int, examples: int) -> npt.NDArray[np.uint32]:
    """The order of an epoch's examples: kept, as it takes as long as many small steps."""
    order = np.arange(examples, dtype=np.uint32)
    np.random.default_rng([seed, epoch]).shuffle(order)  # as `permutation`, in a quarter of its memory
    return order


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Whole batches in an epoch; a smaller rest is left out, another one each epoch."""
    return max(examples // batch_size, 1)


class Run:
    """A training run: a learner, its optimiser and the state that a checkpoint holds.

    Args:
        learner: what is trained.
        schedule: for how long and how fast.
        seed: of the order of the examples.
        examples: number of training examples.
        is_chief: whether this process measures; every process of a cluster takes the same steps.
    """

    def __init__(self, learner: Learner, schedule: Training, seed: int, examples: int, is_chief: bool = True) -> None:
        self.learner, self.schedule, self.seed, self.examples = learner, schedule, seed, examples
        self.is_chief = is_chief
        self.strategy = tf.distribute.get_strategy()
        replicas = self.strategy.num_replicas_in_sync
        self.parts_here = max(schedule.micro_batches // replicas, 1)
        count = self.parts_here * replicas
        if examples < count:
            raise InputError(
                f"micro_batches, replicas: {count}: expected at most the number of training examples, {examples}"
            )
        self.batch_size = min(schedule.batch_size, examples) // count * count
        self.optimizer = Adam([variable.value for variable in learner.model.trainable_variables], schedule)
        self.step = 0
        self.history: History = []
        self._reader = ThreadPoolExecutor(1)
        self._ahead: Future[tuple[int, Any]] | None = None
        first = learner.examples(np.zeros([1, self.batch_size], np.int64), np.zeros([1], np.int64))
        self._chunk = tf.function(
            self._run_chunk,
            input_signature=[
                tuple(tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in first),
                tf.TensorSpec([None, 3], tf.float32),
                tf.TensorSpec([], tf.int64),
            ],
        )

    def _run_chunk(self, examples: Sequence[tf.Tensor], factors: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """Make a step for each row of `examples` and the optimiser's `factors`; return the mean loss of all."""
        summed = tf.zeros([])
        for i in tf.range(tf.shape(factors, out_type=tf.int64)[0]):
            # A gather's graph is smaller than a slice's.
            batch, of_step = tuple(tf.gather(array, i) for array in examples), tf.gather(factors, i)
            losses = self.strategy.run(self._run_step, (batch, of_step, first + i))
            summed += self.strategy.experimental_local_results(losses)[0]
        return summed / tf.cast(tf.shape(factors)[0], tf.float32)

    def _run_step(self, batch: Sequence[tf.Tensor], factors: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Work on a replica's parts of a batch, then change its variables as all do; return the mean loss."""
        variables = self.learner.model.trainable_variables
        found = []
        for _ in micro_batches.each_part(self.parts_here):
            with tf.GradientTape() as tape:
                losses = self.learner.loss([micro_batches.share(array) for array in batch], step)
                loss = tf.reduce_sum(losses) / self.batch_size
            gradients = tape.gradient(loss, variables)
            means = [value / micro_batches.parts() for _, value in self.learner.statistics()]
            found.append([loss, *gradients, *means])
        loss, *totals = total(found)
        gradients, means = totals[: len(variables)], totals[len(variables) :]
        self.optimizer.apply(gradients, factors)
        if means:
            tf.distribute.get_replica_context().merge_call(self._follow, (means,))
        return loss

    def _follow(self, strategy: tf.distribute.Strategy, means: Sequence[Any]) -> None:
        for (variable, _), mean in zip(self.learner.statistics(), means, strict=True):
            strategy.extended.update(variable, lambda v, value: v.assign(value), (mean,), group=False)

    def _variables(self) -> dict[str, tf.Variable]:
        """Everything that a step changes: weights, batch statistics, seed generators, optimiser."""
        model = {f"model/{i}": v.value for i, v in enumerate(self.learner.model.variables)}
        return model | {f"optimizer/{i}": v for i, v in enumerate(self.optimizer.variables)}

    def save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint of the present step."""
        arrays: Arrays = {name: variable.numpy() for name, variable in self._variables().items()}
        checkpoints.save(self.step, arrays, self.history)

    def restore(self, checkpoints: Checkpoints | None, machines: Machines) -> None:
        """Go on from the newest checkpoint, if there is one; a worker without any, from the chief's."""
        found = checkpoints.latest(at_most=self.schedule.steps) if checkpoints else None
        if found:
            self.step, arrays, self.history = found
            print(f"resumed at step {self.step}", file=sys.stderr)
            for name, variable in self._variables().items():
                variable.assign(arrays[name])
        self.step = int(machines.from_chief(str(self.step).encode()))
        if self.step:
            for variable in self._variables().values():
                mine = variable.numpy()
                variable.assign(np.frombuffer(machines.from_chief(mine.tobytes()), mine.dtype).reshape(mine.shape))

    def stop_after(self, step: int) -> int:
        """The step at which the chunk from `step` on ends: something is due there, or it is long enough."""
        schedule, per_epoch = self.schedule, steps_per_epoch(self.examples, self.batch_size)
        due = (schedule.evaluate_every, schedule.checkpoint_every, per_epoch)
        return min(*(step - step % every + every for every in due), step + LONGEST_CHUNK, schedule.steps)

    def _read(self, first: int) -> tuple[int, Any]:
        """The end of the chunk from step `first` on, and its tensors: examples, factors, first step."""
        last = self.stop_after(first)
        indices = batches(first, last, self.examples, self.batch_size, self.seed)
        examples = tuple(map(tf.constant, self.learner.examples(indices, np.arange(first, last))))
        return last, (examples, tf.constant(self.optimizer.factors(first, last)), tf.constant(first, tf.int64))

    def advance(self) -> float:
        """Run one chunk while the next one is read; return its mean loss."""
        last, tensors = (self._ahead or self._reader.submit(self._read, self.step)).result()
        self._ahead = self._reader.submit(self._read, last) if last < self.schedule.steps else None
        loss = float(self._chunk(*tensors))
        self.step = last
        if self.is_chief and self.step % self.schedule.evaluate_every == 0:
            self.history.append({"step": self.step, "loss": loss, **self.learner.evaluate()})
        return loss

    def checkpoint_due(self) -> bool:
        """Whether the present step ends an epoch or an interval between checkpoints."""
        per_epoch = steps_per_epoch(self.examples, self.batch_size)
        return self.step % self.schedule.checkpoint_every == 0 or self.step % per_epoch == 0


def train(
    learner: Learner,
    schedule: Training,
    seed: int,
    examples: int,
    checkpoints: Checkpoints | None,
    description: str,
    machines: Machines | None = None,
) -> History:
    """Train to the schedule's last step, from the newest checkpoint if there is one.

    Args:
        learner: what is trained; its model holds the result.
        schedule: steps, batch size, rate and intervals.
        seed: of the order of the examples.
        examples: number of training examples.
        checkpoints: where the state is kept; None in a worker, which gets it from the chief.
        description: the progress bar's title.
        machines: the replicas, in whose scope this is called; None for one.

    Returns:
        The learning curve: step, mean training loss since the last pause, and the learner's metrics.

    Raises:
        KeyboardInterrupt: after a checkpoint was written, if the run was interrupted.
    """
    machines = machines or Machines()
    chief = machines.is_chief
    run = Run(learner, schedule, seed, examples, chief)
    run.restore(checkpoints, machines)
    with Interrupt(chief) as interrupt, bar(description, schedule.steps, run.step, chief) as shown:
        while run.step < schedule.steps:
            before = run.step
            loss = run.advance()
            shown.set_postfix(loss=f"{loss:.4f}", refresh=False)
            shown.update(run.step - before)
            if checkpoints and (run.checkpoint_due() or interrupt.noticed or run.step == schedule.steps):
                run.save(checkpoints)
            if interrupt.noticed and run.step < schedule.steps:
                interrupt.leave(run.step)
    machines.trained()
    return run.history


def run_name(workload: str, provenance: Mapping[str, Any], schedule: Training) -> str:
    """Digest of a run: two runs of one name pass through the same states.

    With a constant rate the number of steps is no part of it, so a longer run goes on where a shorter one
    ended; with one cycle the rate depends on it.
    """
    irrelevant = ["checkpoint_every", "max_to_keep", "worker_timeout"] + (
        ["steps"] if schedule.schedule == "constant" else []
    )
    return run_digest(provenance, tuple(f"{workload}.train.{key}" for key in irrelevant))


def train_and_write(
    workload: str,
    learner: Learner,
    examples: int,
    params: Any,
    config: Mapping[str, Any],
    args: argparse.Namespace,
    machines: Machines,
) -> None:
    """Train a supervised model, from its checkpoint if it has one, and write the stage's outputs.

    Args:
        workload: its name.
        learner: what is trained.
        examples: number of training examples.
        params: the stage's reader, with `seed` and `train`.
        config: what its `model.build` takes.
        args: what `add_outputs` gave, and the input folder `data`.
        machines: the replicas, in whose scope the learner was made; only the chief writes.

    Raises:
        InputError: if this process was given other parameters, data or code than the chief.
    """
    schedule: Training = params.train
    provenance = describe(params, [args.data], runtime.device())
    name = run_name(workload, provenance, schedule)
    if machines.from_chief(name.encode()) != name.encode():
        raise InputError(f"{workload}: this worker's parameters, data, code or libraries are not the chief's")
    if not machines.is_chief:
        train(learner, schedule, params.seed, examples, None, workload, machines)
        return
    with Checkpoints(workload, name, schedule.max_to_keep) as checkpoints:
        if checkpoints.latest(schedule.steps) is None and schedule.schedule == "one_cycle":
            explain_start(workload, provenance)
        history = train(learner, schedule, params.seed, examples, checkpoints, workload, machines)
        write_weights(args.weights, learner.model.save_weights, config, provenance)
        last = {name: significant(value) for name, value in learner.evaluate().items()}
        write_curve(args.curve, history, ["step", "loss", *last])
        counts = {"parameters": learner.model.count_params()}
        write_json(args.metrics, last | counts)
        if schedule.schedule == "one_cycle":
            checkpoints.clear()
        note_finished(workload, provenance)
