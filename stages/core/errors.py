"""End a stage whose input is wrong with one line on standard error and exit code 1."""

import sys
from collections.abc import Callable


class InputError(Exception):
    """Input that a stage cannot use.

    The message is one line that names the file, row or key, what is expected and what was found.
    """


def one_line(error: object) -> str:
    """What an error says, or its type's name, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main()`; end the process with one line and code 1 if its input is wrong.

    A full disk, and a file that cannot be read or written, end it in the same way. Ctrl-C ends with code 130.
    """
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {where}{error.strerror or error}")
    except MemoryError as error:
        sys.exit(f"error: the memory does not suffice: {error}".removesuffix(": "))
    except KeyboardInterrupt:
        sys.exit(130)
