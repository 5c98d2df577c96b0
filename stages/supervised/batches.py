"""Which examples a step sees: a pure function of the seed and the global step."""

import functools

import numpy as np
import numpy.typing as npt

MOST_SHUFFLED = 1 << 24
"""Examples up to which an epoch's order is a shuffled list: a longer one takes seconds and memory at each start."""
_ROUNDS = 6


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """The number of full batches in an epoch; the examples left over differ from epoch to epoch."""
    return max(examples // batch_size, 1)


def batch_indices(first: int, last: int, examples: int, batch_size: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices [last - first, batch_size] of the examples of steps `first` to `last`, all of one epoch."""
    epoch, start = divmod(first, steps_per_epoch(examples, batch_size))
    places = slice(start * batch_size, (start + last - first) * batch_size)
    if examples > MOST_SHUFFLED:
        indices = _scattered(np.arange(places.start, places.stop), seed, epoch, examples)
    else:
        indices = _shuffled(seed, epoch, examples)[places].astype(np.int64)
    return indices.reshape(last - first, batch_size)


def _scattered(places: npt.NDArray[np.int64], seed: int, epoch: int, examples: int) -> npt.NDArray[np.int64]:
    """The examples at some places of an epoch's order, [n], without the whole of it.

    A Feistel network permutes the numbers of 2k bits; those beyond the examples are permuted until they are none
    (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
    """
    half = np.uint64(((examples - 1).bit_length() + 1) // 2)
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = np.random.default_rng([seed, epoch]).integers(0, 2**64, _ROUNDS, np.uint64)

    def permuted(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = numbers >> half, numbers & mask
        for key in keys:
            mixed = (right + key) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
            left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
        return (left << half) | right

    found = permuted(places.astype(np.uint64))
    while (beyond := np.flatnonzero(found >= examples)).size:
        found[beyond] = permuted(found[beyond])
    return found.astype(np.int64)


@functools.lru_cache(maxsize=1)
def _shuffled(seed: int, epoch: int, examples: int) -> npt.NDArray[np.uint32]:
    """The order of an epoch's examples, cached because it takes as long as many small steps."""
    order = np.arange(examples, dtype=np.uint32)
    np.random.default_rng([seed, epoch]).shuffle(order)  # the same as `permutation`, in a quarter of its memory
    return order
