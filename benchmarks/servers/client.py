"""A client that costs little: HTTP/1.1 over kept connections, each sending its next request on an answer."""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import cast

import uvloop


class Connection(asyncio.Protocol):
    """One client.

    Args:
        request: what it sends, head and body.
        until: the time at which it stops.
        seconds: where it notes how long each answer took.
    """

    def __init__(self, request: bytes, until: float, seconds: list[float]) -> None:
        self._request, self._until, self._seconds = request, until, seconds
        self._received = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer; after a whole one send again."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        if len(body) < length:
            return
        now = time.perf_counter()
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(ValueError(self._received.decode()))
            self._transport.close()
            return
        self._seconds.append(now - self._sent)
        self._received = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """The server must not end it."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))


async def ask(port: int, request: bytes, clients: int, seconds: float) -> list[float]:
    """Seconds of each answer that came within the time."""
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    until = time.perf_counter() + seconds
    connections = [
        (await loop.create_connection(lambda: Connection(request, until, taken), "127.0.0.1", port))[1]
        for _ in range(clients)
    ]
    await asyncio.gather(*(connection.done for connection in connections))
    return taken


def main() -> None:
    """Warm up, ask, print each answer's seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("body", type=Path)
    parser.add_argument("clients", type=int)
    parser.add_argument("seconds", type=float)
    args = parser.parse_args()
    body = args.body.read_bytes()
    head = f"POST {args.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    uvloop.run(ask(args.port, request, args.clients, args.seconds / 4))
    print(json.dumps(uvloop.run(ask(args.port, request, args.clients, args.seconds))))


if __name__ == "__main__":
    main()
