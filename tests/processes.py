"""`python -m …` for tests, without the seconds that importing TensorFlow takes.

A server process imports the libraries once. Each command is a process of its own, forked from that server.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import stages  # noqa: F401 - its settings come before the libraries' imports

LIBRARIES = ["stages", "gymnasium", "keras", "pandas", "pyarrow.csv", "pydantic", "tensorflow", "yaml"]
"""Imported by the server; no module of this project but the one with its settings."""

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(LIBRARIES)


def _run(module: str, arguments: list[str], cwd: Path, environment: dict[str, str], streams: tuple[Path, Path]) -> None:
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path.insert(0, str(cwd))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def run_forked(
    module: str, arguments: list[str], cwd: Path, environment: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a module as `python -m` would.

    Args:
        module: its full name.
        arguments: the command line after it.
        cwd: the folder to run in.
        environment: all environment variables. It is too late for those that libraries read when imported.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: if it was still running then; it is killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = FORKS.Process(target=_run, args=(module, arguments, cwd, environment, (out, err)))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([module, *arguments], timeout)
        return subprocess.CompletedProcess([module, *arguments], process.exitcode, out.read_text(), err.read_text())
