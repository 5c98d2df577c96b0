"""A training run's progress on standard error, and a Ctrl-C that lets the run save first."""

import io
import signal
import sys
from typing import Any, Self

from tqdm import tqdm

LINE_SECONDS = 10
"""Seconds between two lines of progress where standard error is not a terminal."""


class _Lines(io.TextIOBase):
    """Prints what a progress bar draws as plain lines."""

    def write(self, text: str) -> int:
        if line := text.strip():
            print(line, file=sys.stderr, flush=True)
        return len(text)


def bar(description: str, total: int, done: int, is_chief: bool = True) -> Any:
    """A context that shows the steps done of `total`, the time left and a postfix; a cluster's worker is silent.

    In a terminal it is a bar, else a line every ten seconds.
    """
    style: dict[str, Any] = {"dynamic_ncols": True}
    if not sys.stderr.isatty():
        form = "{desc}: step {n_fmt} of {total_fmt}, {remaining} left{postfix}"
        style = {"file": _Lines(), "bar_format": form, "mininterval": LINE_SECONDS, "miniters": 1}
    return tqdm(desc=description, total=total, initial=done, unit="step", disable=not is_chief, **style)


class Interrupt:
    """Records Ctrl-C and SIGTERM instead of raising, so that a loop can end between two steps.

    As a context: `noticed` turns true at the signal; a second signal has its usual effect.

    Args:
        is_chief: whether this process saves; a cluster's worker leaves the signals alone.
    """

    def __init__(self, is_chief: bool = True) -> None:
        self.noticed = False
        self._usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if is_chief}

    def _notice(self, *_: object) -> None:
        self.noticed = True
        self.__exit__()

    def __enter__(self) -> Self:
        for number in self._usual:
            signal.signal(number, self._notice)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def leave(self, step: int) -> None:
        """End the process after its state was saved, and say how to resume."""
        print(f"\ninterrupted at step {step}, saved; `dvc repro` resumes from there", file=sys.stderr)
        raise KeyboardInterrupt
