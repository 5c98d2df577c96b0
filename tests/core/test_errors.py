import errno
from collections.abc import Callable

import pytest

from stages.core.errors import InputError, one_line, run


def fails(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("file: row 3: expected a number"), "error: file: row 3: expected a number"),
        (MemoryError("Unable to allocate 9 EB"), "error: the memory does not suffice: Unable to allocate 9 EB"),
        (MemoryError(), "error: the memory does not suffice"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "a/file"), "error: a/file: Permission denied"),
        (OSError("of another kind"), "error: of another kind"),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_a_stage_cannot_help_ends_it_with_one_line(error: BaseException, expected: str | int) -> None:
    with pytest.raises(SystemExit) as ended:
        run(fails(error))
    assert ended.value.code == expected


def test_a_mistake_in_the_code_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(fails(ZeroDivisionError()))
    run(lambda: None)


def test_an_error_is_said_on_one_line() -> None:
    assert one_line(ValueError("two\n  lines")) == "two lines"
    assert one_line(TimeoutError()) == "TimeoutError"
