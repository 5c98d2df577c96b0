"""Micro-batches: the equal parts of a batch, shared among replicas and computed by one thread each.

A micro-batch is always computed by itself, and sums over micro-batches are added in pairs in a fixed order. So the
result does not depend on how many replicas, processes or threads share the micro-batches of a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class MicroBatches:
    """How batches are divided.

    Args:
        per_replica: micro-batches of a batch that one replica computes.
        replicas: devices that share a batch.
    """

    per_replica: int
    replicas: int

    @property
    def count(self) -> int:
        """The number of micro-batches in a batch."""
        return self.per_replica * self.replicas

    def split(self, batch: Sequence[tf.Tensor]) -> Iterator[tuple[Any, list[tf.Tensor]]]:
        """Yield the current replica's micro-batches [batch / count, …] of tensors [batch, …], each with its index."""
        if self.count == 1:
            yield 0, list(batch)
            return
        first, rows = _replica() * self.per_replica, tf.shape(batch[0])[0] // self.count
        for index in range(self.per_replica):
            start = (first + index) * rows
            yield first + index, [whole[start : start + rows] for whole in batch]

    def sum(self, values: Sequence[Sequence[tf.Tensor]]) -> list[tf.Tensor]:
        """Add up float32 tensors over all micro-batches of all replicas.

        Sums are taken in pairs, first within a replica and then between replicas. They round the same however many
        replicas there are, as long as both numbers are powers of two.

        Args:
            values: the tensors of each of the current replica's micro-batches.

        Returns:
            Their sums, the same in every replica.
        """
        local = [pairwise_sum(same) for same in zip(*values, strict=True)]
        if self.replicas == 1:
            return local
        # Each replica fills a row of its own and zeros elsewhere, so the exchange itself does not round.
        flat = tf.concat([tf.reshape(value, [-1]) for value in local], axis=0)
        rows = tf.one_hot(_replica(), self.replicas)[:, tf.newaxis] * flat
        rows = tf.distribute.get_replica_context().all_reduce("SUM", rows)
        sums = tf.split(pairwise_sum(tf.unstack(rows)), [value.shape.num_elements() for value in local])
        return [tf.reshape(summed, value.shape) for summed, value in zip(sums, local, strict=True)]


def _replica() -> Any:
    """The current replica's index."""
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def pairwise_sum(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of neighbours, then of neighbouring sums, and so on."""
    while len(values) > 1:
        pairs = [a + b for a, b in zip(values[::2], values[1::2], strict=False)]
        values = [*pairs, *values[2 * len(pairs) :]]
    return values[0]
