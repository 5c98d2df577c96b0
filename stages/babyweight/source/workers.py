"""Run tasks on threads of this machine or on a Dask cluster, with their results in order."""

import functools
import hashlib
import json
import logging
import os
import pickle
import platform
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from stages.babyweight.source.files import File
from stages.core.errors import InputError, one_line
from stages.core.files import digest

Result = TypeVar("Result")
Task = Callable[[], Result]

_AHEAD = 2
"""Tasks that run or wait, for each thread."""

_OTHER_VERSION = (ImportError, AttributeError)
"""What a task raises that another version of this project cannot load."""

_OTHER_CODE = "expected this machine's code, and its versions of Python, NumPy and Arrow, in every worker"

_REQUESTS = 16
"""Files whose sizes are asked at a time."""

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


@functools.cache
def code_digest() -> str:
    """What births are encoded by: SHA-256 of this project's code and of the versions of Python, NumPy and Arrow."""
    folder = Path(__file__).parents[2]
    paths = [*folder.glob("babyweight/source/*.py"), *folder.glob("babyweight/p*.py"), *folder.glob("core/*.py")]
    code = {str(path.relative_to(folder)): digest(path) for path in sorted(paths)}
    versions = [platform.python_version(), *map(metadata.version, ("numpy", "pyarrow"))]
    return hashlib.sha256(json.dumps([code, versions]).encode()).hexdigest()


def run_checked(expected: str, task: Task[Result]) -> Result:
    """Run a task on a worker, if it has this code: another one would give other births without an error.

    Raises:
        InputError: if `code_digest` is another one than expected.
    """
    if code_digest() != expected:
        from distributed import get_worker

        raise InputError(f"{get_worker().address}: {_OTHER_CODE}")
    return task()


def _submitter(client: Any) -> Callable[[Task[Result]], Any]:
    """What submits a task in such a form that the scheduler need not have this project's code: as bytes."""
    expected = code_digest()

    def run_there(task: bytes) -> Any:  # defined in here, so it is sent by value
        import pickle

        from stages.babyweight.source.workers import run_checked

        return run_checked(expected, pickle.loads(task))

    return lambda task: client.submit(run_there, pickle.dumps(task), pure=False)


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
        InputError: if the cluster cannot be reached, has no worker or one with other code, or fails.
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
            except (distributed.KilledWorker, distributed.CancelledError, *_OTHER_VERSION, OSError) as error:
                raise InputError(f"{where}: {type(error).__name__}: {one_line(error)}") from None

    with ExitStack() as stack:
        # A task may carry a block of text, which Dask warns of as a large graph.
        stack.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}))
        # Dask logs a traceback of what ends in one line here.
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)
        try:
            client = stack.enter_context(distributed.Client(scheduler, timeout=timeout, set_as_default=False))
            client.wait_for_workers(1, timeout)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(f"{where}: expected a Dask scheduler with a worker: {error}") from None
        except TypeError as error:  # of TLS without certificates
            raise InputError(
                f"{where}: expected certificates in DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and "
                f"…__CLIENT__KEY: {one_line(error)}"
            ) from None
        _check_workers(client, where)
        threads = _threads(client, timeout)
        tasks, ahead = by_block, _AHEAD * threads
        if len(files) >= min(threads, _FEW_FILES) and _see_all(client, files, where):
            tasks, ahead = iter(by_file), threads  # a result is as large as its file's births
        submit = _submitter(client)
        yield from _in_order(tasks, ahead, lambda task: functools.partial(result_of, client, submit(task)))


def _threads(client: Any, timeout: float) -> int:
    """How many threads the cluster has; 0 if it does not answer."""
    try:
        return sum(client.sync(client.scheduler.ncores, callback_timeout=timeout).values())
    except (OSError, TimeoutError):
        return 0


def _check_workers(client: Any, where: str) -> None:
    """Let the workers find this project in their folder, as `dask worker` does not; refuse those with other code."""
    from distributed import WorkerPlugin

    # What is defined in here reaches workers by value, so those that do not find this project's code run it too.
    class FindProject(WorkerPlugin):  # type: ignore[misc]
        name = "find-project"

        def setup(self, worker: Any) -> None:
            import sys
            from pathlib import Path

            if Path("stages").is_dir() and str(Path.cwd()) not in sys.path:
                sys.path.insert(0, str(Path.cwd()))

    def digest_there() -> str:
        try:
            from stages.babyweight.source.workers import code_digest
        except ImportError:
            return ""
        return code_digest()

    client.register_plugin(FindProject())
    for worker, found in client.run(digest_there).items():
        if not found:
            raise InputError(f"{where}: {worker}: expected this project's code; start workers in its folder")
        if found != code_digest():
            raise InputError(f"{where}: {worker}: {_OTHER_CODE}")


def _see_all(client: Any, files: Sequence[File], where: str) -> bool:
    """Whether all workers see the same files as this machine; says which one does not, and what follows."""

    def identities() -> list[tuple[int, ...] | str]:
        with ThreadPoolExecutor(_REQUESTS) as pool:
            return list(pool.map(File.identity, files))

    here = identities()
    for worker, there in client.run(identities).items():
        for file, ours, theirs in zip(files, here, there, strict=True):
            if ours != theirs or isinstance(ours, str):
                reason = f" ({theirs})" if isinstance(theirs, str) else ""
                print(
                    f"{where}: {worker} does not see {file.address} as this machine does{reason}: "
                    "blocks are read here and sent, which keeps about three threads busy",
                    file=sys.stderr,
                )
                return False
    return True
