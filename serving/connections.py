"""Connections: how large and how slow a request's head may be, and how many connections stay.

uvicorn bounds none of these: its parser collects a header without end, and each connection takes a file.
"""

import asyncio
import functools
import json
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.settings import Limits

_OTHER_FILES = 128  # open files that are no connections: libraries, models as they load, the log
_PIPELINE = 32  # requests that a client may send ahead of the first one's answer


def raise_file_limit(connections: int) -> int:
    """Raise the limit on open files for so many connections, as far as the system lets us.

    Returns:
        how many connections it is enough for, at most `connections`.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + _OTHER_FILES  # those whose TLS is not set up yet take files too
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        connections = min(connections, max(soft - _OTHER_FILES, 1))
    return connections


def protocol(limits: Limits) -> Callable[..., asyncio.Protocol]:
    """What makes a protocol for each connection, as uvicorn's `http` takes it."""
    idle: dict[Connection, None] = {}
    return functools.partial(Connection, limits=limits, idle=idle)


class _Joining:
    """A transport that sends what is written in one turn of the loop at once: uvicorn writes a head and its body apart.

    Args:
        transport: what sends.
        loop: whose turns count.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send soon."""
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)

    def close(self) -> None:
        """Send what is left, then close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._written and not self._transport.is_closing():
            self._transport.write(b"".join(self._written))
        self._written.clear()


class Connection(HttpToolsProtocol):
    """One connection.

    Args:
        limits: for the head, and for the number of connections.
        idle: the connections that have no request in progress, those that have none for the longest time first.
    """

    def __init__(self, *arguments: Any, limits: Limits, idle: dict["Connection", None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._idle = idle
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._fed = 0  # bytes since something came of them
        self._in_head = False
        self._whole = True  # whether the body of the last request has come

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close the connection that has been idle the longest if there are too many, else this one."""
        super().connection_made(_Joining(transport, self.loop))  # type: ignore[arg-type] # has all that uvicorn calls
        if len(self.connections) > self._limits.connections:
            if not self._idle:
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; try again")
                return
            longest = next(iter(self._idle))
            del self._idle[longest]
            longest.transport.abort()
        self._idle[self] = None
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._idle.pop(self, None)
        self._stop_timer()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse what came; close a connection whose head or trailer is too large."""
        self._fed += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._fed > self._limits.head_bytes:
            self._refuse_head()
        elif self._timer is None and (self in self._idle or self._is_answered_early()):
            self._start_timer()

    def on_message_begin(self) -> None:
        """Begin to take a head."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request."""
        self._fed = 0
        self._in_head = False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.head_bytes or len(self.pipeline) >= _PIPELINE:
            self._fed = size
            raise ValueError  # the parser stops and `send_400_response` is called
        self._idle.pop(self, None)
        self._stop_timer()
        self._whole = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._fed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of the body."""
        self._fed = 0
        self._whole = True
        super().on_message_complete()
        if self in self._idle:
            self._stop_timer()

    def on_response_complete(self) -> None:
        """Wait for the next request; not for long if this one's body is still to come, or that one has begun."""
        super().on_response_complete()
        if self.transport.is_closing() or not self.cycle.response_complete:
            return
        self._idle[self] = None
        if self._in_head or not self._whole:
            self._start_timer()

    def pause_writing(self) -> None:
        """Close the connection of a client that does not read its answer in time."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on answering."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser refuses, in the API's form."""
        if self._fed > self._limits.head_bytes:
            self._refuse_head()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _is_answered_early(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete and not self._whole

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self._limits.head_seconds, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        self.transport.abort()

    def _refuse_head(self) -> None:
        self._refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"expected a request's head of at most {self._limits.head_bytes} bytes",
        )

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Send an error, unless another answer is under way, and close the connection."""
        if self.cycle is None or self.cycle.response_complete:
            body = json.dumps({"error": message}).encode()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
        self.transport.close()
