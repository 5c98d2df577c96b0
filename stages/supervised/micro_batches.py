"""Micro-batches: the equal parts of a batch, divided among replicas and, within one, among threads."""

import contextvars
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

_PART: contextvars.ContextVar[tuple[int, int]] = contextvars.ContextVar("_PART", default=(0, 1))


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
