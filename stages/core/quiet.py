"""What a person need not read: TensorFlow's lines about its own start, and where an import was when Ctrl-C came."""

import faulthandler
import importlib.abc
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType, TracebackType

_START = (b"All log messages before absl::InitializeLog() is called", b"oneDNN custom operations are on")
"""In lines that no setting of TensorFlow turns off, and that say nothing about this run."""


@contextmanager
def _without_start_lines() -> Iterator[None]:
    """Hold back what is written to standard error, then write it without TensorFlow's lines about its start."""
    sys.stderr.flush()
    stderr, watched = os.dup(2), faulthandler.is_enabled()
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        if not watched:
            faulthandler.enable(stderr)  # a crash loses what is held
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            if not watched:
                faulthandler.disable()
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not any(words in line for words in _START):
                    os.write(2, line)


class _Loader(importlib.abc.Loader):
    """Loads TensorFlow as its own loader does, quietly."""

    def __init__(self, usual: importlib.abc.Loader) -> None:
        self._usual = usual

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the usual loader."""
        return self._usual.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Import TensorFlow."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._usual
        with _without_start_lines():
            self._usual.exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow once."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """TensorFlow, to be loaded quietly; None for anything else."""
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader)
        return spec


def _print_unless_interrupted(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


if "tensorflow" not in sys.modules:
    sys.meta_path.insert(0, _Finder())
if sys.excepthook is sys.__excepthook__:
    sys.excepthook = _print_unless_interrupted
