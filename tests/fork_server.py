"""`python -m …` for tests, without the seconds that importing TensorFlow takes.

A server imports the libraries once, and forks itself for each command: a process of its own, with its own arguments,
folder, environment and streams, whose exit code the client gets. It keeps no module of the project, so a clone's
commands run the clone's code.

    python -m tests.fork_server FILE_DESCRIPTOR_OF_A_LISTENING_SOCKET
"""

import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LIBRARIES = ("gymnasium", "keras", "pandas", "pyarrow.csv", "pydantic", "tensorflow", "yaml")

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
        root: the project's folder.
        environment: the environment variables with which it imports the libraries.
        cores: the processor cores that it and its modules may use; None: all.

    Attributes:
        path: a folder that holds a `python` whose modules the server runs, to come first in `PATH`.
    """

    def __init__(self, root: Path, environment: dict[str, str], cores: set[int] | None = None) -> None:
        self.path = Path(tempfile.mkdtemp())
        self.address = str(self.path / "socket")
        python = self.path / "python"
        python.write_text(f"#!{sys.executable} -SE\n{SHIM.format(address=self.address)}")
        python.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            command = [sys.executable, "-m", "tests.fork_server", str(listener.fileno())]
            self.process = subprocess.Popen(
                command,
                cwd=root,
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

    def _wait(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
            self.returncode = int(self._replies.readline())
            self._replies.close()
            self._connection.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for the end; return standard output and error, once.

        Args:
            timeout: seconds.

        Raises:
            subprocess.TimeoutExpired: if it was still running then; it is killed.
        """
        if self._wait(timeout) is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.command, timeout)
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read())
            stream.close()
        return texts[0], texts[1]


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request, and the file descriptors of its three streams."""
    data, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 16)
    return json.loads(data), list(streams)


def serve(listener: socket.socket) -> list[str]:
    """Fork for each request; return its command in the process that shall run it."""
    base = [path for path in sys.path if Path(path).resolve() != Path.cwd()]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        # A process that waits for the command's, and tells the client.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        request, streams = receive(connection)
        if pid := os.fork():
            connection.sendall(f"{pid}\n".encode())
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            connection.sendall(f"{code}\n".encode())
            os._exit(0)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        connection.close()
        listener.close()
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        sys.path[:] = [request["cwd"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *base]
        return list(request["command"])


def main() -> None:
    """Serve until standard input ends."""
    import stages  # noqa: F401 - its settings come before the libraries' imports

    for name in LIBRARIES:
        __import__(name)
    del sys.modules["stages"], sys.modules["tests"]
    sys.argv[:] = serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
