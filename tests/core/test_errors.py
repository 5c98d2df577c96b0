import pytest

from stages.core.errors import run


def test_memory_that_does_not_suffice_is_one_line() -> None:
    def main() -> None:
        raise MemoryError("Unable to allocate 9 EB")

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == "error: the memory does not suffice: Unable to allocate 9 EB"
