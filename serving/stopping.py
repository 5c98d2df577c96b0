"""How the server stops: first it only says so, then it takes no more requests, then it gives up those that are left."""

import asyncio
import math
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import FrameType

import grpc
import uvicorn
from starlette.exceptions import HTTPException

from serving.settings import Stop

_ANSWERS_SECONDS = 1  # for the answers of the requests that are given up


class Requests:
    """The time that requests have, in one event loop."""

    def __init__(self) -> None:
        self.stopping = False
        self._over = False
        self._timeouts: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def limited(self, seconds: float) -> AsyncIterator[float]:
        """Gives out the `time.monotonic` at which the block is given up; it may be earlier when the server stops.

        Raises:
            HTTPException: 504 if the time is over, 503 if the server stops.
        """
        deadline = time.monotonic() + seconds  # the loop's clock
        try:
            async with asyncio.timeout_at(-math.inf if self._over else deadline) as timeout:
                self._timeouts.add(timeout)
                try:
                    yield deadline
                finally:
                    self._timeouts.discard(timeout)
        except TimeoutError:
            if self._over:
                raise HTTPException(503, "the server is stopping") from None
            raise HTTPException(504, f"no answer within {seconds:g} seconds") from None

    def give_up(self) -> None:
        """End all blocks, now and in future."""
        self._over = True
        for timeout in list(self._timeouts):
            timeout.reschedule(-math.inf)


class Server(uvicorn.Server):
    """uvicorn's server.

    Args:
        config: uvicorn's.
        requests: what it tells that it stops.
        stop: how long each step takes.
        start_rpc: starts a gRPC server beside it in the same loop.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        requests: Requests,
        stop: Stop,
        start_rpc: Callable[[], Awaitable[grpc.aio.Server]] | None = None,
    ) -> None:
        config.timeout_graceful_shutdown = math.ceil(stop.grace_seconds + _ANSWERS_SECONDS)
        super().__init__(config)
        self._requests = requests
        self._stop = stop
        self._start_rpc = start_rpc
        self._rpc: grpc.aio.Server | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take requests."""
        if self._start_rpc:
            self._rpc = await self._start_rpc()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop: after SIGTERM with a delay, after Ctrl-C or a second signal at once."""
        if sig != signal.SIGTERM or self._requests.stopping or not self.started:
            super().handle_exit(sig, frame)
            return
        self._requests.stopping = True
        timer = threading.Timer(self._stop.delay_seconds, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the connections without a request, and wait for the others' answers."""
        self._requests.stopping = True
        asyncio.get_running_loop().call_later(self._stop.grace_seconds, self._requests.give_up)
        ends = [super().shutdown(sockets)]
        if self._rpc:
            ends.append(self._rpc.stop(self._stop.grace_seconds + _ANSWERS_SECONDS))
        await asyncio.gather(*ends)
