"""A training run's progress bar, and a Ctrl-C that lets the run save first."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tqdm import tqdm

from stages.shared.cluster import from_environment


@contextmanager
def bar(description: str, total: int, done: int, unit: str = "step") -> Iterator[Any]:
    """A progress bar on standard error with the time left; silent where that is no terminal, and in a worker."""
    silent = None if from_environment().is_chief else True  # None: as the terminal says
    with tqdm(desc=description, total=total, initial=done, unit=unit, disable=silent, dynamic_ncols=True) as shown:
        yield shown


class Interrupt:
    """Notes Ctrl-C and SIGTERM instead of raising, so that a loop can end between two steps.

    As a context: `noticed` turns true at the signal; a second one has its usual effect. A worker of a cluster
    leaves the signals alone: the chief saves.
    """

    def __init__(self) -> None:
        self.noticed = False

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self.noticed = True
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def __enter__(self) -> "Interrupt":
        noted = (signal.SIGINT, signal.SIGTERM) if from_environment().is_chief else ()
        self._before = {s: signal.signal(s, self._notice) for s in noted}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def leave(self, step: int) -> None:
        """End the process, after the state was saved: say where, and how to go on."""
        print(f"\ninterrupted at step {step}, saved; `dvc repro` goes on from there", file=sys.stderr)
        raise KeyboardInterrupt
