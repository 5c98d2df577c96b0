"""Whether what reads a client's bytes takes time in proportion to them."""

from collections.abc import Callable
from time import perf_counter


def assert_linear(read: Callable[[int], object], size: int) -> None:
    """Check that input of twice the size takes at most two and a half times as long.

    What takes a few milliseconds is too short to tell; the square of it would not stay so short.

    Args:
        read: reads input of a size.
        size: the smaller size.
    """
    for _ in range(5):  # the machine may be busy
        seconds = []
        for times in (1, 2):
            start = perf_counter()
            read(times * size)
            seconds.append(perf_counter() - start)
        if seconds[1] <= max(2.5 * seconds[0], 0.02):
            return
    raise AssertionError(f"{size} and {2 * size} took {seconds[0]:.3f} and {seconds[1]:.3f} seconds")
