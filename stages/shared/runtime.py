"""TensorFlow as the project runs it: deterministic, a fixed number of threads, a GPU where there is one.

A batch has parts: they are shared out among replicas and, within one, among threads. What is random or normalised
asks here which of them is at work. The settings that must precede TensorFlow's import are in `stages/__init__.py`.
"""

import contextvars
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from stages.shared.params import Runtime

_PART: contextvars.ContextVar[tuple[int, int]] = contextvars.ContextVar("_PART", default=(0, 1))


def configure(runtime: Runtime, seed: int | None = 0, parts: int | None = None) -> None:
    """Set up this process, before it makes its first tensor.

    Args:
        runtime: the number of threads.
        seed: of Python's, NumPy's and TensorFlow's global generators; None leaves them alone, and Keras
            unimported, which takes a second.
        parts: of a batch, each of which a thread of its own works on; None: the threads share each operation.
    """
    tf.get_logger().setLevel("ERROR")
    tf.config.threading.set_intra_op_parallelism_threads(1 if parts else runtime.threads)
    tf.config.threading.set_inter_op_parallelism_threads(min(parts or 1, runtime.threads))
    tf.config.experimental.enable_op_determinism()
    if parts:  # sums are added in the order that is written, which this would change with the number of parts
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    if seed is not None:
        import keras

        keras.utils.set_random_seed(seed)


def each_part(count: int) -> Iterator[int]:
    """Go through this replica's parts: in the loop's body, the functions below speak of one of them."""
    for index in range(count):
        token = _PART.set((index, count))
        yield index
        _PART.reset(token)


def is_first_part() -> bool:
    """Whether the present part is its replica's first."""
    return _PART.get()[0] == 0


def replica() -> tuple[Any, int]:
    """This replica's place, and how many there are; one outside of steps."""
    context = tf.distribute.get_replica_context()
    return (context.replica_id_in_sync_group, int(context.num_replicas_in_sync)) if context else (0, 1)


def parts() -> int:
    """How many parts a batch has, over all replicas."""
    return _PART.get()[1] * replica()[1]


def share(whole: tf.Tensor) -> tf.Tensor:
    """The present part of the rows [batch, …] of a whole batch."""
    if parts() == 1:
        return whole
    (part, here), (place, _) = _PART.get(), replica()
    rows = tf.shape(whole)[0] // parts()
    first = (place * here + part) * rows
    return whole[first : first + rows]


def device() -> str:
    """The kind of device that TensorFlow computes on."""
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
