"""Every regular expression that sees what a client sends takes time in proportion to it."""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import serving
import stages.rest
from tests.linear import assert_linear

UNITS = [
    "a",
    "/",
    ":",
    "1",
    ".",
    "-",
    "\\",
    '"',
    '\\"',
    "%2f",
    "NaN",
    "Inf",
    "Infinity",
    "{",
    "[1],",
    " ",
    "\n",
    "\x80",
]
STARTS = ["", "/v1/models/", "/v1/models/a/versions/", "/v1/models/a/labels/", "127.", "localhost:", "[::1]:", '"']


def patterns() -> Iterator[tuple[str, re.Pattern[str] | re.Pattern[bytes]]]:
    """Those that modules compile, alone or in a dictionary."""
    for package in (serving, stages.rest):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__"):
                continue
            for name, value in vars(importlib.import_module(found.name)).items():
                values = value.values() if isinstance(value, dict) else [value]
                yield from ((f"{found.name}.{name}", item) for item in values if isinstance(item, re.Pattern))


FOUND = dict(patterns())


def test_they_are_found() -> None:
    assert {"serving.app._PATHS", "serving.codec._NUMBER", "serving.guard._LOOPBACK"} <= FOUND.keys()


@pytest.mark.parametrize("name", FOUND)
def test_time_is_in_proportion(name: str) -> None:
    pattern = FOUND[name]
    for start in STARTS:
        for unit in UNITS:

            def read(size: int, start: str = start, unit: str = unit) -> None:
                text = start + unit * (size // len(unit))
                subject = text.encode("latin-1") if isinstance(pattern.pattern, bytes) else text
                pattern.fullmatch(subject)  # type: ignore[arg-type]
                list(pattern.finditer(subject))  # type: ignore[arg-type]

            assert_linear(read, 1 << 14)
