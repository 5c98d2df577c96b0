"""Joins requests that arrive while a model is busy in its next call.

A lone request never waits. While a call runs, others queue. When it ends they go through together, at most `rows`
instances at once. A request that has waited `wait_ms` goes through beside the running call. Calls run in threads; where
a model allows it, one that will be short runs in the loop's, since handing it to another takes longer.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from prometheus_client import Histogram

from serving.settings import Batching
from stages.rest.requests import Arrays

_SHORT = 1e-3  # seconds; the loop can wait for so short a call
_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)
_INSTANCES = Histogram("serving_call_instances", "Instances of a call", ["model", "version"], buckets=_BUCKETS)


@dataclass(frozen=True)
class _Job:
    inputs: Arrays
    rows: int
    deadline: float
    answer: asyncio.Future[Arrays]

    @property
    def form(self) -> list[tuple[int, ...]]:
        """Jobs of the same form can be joined: the same shape of an instance of each input."""
        return [value.shape[1:] for value in self.inputs.values()]


class Batcher:
    """Runs a function of arrays for one event loop.

    Args:
        function: outputs by name, for inputs by name and the seconds after which nobody waits for them.
        joinable: whether instances of several requests may go through it in one call.
        steady: whether the time of a call depends on the number of instances alone, so that it can be foretold.
        settings: instances per call, and how long a request may wait for a running one.
        pool: threads that run it.
        name: the model's name, for the metrics.
        version: its version.
    """

    def __init__(
        self,
        function: Callable[[Arrays, float], Arrays],
        joinable: bool,
        steady: bool,
        settings: Batching,
        pool: ThreadPoolExecutor,
        name: str,
        version: int,
    ) -> None:
        self._function = function
        self._joinable = joinable
        self._steady = joinable and steady
        self._settings = settings
        self._pool = pool
        self._sizes = _INSTANCES.labels(name, version)
        self._waiting: deque[_Job] = deque()
        self._running = 0
        self._short_rows = 0  # the most instances of a short call
        self._starting = False
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, inputs: Arrays, deadline: float = math.inf) -> Arrays:
        """Outputs for one request's inputs, in order.

        Args:
            inputs: arrays by name.
            deadline: `time.monotonic` after which nobody waits for them.

        Raises:
            HTTPException: as the function, for this request's inputs alone.
        """
        loop = asyncio.get_running_loop()
        counts = {value.shape[0] if value.shape else 0 for value in inputs.values()}
        rows = max(counts, default=0)
        if not self._joinable or len(counts) > 1 or not 0 < rows < self._settings.rows:
            self._sizes.observe(rows)
            return await loop.run_in_executor(self._pool, self._call, inputs, rows, deadline)
        job = _Job(inputs, rows, deadline, loop.create_future())
        self._waiting.append(job)
        if not self._running:
            self._start_soon(loop)
        elif self._timer is None:
            self._timer = loop.call_later(self._settings.wait_ms / 1000, self._start, loop)
        return await job.answer

    def _start_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start a call after the requests that came at the same time have queued."""
        if not self._starting:
            self._starting = True
            loop.call_soon(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start a call with the waiting requests."""
        self._starting = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if jobs := self._take():
            self._running += 1
            rows = sum(job.rows for job in jobs)
            self._sizes.observe(rows)
            if rows <= self._short_rows:
                self._done(jobs, self._answers(jobs), loop)
            else:
                self._pool.submit(self._work, jobs, loop)
        if self._waiting and self._running:
            self._timer = loop.call_later(self._settings.wait_ms / 1000, self._start, loop)

    def _take(self) -> list[_Job]:
        """The longest waiting request and those that fit into its call; cancelled requests are dropped."""
        jobs: list[_Job] = []
        rows = 0
        while self._waiting:
            job = self._waiting[0]
            if job.answer.cancelled():
                self._waiting.popleft()
                continue
            if jobs and (job.form != jobs[0].form or rows + job.rows > self._settings.rows):
                break
            jobs.append(self._waiting.popleft())
            rows += job.rows
        return jobs

    def _work(self, jobs: list[_Job], loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: answer the jobs, and hand the answers to the loop."""
        jobs = [job for job in jobs if not job.answer.done()]  # given up while all threads were busy
        answers = self._answers(jobs) if jobs else []
        with suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(self._done, jobs, answers, loop)

    def _call(self, inputs: Arrays, rows: int, deadline: float) -> Arrays:
        """Call the function, and remember how many instances a short call may have."""
        began = time.monotonic()
        outputs = self._function(inputs, deadline - began)
        if self._steady:
            if time.monotonic() - began < _SHORT:
                self._short_rows = max(self._short_rows, rows)
            else:
                self._short_rows = min(self._short_rows, rows - 1)
        return outputs

    def _answers(self, jobs: list[_Job]) -> list[Arrays | Exception]:
        """One call for all jobs or, if it fails, one for each, so that no request fails for another."""
        try:
            if len(jobs) == 1:
                return [self._call(jobs[0].inputs, jobs[0].rows, jobs[0].deadline)]
            joined = {name: np.concatenate([job.inputs[name] for job in jobs]) for name in jobs[0].inputs}
            ends = list(accumulate(job.rows for job in jobs))
            outputs = self._call(joined, ends[-1], max(job.deadline for job in jobs))
            if any(len(value) != ends[-1] for value in outputs.values()):
                raise ValueError("an output does not have one row for each instance")
            return [
                {name: value[end - job.rows : end] for name, value in outputs.items()}
                for job, end in zip(jobs, ends, strict=True)
            ]
        except Exception as error:
            return [error] if len(jobs) == 1 else [answer for job in jobs for answer in self._answers([job])]

    def _done(self, jobs: list[_Job], answers: list[Arrays | Exception], loop: asyncio.AbstractEventLoop) -> None:
        self._running -= 1
        for job, answer in zip(jobs, answers, strict=True):
            if job.answer.done():
                continue
            if isinstance(answer, Exception):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)
        if self._waiting and not self._running:
            self._start_soon(loop)
