"""Connections: how large and how slow a request's head may be, and how many connections stay.

uvicorn bounds none of these: its parser collects a header without end, and each connection takes a file, also one whose
TLS is never set up.
"""

import asyncio
import functools
import json
import ssl
from asyncio.sslproto import SSLProtocol
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
    wanted = 2 * connections + _OTHER_FILES  # as many again for gRPC's, which the number does not bound
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        connections = min(connections, max(soft - _OTHER_FILES, 1))
    return connections


def protocol(limits: Limits, tls: ssl.SSLContext | None = None) -> Callable[..., asyncio.BaseProtocol]:
    """What makes a protocol for each connection, as uvicorn's `http` takes it.

    Args:
        limits: for heads and connections.
        tls: by which the connections are encrypted; None: they are not.
    """
    room = _Room(limits.connections)
    connection = functools.partial(Connection, limits=limits, room=room)
    return functools.partial(_Handshake, connection, tls, limits.head_seconds, room) if tls else connection


class _Room:
    """Room for so many connections.

    Attributes:
        idle: those that have no request in progress, those that have none for the longest time first.
        handshakes: those whose TLS is not set up yet.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.idle: dict[Connection | _Handshake, None] = {}
        self.handshakes: set[_Handshake] = set()

    def is_left(self, connections: int) -> bool:
        """Whether there is room for so many connections and the handshakes, if need be by closing an idle one."""
        if connections + len(self.handshakes) <= self._most:
            return True
        if not self.idle:
            return False
        longest = next(iter(self.idle))
        del self.idle[longest]
        longest.transport.abort()
        return True


class _Handshake(SSLProtocol):
    """A connection whose TLS is not set up yet: it counts among the idle ones.

    uvicorn leaves TLS to the loop, which tells nobody of a connection before it is set up.

    Args:
        connection: makes the protocol of what is encrypted.
        tls: how.
        seconds: that it may take to set it up, and for the client to take leave at the end.
        room: for connections.
        options: for the protocol.
    """

    def __init__(
        self, connection: Callable[..., "Connection"], tls: ssl.SSLContext, seconds: float, room: _Room, **options: Any
    ) -> None:
        inner = connection(**options, handshake=self)
        super().__init__(
            asyncio.get_running_loop(),
            inner,
            tls,
            None,  # type: ignore[arg-type] # nobody waits
            server_side=True,
            ssl_handshake_timeout=seconds,  # type: ignore[arg-type] # goes to the loop, which takes any
            ssl_shutdown_timeout=seconds,
        )
        self._room = room
        self._connections = options["server_state"].connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        self.transport = transport
        self._room.handshakes.add(self)
        if self._room.is_left(len(self._connections)):
            self._room.idle[self] = None
            super().connection_made(transport)
        else:
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it."""
        self.end()
        super().connection_lost(exc)

    def end(self) -> None:
        """Take up no room any more: TLS is set up, or the client is gone."""
        self._room.handshakes.discard(self)
        self._room.idle.pop(self, None)


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
        limits: for the head, and for the time that a client takes to read.
        room: for connections.
        handshake: that came before, if it is encrypted.
    """

    def __init__(
        self, *arguments: Any, limits: Limits, room: _Room, handshake: _Handshake | None = None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._handshake = handshake
        self._limits = limits
        self._room = room
        self._idle = room.idle
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._fed = 0  # bytes since something came of them
        self._in_head = False
        self._whole = True  # whether the body of the last request has come

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close the connection that has been idle the longest if there are too many, else this one."""
        if self._handshake:
            self._handshake.end()
        super().connection_made(_Joining(transport, self.loop))  # type: ignore[arg-type] # has all that uvicorn calls
        if not self._room.is_left(len(self.connections)):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; try again")
            return
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
