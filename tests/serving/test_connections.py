"""Connections that send no end, or nothing, and clients that read nothing; with a real server in this process."""

import asyncio
import json
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from serving import connections
from serving.connections import protocol, raise_file_limit
from serving.settings import Limits, read_settings
from tests.serving.conftest import Process

LARGE = b"x" * (1 << 26)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers `ok`, or 64 MB; reads the body of a POST first."""
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    body = LARGE if scope["path"] == "/large" else b"ok"
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Running(uvicorn.Server):
    """A server on a free port of this machine."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        self.protocol = protocol(limits, tls)
        config = uvicorn.Config(
            application,
            http=self.protocol,  # type: ignore[arg-type]
            lifespan="off",
            log_level="critical",
            timeout_keep_alive=30,
        )
        super().__init__(config)
        self.bound = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.bound.getsockname()[1]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def get(self) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}/", timeout=10)


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def serve(tls: ssl.SSLContext | None = None, **limits: Any) -> Running:
            server = Running(read_settings().limits.model_copy(update=limits), tls)
            thread = threading.Thread(target=server.run, args=([server.bound],))
            thread.start()

            def stop() -> None:
                server.force_exit = server.should_exit = True
                thread.join()

            stack.callback(stop)
            return server

        yield serve


def received(connection: socket.socket) -> bytes:
    """What comes until the server closes a connection."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def refused(answer: bytes, status: int) -> str:
    """The message of an answer that refuses and closes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    message: str = json.loads(body)["error"]
    return message


HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(HEAD + b"X-Long: " + b"a" * 5000, id="a header without end"),
        pytest.param(HEAD + b"X-Short: a\r\n" * 500, id="headers without end"),
        pytest.param(b"GET /" + b"a" * 5000, id="a path without end"),
        pytest.param(HEAD + b"X-Long: " + b"a" * 5000 + b"\r\n\r\n", id="a head that ends"),
    ],
)
@pytest.mark.parametrize("kept", [False, True], ids=["first", "later"])
def test_a_large_head_is_refused(start: Start, head: bytes, kept: bool) -> None:
    with start(head_bytes=4096).connect() as connection:
        if kept:
            connection.sendall(HEAD + b"\r\n")
            assert connection.recv(1000).endswith(b"ok")
        connection.sendall(head)
        assert refused(received(connection), 431) == "expected a request's head of at most 4096 bytes"


def test_a_head_of_the_largest_size(start: Start) -> None:
    with start(head_bytes=4096).connect() as connection:
        for _ in range(3):
            connection.sendall(HEAD + b"X-Long: " + b"a" * 4000 + b"\r\n\r\n")
            assert connection.recv(1000).endswith(b"ok")


def test_a_trailer_without_end_is_not_read(start: Start) -> None:
    server = start(head_bytes=4096)
    with server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Long: ")
        with pytest.raises(OSError):
            for _ in range(1000):
                connection.sendall(b"a" * 1000)
                time.sleep(0.001)


def test_a_body_in_small_pieces_is_no_trailer(start: Start) -> None:
    server = start(head_bytes=100)
    with server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            for piece in (b"1\r", b"\n", b"a\r", b"\n"):
                connection.sendall(piece)
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(1000).endswith(b"ok")


@pytest.mark.parametrize(
    ("sent", "later"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"GET / HT", b"", id="half a head"),
        pytest.param(HEAD + b"\r\n" + b"GET / HT", b"", id="half of the next head at once"),
        pytest.param(HEAD + b"\r\n", b"GET / HT", id="half of the next head"),
        pytest.param(HEAD + b"\r\n", b"\r\n", id="an empty line"),
        pytest.param(HEAD + b"Content-Length: 100\r\n\r\n", b"", id="a body that never comes"),
        pytest.param(HEAD + b"Content-Length: 100\r\n\r\nabc", b"def", id="half a body that nobody reads"),
    ],
)
def test_what_does_not_end_is_closed(start: Start, sent: bytes, later: bytes) -> None:
    with start(head_seconds=0.5).connect() as connection:
        connection.sendall(sent)
        time.sleep(0.1)
        connection.sendall(later)
        begin = time.monotonic()
        received(connection)
        assert time.monotonic() - begin < 5


def test_drops_do_not_keep_a_head_alive(start: Start) -> None:
    with start(head_seconds=0.5).connect() as connection, pytest.raises(OSError):
        for byte in (HEAD + b"X-Long: " + b"a" * 1000).decode():
            connection.sendall(byte.encode())
            time.sleep(0.02)


def test_a_kept_connection_stays(start: Start) -> None:
    """The limit on the time of a head is none on the time between requests."""
    server = start(head_seconds=0.2)
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=10) as client:
        network = set()
        for _ in range(3):
            network.add(client.get("/").extensions["network_stream"].get_extra_info("client_addr"))
            time.sleep(0.5)
        assert len(network) == 1


@pytest.mark.parametrize("sent", [b"", b"GET / HT", HEAD + b"\r\n"], ids=["silent", "half a head", "idle"])
def test_idle_connections_make_room(start: Start, sent: bytes) -> None:
    """The one that has been idle the longest goes; one whose request is in progress stays."""
    server = start(connections=20)
    with ExitStack() as stack:
        busy = stack.enter_context(server.connect())
        busy.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        time.sleep(0.2)
        idle = [stack.enter_context(server.connect()) for _ in range(60)]
        for connection in idle[40:]:
            connection.sendall(sent)
        time.sleep(0.2)
        assert server.get().text == "ok"
        assert len(server.server_state.connections) <= 20
        received(idle[0])  # closed
        busy.sendall(b"b")
        assert busy.recv(1000).endswith(b"ok")


