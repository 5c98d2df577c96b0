"""Append what this process took to the file that `RECORD` names; a `.pth` file imports this when Python starts."""

import atexit
import builtins
import json
import os
import resource
import sys
import threading
import time
from typing import Any


def record() -> None:
    """Time the imports from now on; at the end, write begin, end, imports and processor time in seconds."""
    began = time.time() - time.process_time()  # Python's own start is in it
    imports, depth = 0.0, 0
    original = builtins.__import__

    def timed(*args: Any, **kwargs: Any) -> Any:
        nonlocal imports, depth
        if depth or threading.current_thread() is not threading.main_thread():
            return original(*args, **kwargs)
        depth, start = 1, time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            imports += time.perf_counter() - start
            depth = 0

    def write() -> None:
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        seconds = {"began": began, "ended": time.time(), "imports": imports}
        seconds["cpu"] = sum(u.ru_utime + u.ru_stime for u in usage)
        with open(os.environ["RECORD"], "a", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would count as an import
            file.write(json.dumps({"command": sys.orig_argv[2:4], **seconds}) + "\n")

    builtins.__import__ = timed
    atexit.register(write)


if "RECORD" in os.environ and sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2].startswith("stages."):
    record()
