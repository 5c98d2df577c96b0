"""Work on blocks, done by threads of this machine or by a Dask cluster, its results in order."""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, TypeVar

from stages.core.errors import InputError

Result = TypeVar("Result")

_AHEAD = 2
"""Blocks under way or waiting, for each thread that works."""


def _in_order(
    work: Iterator[Callable[[], Result]], threads: int, submit: Callable[[Callable[[], Result]], Callable[[], Result]]
) -> Iterator[Result]:
    """Each task's result, in order, while `submit` has a few more under way: it gives what waits for one."""
    ahead: deque[Callable[[], Result]] = deque()
    for task in work:
        ahead.append(submit(task))
        if len(ahead) >= _AHEAD * threads:
            yield ahead.popleft()()
    while ahead:
        yield ahead.popleft()()


def on_threads(work: Iterator[Callable[[], Result]]) -> Iterator[Result]:
    """Each task's result, in order, from threads of this process.

    The futures are the standard library's: they start at once, and unlike `dask.compute` on a batch of
    delayed tasks, which took a third longer, they never wait for the last of a batch.
    """
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        yield from _in_order(work, threads, lambda task: pool.submit(task).result)


def on_cluster(work: Iterator[Callable[[], Result]], scheduler: str, timeout: float) -> Iterator[Result]:
    """Each task's result, in order, from the workers of a Dask cluster, each with this project's code.

    A worker that dies has its tasks done again by the others.

    Args:
        work: the tasks.
        scheduler: the cluster's address.
        timeout: seconds after which a scheduler or a block that does not answer is given up.

    Raises:
        InputError: if the cluster cannot be reached, has no worker, or fails.
    """
    import dask
    import distributed

    where = f"babyweight.prepare.dask.scheduler: {scheduler}"

    def result_of(future: Any) -> Result:
        try:
            result: Result = future.result(timeout)
        except TimeoutError:
            raise InputError(f"{where}: no answer for {timeout:g} s; are its workers alive?") from None
        except (distributed.KilledWorker, distributed.CancelledError, ImportError, OSError) as error:
            raise InputError(f"{where}: {type(error).__name__}: {' '.join(str(error).split())}") from None
        return result

    with ExitStack() as stack:
        # A task carries its block of text, and a few are under way: Dask warns of that, as a graph too large.
        stack.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}))
        try:
            client = stack.enter_context(distributed.Client(scheduler, timeout=timeout, set_as_default=False))
            client.wait_for_workers(1, timeout)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(f"{where}: expected a Dask scheduler with a worker: {error}") from None
        threads = sum(client.nthreads().values())
        yield from _in_order(work, threads, lambda task: functools.partial(result_of, client.submit(task, pure=False)))
