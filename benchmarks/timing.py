"""What a command takes as a whole process."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple


class Usage(NamedTuple):
    """Wall clock and processor time in seconds, and the peak of resident memory in MB."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def timed(name: str, command: Sequence[str], **options: Any) -> Usage:
    """Run a command to its end.

    Args:
        name: what the error calls it.
        command: the program and its arguments.
        options: of `subprocess.Popen`.

    Raises:
        SystemExit: if it fails.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, **options)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"error: {name}: ended with {process.returncode}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return Usage(wall, usage.ru_utime + usage.ru_stime, peak)
