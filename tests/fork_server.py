"""`python -m …` for tests, without the seconds that importing TensorFlow and DVC takes.

A server imports the libraries once, and forks itself for each command: a process of its own, with its own arguments,
folder, environment and streams, whose exit code the client gets. It keeps no module of the project, so a clone's
commands run the clone's code.

    python -m tests.fork_server FILE_DESCRIPTOR_OF_A_LISTENING_SOCKET
"""

import contextlib
import gc
import json
import multiprocessing
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    "dvc.cli",
    "dvc.commands.repro",
    "dvc.repo",
    "gymnasium",
    "keras",
    "pandas",
    "pyarrow.csv",
    "pydantic",
    "tensorflow",
    "yaml",
)

SHIM = """\
import json, os, socket, sys
if sys.argv[1:2] != ["-m"]:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = {{"command": sys.argv[2:], "cwd": os.getcwd(), "environment": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(request).encode() + b"\\n"], [0, 1, 2])
    *_, code = server.makefile()
sys.exit(int(code))
"""
"""A `python` that lets the server run modules."""


class ForkServer:
    """A running server; it ends with this process.

    Args:
        environment: the environment variables with which it imports the libraries.
        cores: the processor cores that it and its modules may use; None: all.

    Attributes:
        path: a folder that holds a `python` whose modules the server runs, to come first in `PATH`.
    """

    def __init__(self, environment: dict[str, str], cores: set[int] | None = None) -> None:
        # A socket's path is at most 104 bytes long, and a script's first line may hold no space.
        self.path = Path(tempfile.mkdtemp(dir="/tmp" if len(tempfile.gettempdir()) > 60 else None))
        self.address = str(self.path / "socket")
        shim, python = self.path / "shim.py", self.path / "python"
        shim.write_text(SHIM.format(address=self.address))
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -SE {shlex.quote(str(shim))} "$@"\n')
        python.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            command = [sys.executable, "-m", "tests.fork_server", str(listener.fileno())]
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
            )

    def close(self) -> None:
        """End the server."""
        self.process.communicate()
        shutil.rmtree(self.path)


class ForkedModule:
    """A running module, with the part of `subprocess.Popen`'s interface that tests use.

    Args:
        server: who runs it.
        command: the module's full name, and its arguments.
        cwd: the folder to run in.
        environment: all environment variables. It is too late for those that libraries read when imported.
    """

    def __init__(self, server: ForkServer, command: list[str], cwd: Path, environment: dict[str, str]) -> None:
        self.command = command
        self.returncode: int | None = None
        self._streams = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115 - communicate() closes them
        self._texts: list[str] = []
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(server.address)
        request = {"command": command, "cwd": str(cwd), "environment": environment}
        with Path(os.devnull).open() as nothing:
            streams = [file.fileno() for file in (nothing, *self._streams)]
            socket.send_fds(self._connection, [json.dumps(request).encode() + b"\n"], streams)
        self._replies = self._connection.makefile()
        self.pid = int(self._replies.readline())

    def poll(self) -> int | None:
        """The exit code; None while it runs, negative if a signal ended it."""
        return self._wait(0)

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
            self.returncode = int(self._replies.readline())
            self._replies.close()
            self._connection.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # its exit code is still on the way
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def output(self) -> str:
        """Standard output so far."""
        return os.pread(self._streams[0].fileno(), 1 << 20, 0).decode()

    def communicate(self, timeout: float | None = 300) -> tuple[str, str]:
        """Wait for the end; return standard output and error.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            TimeoutError: if it was still running then; it is killed.
        """
        if self._wait(timeout) is None:
            self.kill()
            raise TimeoutError(f"{self.command}: still running after {timeout} seconds")
        for stream in self._streams:
            stream.seek(0)
            self._texts.append(stream.read())
            stream.close()
        self._streams = []
        return self._texts[0], self._texts[1]


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request, and the file descriptors of its three streams."""
    data, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 16)
    return json.loads(data), list(streams)


def run(request: dict[str, Any], streams: list[int]) -> None:
    """Run a request's command in this process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    libraries = [path for path in sys.path if Path(path).resolve() != ROOT]
    python_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [request["cwd"], *filter(None, python_path), *libraries]
    sys.argv[:] = request["command"]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def answer(connection: socket.socket) -> None:
    """Run a request's command in another process; tell the client its number, and its exit code."""
    request, streams = receive(connection)
    # Unlike a process that `os.fork` makes, it ends without tearing down all modules, which takes half a second.
    process = multiprocessing.get_context("fork").Process(target=run, args=(request, streams))
    process.start()
    connection.sendall(f"{process.pid}\n".encode())
    process.join()
    connection.sendall(f"{process.exitcode}\n".encode())


def serve(listener: socket.socket) -> None:
    """Answer each client in a process of its own, until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer(connection)
            os._exit(0)
        connection.close()


def main() -> None:
    """Import the libraries and serve."""
    import stages  # noqa: F401 - its settings come before the libraries' imports

    for name in LIBRARIES:
        __import__(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in {"stages", "tests"}]:
        del sys.modules[name]  # a clone's commands run the clone's code
    gc.freeze()  # a collection would copy every page that the processes share
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
