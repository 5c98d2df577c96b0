"""A training run's progress bar, and a Ctrl-C that lets the run save first."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tqdm import tqdm


@contextmanager
def bar(description: str, total: int, done: int, is_chief: bool = True) -> Iterator[Any]:
    """A progress bar of steps on standard error with the time left; none in a worker, and where that is no terminal."""
    silent = None if is_chief else True  # None: as the terminal says
    with tqdm(desc=description, total=total, initial=done, unit="step", disable=silent, dynamic_ncols=True) as shown:
        yield shown


class Interrupt:
    """Notes Ctrl-C and SIGTERM instead of raising, so that a loop can end between two steps.

    As a context: `noticed` turns true at the signal; a second one has its usual effect.

    Args:
        is_chief: whether this process saves; a cluster's worker leaves the signals alone.
    """

    def __init__(self, is_chief: bool = True) -> None:
        self.noticed = False
        self._awaited = (signal.SIGINT, signal.SIGTERM) if is_chief else ()

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self.noticed = True
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._notice) for number in self._awaited}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def leave(self, step: int) -> None:
        """End the process, after the state was saved: say where, and how to go on."""
        print(f"\ninterrupted at step {step}, saved; `dvc repro` goes on from there", file=sys.stderr)
        raise KeyboardInterrupt
