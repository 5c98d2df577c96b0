"""The columns of a file of births, found by their names."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from urllib.parse import unquote

from stages.babyweight.source.births import COLUMNS, NO_NUMBER, REQUIRED, interpret
from stages.core.errors import InputError


def _plain(name: str) -> str:
    """A name without case, decoration and the table that it is qualified by."""
    return re.sub(r"[^a-z0-9]", "", name.strip().strip("`'\"]").rpartition(".")[2].lower())


_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_BY_PLAIN_NAME = {_plain(column): column for column in COLUMNS}


def _column(name: str) -> str:
    """The column of births that a name stands for, "" if none. R writes `weight.pounds`."""
    return _BY_PLAIN_NAME.get(_plain(name)) or _BY_PLAIN_NAME.get(_plain(name.replace(".", "_")), "")


def match(where: str, names: Sequence[str], in_folder: Collection[str] = ()) -> list[str]:
    """The column of births that each name stands for, "" if none: `births.weight_pounds` is `weight_pounds`.

    Args:
        where: the file, for messages.
        names: the names in the file.
        in_folder: columns that a folder's name gives.

    Raises:
        InputError: if a required column is missing, or a column is there twice.
    """
    known = set(names)
    columns = list(map(_column, names))
    # A column by its exact name makes similar names, say of a joined table, columns to ignore.
    columns = [c if c == name or c not in known else "" for c, name in zip(columns, names, strict=True)]
    times = Counter(columns)
    for column in COLUMNS:
        if times[column] > 1:
            raise InputError(f"{where}: column {column!r} {times[column]} times; expected it once")
        if times[column] and column in in_folder:
            raise InputError(f"{where}: column {column!r} in the file and in its folder's name; expected it once")
    for column in REQUIRED:
        if not times[column] and column not in in_folder:
            raise InputError(f"{where}: no column {column!r}; expected {', '.join(REQUIRED)}; found {_quoted(names)}")
    return columns


def in_folder(address: str) -> dict[str, str]:
    """The columns of births that a path's folders give, and their values: `mother_race=1/`, as Hive and Spark write."""
    values = {}
    for folder in address.split("/")[:-1]:
        name, is_column, value = folder.partition("=")
        if is_column and (column := _column(unquote(name))):
            values[column] = "" if value == _NO_VALUE else unquote(value)
    return values


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
