"""The columns of a file of births, found by their names."""

import re
from collections.abc import Sequence

from stages.babyweight.source.births import COLUMNS, NO_NUMBER, REQUIRED, interpret
from stages.core.errors import InputError


def _plain(name: str) -> str:
    """A name without case, decoration and the table that it is qualified by."""
    return re.sub(r"[^a-z0-9]", "", name.strip().strip("`'\"]").rpartition(".")[2].lower())


_BY_PLAIN_NAME = {_plain(column): column for column in COLUMNS}


def _column(name: str) -> str:
    """The column of births that a name stands for, "" if none. R writes `weight.pounds`."""
    return _BY_PLAIN_NAME.get(_plain(name)) or _BY_PLAIN_NAME.get(_plain(name.replace(".", "_")), "")


def match(where: str, names: Sequence[str]) -> list[str]:
    """The column of births that each name stands for, "" if none: `births.weight_pounds` is `weight_pounds`.

    Args:
        where: the file, for messages.
        names: the names in the file.

    Raises:
        InputError: if a required column is missing, or a column is there twice.
    """
    columns = list(map(_column, names))
    # A column by its exact name makes similar names, say of a joined table, columns to ignore.
    columns = [c if c == name or c not in names else "" for c, name in zip(columns, names, strict=True)]
    for column in COLUMNS:
        if columns.count(column) > 1:
            raise InputError(f"{where}: column {column!r} {columns.count(column)} times; expected it once")
    for column in REQUIRED:
        if column not in columns:
            raise InputError(f"{where}: no column {column!r}; expected {', '.join(REQUIRED)}; found {_quoted(names)}")
    return columns


def is_header(names: Sequence[str]) -> bool:
    """Whether a first line names any column of births."""
    return any(map(_column, names))


def check_birth(where: str, values: Sequence[str], columns: Sequence[str]) -> None:
    """Check that a first line that names no column is a birth.

    Args:
        where: the file and line, for messages.
        values: the line's fields.
        columns: the columns that the line must have.

    Raises:
        InputError: if the number of fields differs, or words stand in place of numbers.
    """
    expected = (
        f"expected fields separated by commas: a header that names {', '.join(REQUIRED)}, "
        f"or the {len(columns)} columns {','.join(columns)}"
    )
    if len(values) != len(columns):
        raise InputError(f"{where}: no header, and {len(values)} columns; {expected}; found {_quoted(values)}")
    for column, value in zip(columns, values, strict=True):
        if column in REQUIRED:
            _, flaw = interpret(column, value)
            if flaw == NO_NUMBER:
                raise InputError(f"{where}: no header and no birth: {column} is {value[:60]!r}; {expected}")


def _quoted(names: Sequence[str]) -> str:
    text = ", ".join(name if name.isprintable() else repr(name) for name in names)
    return text if len(text) <= 300 else f"{text[:300]}…"
