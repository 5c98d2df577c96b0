"""Concurrent requests share calls; none waits without need, none gets another's answer or error."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from serving import batching
from serving.batching import Batcher
from serving.settings import Batching
from stages.rest.requests import Arrays


class Model:
    """Doubles its input, notes each call's rows, and holds each call back until it is let go."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, inputs: Arrays, seconds: float) -> Arrays:
        self.calls.append(len(inputs["x"]))
        self.begun.release()
        assert self.go.acquire(timeout=10)
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"y": inputs["x"] * 2}

    async def running(self, calls: int = 1) -> None:
        for _ in range(calls):
            assert await asyncio.to_thread(self.begun.acquire, timeout=10)

    def let_go(self, calls: int) -> None:
        self.go.release(calls)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as found:
        yield found


def batcher(model: Model, pool: ThreadPoolExecutor, rows: int = 8, wait_ms: float = 60_000) -> Batcher:
    settings = Batching(row_independent_models=[], rows=rows, wait_ms=wait_ms)
    return Batcher(model, True, False, settings, pool, "demo", 1)


def values(*numbers: float) -> Arrays:
    return {"x": np.array(numbers)}


def test_a_lone_request_goes_at_once(pool: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        model = Model()
        model.let_go(1)
        answer = await batcher(model, pool).run(values(1, 2))
        assert answer["y"].tolist() == [2, 4]
        assert model.calls == [2]

    asyncio.run(scenario())


def test_requests_during_a_call_share_the_next(pool: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        model = Model()
        target = batcher(model, pool)
        first = asyncio.create_task(target.run(values(1)))
        await model.running()
        others = [asyncio.create_task(target.run(values(number, -0.0))) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        model.let_go(2)
        assert (await first)["y"].tolist() == [2]
        assert [answer["y"].tolist() for answer in await asyncio.gather(*others)] == [[4, 0], [6, 0], [8, 0]]
        assert model.calls == [1, 6]

    asyncio.run(scenario())


def test_a_shared_call_has_a_limit(pool: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        model = Model()
        target = batcher(model, pool, rows=4)
        model_held = asyncio.create_task(target.run(values(1)))
        await model.running()
        tasks = [asyncio.create_task(target.run(values(1, 2, 3))) for _ in range(2)]
        tasks.append(asyncio.create_task(target.run(values(1, 2, 3, 4, 5))))
        await model.running()  # the large one has a call of its own, beside
        tasks.append(asyncio.create_task(target.run(values(1))))  # fills the second call
        await asyncio.sleep(0)
        model.let_go(4)
        await asyncio.gather(model_held, *tasks)
        assert model.calls == [1, 5, 3, 4]

    asyncio.run(scenario())


def test_no_wait_beyond_the_bound(pool: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        model = Model()
        target = batcher(model, pool, wait_ms=10)
        stuck = asyncio.create_task(target.run(values(1)))
        await model.running()
        second = asyncio.create_task(target.run(values(2)))
        await model.running()  # begun although the first call has not ended
        assert model.calls == [1, 1]
        third = asyncio.create_task(target.run(values(3)))
        await model.running()  # also the next time
        model.let_go(3)
        assert (await second)["y"].tolist() == [4]
        await asyncio.gather(stuck, third)

    asyncio.run(scenario())


def test_a_call_that_ends_stops_the_timer_of_those_that_waited_for_it(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        model, timers = Model(), list[tuple[float, asyncio.TimerHandle]]()
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def note(delay: float, callback: Any, *arguments: Any) -> asyncio.TimerHandle:
            timers.append((delay, call_later(delay, callback, *arguments)))
            return timers[-1][1]

        target = batcher(model, pool, rows=2, wait_ms=50_000)
        first = asyncio.create_task(target.run(values(1)))
        await model.running()
        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_later", note)
            others = [asyncio.create_task(target.run(values(number))) for number in (2, 3, 4)]
            await asyncio.sleep(0)
            model.let_go(3)
            await asyncio.gather(first, *others)
        assert model.calls == [1, 2, 1]
        assert [(delay, timer.cancelled()) for delay, timer in timers] == [(50, True)] * 2

    asyncio.run(scenario())


def test_each_calls_instances_are_counted(pool: ThreadPoolExecutor) -> None:
    def instances() -> list[float]:
        labels = {"model": "demo", "version": "1"}
        return [REGISTRY.get_sample_value(f"serving_call_instances_{name}", labels) or 0 for name in ("count", "sum")]

    async def scenario() -> None:
        model = Model()
        model.let_go(2)
        target = batcher(model, pool, rows=4)
        await target.run(values(1, 2))
        await target.run(values(1, 2, 3, 4, 5))  # by itself

    before = instances()
    asyncio.run(scenario())
    assert np.subtract(instances(), before).tolist() == [2, 7]
    for most in (*(2**n for n in range(11)), 4096, 16384):
        labels = {"model": "demo", "version": "1", "le": f"{most}.0"}
        assert REGISTRY.get_sample_value("serving_call_instances_bucket", labels) is not None, most


def test_an_error_hits_only_its_own_request(pool: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        model = Model()
        target = batcher(model, pool)
        model.let_go(5)
        held = asyncio.create_task(target.run(values(1)))
        tasks = [asyncio.create_task(target.run(values(number))) for number in (2, -3, 4)]
        good, bad, also_good = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(good, dict) and good["y"].tolist() == [4]
        assert isinstance(bad, ValueError)
        assert isinstance(also_good, dict) and also_good["y"].tolist() == [8]
        await held

    asyncio.run(scenario())


def test_a_request_given_up_is_not_computed(pool: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        model = Model()
        target = batcher(model, pool)
        held = asyncio.create_task(target.run(values(1)))
        await model.running()
        gone = asyncio.create_task(target.run(values(2)))
        kept = asyncio.create_task(target.run(values(3)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        model.let_go(2)
        await asyncio.gather(held, kept)
        assert model.calls == [1, 1]

    asyncio.run(scenario())


def test_instances_of_another_shape_have_another_call(pool: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        model = Model()
        target = batcher(model, pool)
        held = asyncio.create_task(target.run(values(1)))
        await model.running()
        narrow = asyncio.create_task(target.run({"x": np.ones((2, 3))}))
        wide = asyncio.create_task(target.run({"x": np.ones((2, 4))}))
        model.let_go(3)
        await held
        assert (await narrow)["y"].shape == (2, 3)
        assert (await wide)["y"].shape == (2, 4)
        assert model.calls == [1, 2, 2]

    asyncio.run(scenario())


def test_outputs_that_are_not_a_row_an_instance_are_not_shared(pool: ThreadPoolExecutor) -> None:
    """A model may give fewer rows than instances; then each request has a call of its own."""

    def distinct(inputs: Arrays, seconds: float) -> Arrays:
        gate.wait(10)
        return {"y": np.unique(inputs["x"])}

    async def scenario() -> None:
        settings = Batching(row_independent_models=[], rows=8, wait_ms=60_000)
        target = Batcher(distinct, True, False, settings, pool, "demo", 1)
        tasks = [asyncio.create_task(target.run(values(1, 1, 2))) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        for answer in await asyncio.gather(*tasks):
            assert answer["y"].tolist() == [1, 2]

    gate = threading.Event()
    asyncio.run(scenario())


def test_a_request_given_up_while_all_threads_are_busy_is_not_computed() -> None:
    """Its call was handed to the threads, but not begun."""

    async def scenario() -> None:
        model = Model()
        with ThreadPoolExecutor(1) as pool:
            stuck = asyncio.create_task(batcher(model, pool).run(values(1)))
            await model.running()
            other = asyncio.create_task(batcher(model, pool).run(values(2)))
            await asyncio.sleep(0)
            other.cancel()
            await asyncio.sleep(0)
            model.let_go(2)
            await stuck
        assert model.calls == [1]

    asyncio.run(scenario())


def test_a_call_gets_the_time_of_the_most_patient_request(pool: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        model, given = Model(), []

        def timed(inputs: Arrays, seconds: float) -> Arrays:
            given.append(seconds)
            return model(inputs, seconds)

        settings = Batching(row_independent_models=[], rows=8, wait_ms=60_000)
        target = Batcher(timed, True, False, settings, pool, "demo", 1)
        now = time.monotonic()
        first = asyncio.create_task(target.run(values(1), now + 100))
        await model.running()
        others = [asyncio.create_task(target.run(values(2), now + seconds)) for seconds in (200, 300)]
        await asyncio.sleep(0)
        model.let_go(2)
        await asyncio.gather(first, *others)
        assert [round(seconds, -2) for seconds in given] == [100, 300]

    asyncio.run(scenario())


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a busy machine still does in a short time."""
    monkeypatch.setattr(batching, "_SHORT", 0.3)


@pytest.mark.usefixtures("short")
def test_a_call_that_will_be_short_runs_in_the_loops_thread(pool: ThreadPoolExecutor) -> None:
    """A longer one, or one with more instances than were ever short, does not: the loop would wait."""

    async def scenario() -> None:
        threads: list[bool] = []
        pause = 0.0

        def model(inputs: Arrays, seconds: float) -> Arrays:
            threads.append(threading.current_thread() is threading.main_thread())
            time.sleep(pause)
            return inputs

        settings = Batching(row_independent_models=[], rows=8, wait_ms=60_000)
        target = Batcher(model, True, True, settings, pool, "demo", 1)
        for numbers in ((1, 2), (1, 2), (1, 2, 3)):
            await target.run(values(*numbers))
        assert threads == [False, True, False]
        pause = 0.4
        await target.run(values(1, 2, 3))
        await target.run(values(1, 2, 3))
        assert threads[3:] == [True, False]

    asyncio.run(scenario())


@pytest.mark.usefixtures("short")
def test_requests_that_come_at_the_same_time_share_a_short_call(pool: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        calls: list[int] = []

        def model(inputs: Arrays, seconds: float) -> Arrays:
            calls.append(len(inputs["x"]))
            return inputs

        settings = Batching(row_independent_models=[], rows=8, wait_ms=60_000)
        target = Batcher(model, True, True, settings, pool, "demo", 1)
        await target.run(values(1, 2, 3, 4))
        answers = await asyncio.gather(*(target.run(values(number)) for number in (5, 6, 7)))
        assert [answer["x"].tolist() for answer in answers] == [[5], [6], [7]]
        assert calls == [4, 3]

    asyncio.run(scenario())


@pytest.mark.usefixtures("short")
def test_a_call_that_fails_says_nothing_about_time(pool: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        threads: list[bool] = []

        def model(inputs: Arrays, seconds: float) -> Arrays:
            threads.append(threading.current_thread() is threading.main_thread())
            raise ValueError("refused")

        settings = Batching(row_independent_models=[], rows=8, wait_ms=60_000)
        target = Batcher(model, True, True, settings, pool, "demo", 1)
        for _ in range(2):
            with pytest.raises(ValueError, match="refused"):
                await target.run(values(1))
        assert threads == [False, False]

    asyncio.run(scenario())