@pytest.fixture(scope="module")
def encrypted(certificate: tuple[Path, Path]) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """How a server encrypts, and a client that trusts it."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    return server, ssl.create_default_context(cafile=certificate[0])


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of a TLS handshake."""


@pytest.mark.parametrize("sent", [b"", HELLO], ids=["silent", "half a hello"])
def test_a_handshake_that_does_not_end_is_closed(
    start: Start, encrypted: tuple[ssl.SSLContext, ssl.SSLContext], sent: bytes
) -> None:
    with start(tls=encrypted[0], head_seconds=0.5).connect() as connection:
        connection.sendall(sent)
        begin = time.monotonic()
        received(connection)
        assert time.monotonic() - begin < 10


@pytest.mark.parametrize("sent", [b"", HELLO], ids=["silent", "half a hello"])
def test_handshakes_count_among_the_idle_connections(
    start: Start, encrypted: tuple[ssl.SSLContext, ssl.SSLContext], sent: bytes
) -> None:
    """The oldest go, and a client with a request in progress stays; also when clients come by the hundred."""
    server_tls, client_tls = encrypted
    server = start(tls=server_tls, connections=20, head_seconds=60)
    with ExitStack() as stack:
        busy = stack.enter_context(client_tls.wrap_socket(server.connect(), server_hostname="localhost"))
        busy.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        time.sleep(0.2)
        idle = [stack.enter_context(server.connect()) for _ in range(100)]
        for connection in idle[80:]:
            connection.sendall(sent)
        assert received(idle[0]) == b"", "closed, not after a minute"
        assert httpx.get(f"https://localhost:{server.port}/", verify=client_tls, timeout=10).text == "ok"
        room = server.protocol.args[-1]  # type: ignore[attr-defined]
        assert len(room.handshakes) + len(server.server_state.connections) <= 20
        busy.sendall(b"b")
        assert busy.recv(1000).endswith(b"ok")
    deadline = time.monotonic() + 10
    while room.handshakes and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not room.handshakes, "those that went away are forgotten"


def test_what_a_client_sends_at_once_after_its_handshake(
    start: Start, encrypted: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server = start(tls=encrypted[0])
    for _ in range(20):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = encrypted[1].wrap_bio(incoming, outgoing, server_hostname="localhost")
        with server.connect() as connection:
            done = False
            while not done:
                try:
                    client.do_handshake()
                    done = True
                    client.write(HEAD + b"Connection: close\r\n\r\n")  # leaves together with the handshake's last words
                except ssl.SSLWantReadError:
                    pass
                connection.sendall(outgoing.read())
                if not done:
                    incoming.write(connection.recv(65536))
            answer = b""
            while not answer.endswith(b"ok"):
                try:
                    answer += client.read()
                except ssl.SSLWantReadError:
                    incoming.write(connection.recv(65536))
            assert answer.startswith(b"HTTP/1.1 200")


def test_what_is_no_tls(start: Start, encrypted: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with start(tls=encrypted[0]).connect() as connection:
        connection.sendall(HEAD + b"\r\n")
        assert b"HTTP" not in received(connection)


def test_when_all_connections_are_busy(start: Start) -> None:
    server = start(connections=3)
    with ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(server.connect())
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        time.sleep(0.2)
        with server.connect() as connection:
            assert "too many connections" in refused(received(connection), 503)


def test_a_client_that_does_not_read_is_closed(start: Start) -> None:
    server = start(seconds=0.5)
    with server.connect() as connection:
        connection.sendall(HEAD.replace(b"/ ", b"/large ") + b"\r\n")
        time.sleep(2)
        assert not server.server_state.connections


def test_few_requests_are_sent_ahead(start: Start) -> None:
    server = start()
    for count, complete in ((10, True), (5000, False)):
        with server.connect() as connection:
            connection.sendall((HEAD + b"\r\n") * (count - 1) + HEAD + b"Connection: close\r\n\r\n")
            assert (received(connection).count(b"200 OK") == count) == complete


def test_what_is_no_http(start: Start) -> None:
    with start().connect() as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert "Invalid HTTP" in refused(received(connection), 400)


def test_the_limit_on_files_is_raised() -> None:
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1000), hard))
        assert raise_file_limit(1000) == 1000
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(hard, 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_fewer_connections_where_the_limit_is_hard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert raise_file_limit(4096) == 1024 - 128


def test_a_head_without_end_stalls_nobody(server: Process) -> None:
    """The whole server: it is refused within its first megabyte, and the status is there meanwhile."""
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
        with pytest.raises(OSError):
            for _ in range(1000):
                connection.sendall(b"a" * 65536)
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_what_is_written_in_one_turn_of_the_loop_is_sent_at_once() -> None:
    """Also if the transport is closed in the same turn; nothing is sent to one that is closing."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        there.setblocking(False)
        plain, _ = await loop.create_connection(asyncio.Protocol, sock=here)
        sent: list[bytes] = []

        class Recorded:
            def __getattr__(self, name: str) -> Any:
                return getattr(plain, name)

            def write(self, data: bytes) -> None:
                sent.append(data)
                plain.write(data)

        transport = connections._Joining(Recorded(), loop)  # type: ignore[arg-type]
        transport.write(b"head ")
        transport.write(b"body")
        assert not sent
        await asyncio.sleep(0)
        assert sent == [b"head body"]
        transport.write(b" end")
        transport.close()
        transport.write(b"late")
        await asyncio.sleep(0)
        assert transport.is_closing()
        assert sent == [b"head body", b" end"]
        assert await loop.sock_recv(there, 100) == b"head body end"
        there.close()

    asyncio.run(scenario())
