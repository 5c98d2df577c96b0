"""Run tasks on threads of this machine or on a Dask cluster, with their results in order."""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, TypeVar

from stages.babyweight.source.files import File
from stages.core.errors import InputError, one_line

Result = TypeVar("Result")
Task = Callable[[], Result]

_AHEAD = 2
"""Tasks that run or wait, for each thread."""

_FEW_FILES = 3
"""Fewer files than this, and than threads, are read here: sending blocks keeps about this many threads busy."""


def _in_order(
    tasks: Iterator[Task[Result]], ahead: int, submit: Callable[[Task[Result]], Task[Result]]
) -> Iterator[Result]:
    """Each task's result, in order, with `ahead` tasks submitted. `submit` returns what waits for the result."""
    waiting: deque[Task[Result]] = deque()
    for task in tasks:
        waiting.append(submit(task))
        if len(waiting) >= ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def on_threads(tasks: Iterator[Task[Result]]) -> Iterator[Result]:
    """Run tasks on threads of this process.

    The standard library's futures start at once. `dask.compute` waits for the last task of every batch, and took a
    third longer.
    """
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        yield from _in_order(tasks, _AHEAD * threads, lambda task: pool.submit(task).result)


def on_cluster(
    by_block: Iterator[Task[Result]],
    by_file: Sequence[Task[Result]],
    files: Sequence[File],
    scheduler: str,
    timeout: float,
) -> Iterator[Result]:
    """Run tasks on the workers of a Dask cluster, which need this project's code.

    A task is a file if all workers see the same files as this machine, else a block that is sent to a worker. If a
    worker dies, the others repeat its tasks.

    Args:
        by_block: the tasks, each with its input.
        by_file: the same work, each task with a file that it opens.
        files: those files; may be empty.
        scheduler: the cluster's address.
        timeout: seconds to wait for the cluster, and for a result if no worker is left.

    Raises:
        InputError: if the cluster cannot be reached, has no worker, or fails.
    """
    import dask
    import distributed

    where = f"babyweight.operation.dask.scheduler: {scheduler}"

    def result_of(client: Any, future: Any) -> Result:
        while True:
            try:
                result: Result = future.result(timeout)
                return result
            except TimeoutError:  # a whole file may take longer: give up only if nobody works on it
                if not _threads(client, timeout):
                    raise InputError(f"{where}: no answer for {timeout:g} s; are its workers alive?") from None
            except (distributed.KilledWorker, distributed.CancelledError, ImportError, OSError) as error:
                raise InputError(f"{where}: {type(error).__name__}: {one_line(error)}") from None

    with ExitStack() as stack:
        # A task may carry a block of text, which Dask warns of as a large graph.
        stack.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}))
        try:
            client = stack.enter_context(distributed.Client(scheduler, timeout=timeout, set_as_default=False))
            client.wait_for_workers(1, timeout)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(f"{where}: expected a Dask scheduler with a worker: {error}") from None
        threads = _threads(client, timeout)
        tasks, ahead = by_block, _AHEAD * threads
        if len(files) >= min(threads, _FEW_FILES) and _see_all(client, files):
            tasks, ahead = iter(by_file), threads  # a result is as large as its file's births
        yield from _in_order(
            tasks, ahead, lambda task: functools.partial(result_of, client, client.submit(task, pure=False))
        )


def _threads(client: Any, timeout: float) -> int:
    """How many threads the cluster has; 0 if it does not answer."""
    try:
        return sum(client.sync(client.scheduler.ncores, callback_timeout=timeout).values())
    except (OSError, TimeoutError):
        return 0


def _see_all(client: Any, files: Sequence[File]) -> bool:
    """Whether all workers see the same files as this machine."""

    def identities() -> list[tuple[int, ...] | None]:
        return [file.identity() for file in files]

    here = identities()
    return None not in here and all(there == here for there in client.run(identities).values())
