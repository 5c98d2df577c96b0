"""A training run's progress on standard error, and a Ctrl-C that lets the run save first."""

import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 10
"""Seconds between two lines of progress where standard error is not a terminal."""


class _Lines(io.TextIOBase):
    """Prints what a progress bar draws as plain lines."""

    def write(self, text: str) -> int:
        if line := text.strip():
            print(line, file=sys.stderr, flush=True)
        return len(text)


@contextmanager
def bar(description: str, total: int, done: int, is_chief: bool = True) -> Iterator[Any]:
    """Show the steps done, the time left and a postfix: as a bar in a terminal, else as a line every ten seconds.

    Args:
        description: the title.
        total: number of steps.
        done: steps done before.
        is_chief: whether to show anything; a cluster's worker is silent.
    """
    style: dict[str, Any] = {"dynamic_ncols": True}
    if not sys.stderr.isatty():
        form = "{desc}: step {n_fmt} of {total_fmt}, {remaining} left{postfix}"
        style = {"file": _Lines(), "bar_format": form, "mininterval": LINE_SECONDS, "miniters": 1}
    with tqdm(desc=description, total=total, initial=done, unit="step", disable=not is_chief, **style) as progress:
        yield progress


class Interrupt:
    """Records Ctrl-C and SIGTERM instead of raising, so that a loop can end between two steps.

    As a context: `noticed` turns true at the signal; a second signal has its usual effect.

    Args:
        is_chief: whether this process saves; a cluster's worker leaves the signals alone.
    """

    def __init__(self, is_chief: bool = True) -> None:
        self.noticed = False
        self._signals = (signal.SIGINT, signal.SIGTERM) if is_chief else ()

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self.noticed = True
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._notice) for number in self._signals}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def leave(self, step: int) -> None:
        """End the process after its state was saved, and say how to resume."""
        print(f"\ninterrupted at step {step}, saved; `dvc repro` resumes from there", file=sys.stderr)
        raise KeyboardInterrupt
