"""Which examples a step sees: a pure function of the seed and the global step."""

import functools

import numpy as np
import numpy.typing as npt


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """The number of full batches in an epoch; the examples left over differ from epoch to epoch."""
    return max(examples // batch_size, 1)


def batch_indices(first: int, last: int, examples: int, batch_size: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices [last - first, batch_size] of the examples of steps `first` to `last`, all of one epoch."""
    epoch, start = divmod(first, steps_per_epoch(examples, batch_size))
    indices = _shuffled(seed, epoch, examples)[start * batch_size : (start + last - first) * batch_size]
    return indices.reshape(last - first, batch_size).astype(np.int64)


@functools.lru_cache(maxsize=1)
def _shuffled(seed: int, epoch: int, examples: int) -> npt.NDArray[np.uint32]:
    """The order of an epoch's examples, cached because it takes as long as many small steps."""
    order = np.arange(examples, dtype=np.uint32)
    np.random.default_rng([seed, epoch]).shuffle(order)  # the same as `permutation`, in a quarter of its memory
    return order
