"""`python -m …` for tests, without the seconds that importing TensorFlow takes.

A server process imports the libraries once. Each command is a process of its own, forked from that server.
"""

import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import stages  # noqa: F401 - its settings come before the libraries' imports

LIBRARIES = ["stages", "gymnasium", "keras", "pandas", "pyarrow.csv", "pydantic", "tensorflow", "yaml"]
"""Imported by the server; no module of this project but the one with its settings."""

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(LIBRARIES)


class ForkedModule:
    """A running module, with the part of `subprocess.Popen`'s interface that tests use.

    Args:
        command: the module's full name, and its arguments.
        cwd: the folder to run in.
        environment: all environment variables. It is too late for those that libraries read when imported.
    """

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str]) -> None:
        self.command = command
        self._folder = Path(tempfile.mkdtemp())
        self._streams = [self._folder / name for name in ("out", "err")]
        self._process = FORKS.Process(target=_run, args=(command, cwd, environment, self._streams))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs, negative if a signal ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self._process.pid or 0, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for the end; return standard output and error, once.

        Args:
            timeout: seconds.

        Raises:
            subprocess.TimeoutExpired: if it was still running then; it is killed.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            raise subprocess.TimeoutExpired(self.command, timeout)
        out, err = (path.read_text() if path.exists() else "" for path in self._streams)
        shutil.rmtree(self._folder, ignore_errors=True)
        return out, err


def _run(command: list[str], cwd: Path, environment: dict[str, str], streams: list[Path]) -> None:
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path.insert(0, str(cwd))
    sys.argv = list(command)
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
