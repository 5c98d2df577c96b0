"""Write outputs atomically: under a temporary name in the same folder, flushed to disk, then renamed."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.core.errors import InputError


def fsync(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write a file to. It becomes `path` at the end, and is removed after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    remove(temporary)
    try:
        yield temporary
        for entry in [*sorted(temporary.rglob("*")), temporary]:
            fsync(entry)
        if path.is_dir():  # rename() replaces a file, but not a folder that is not empty
            remove(path)
        temporary.replace(path)
        fsync(path.parent)
    except OSError as error:
        if error.filename is None:  # of a write, such as to a full disk
            error.filename = str(path)
        raise
    finally:
        remove(temporary)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder. It becomes `path` at the end, and is removed after an error."""
    with whole_file(path) as temporary:
        temporary.mkdir()
        yield temporary


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, with its line ends unchanged."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: keys sorted, indented by two spaces; NaN raises `ValueError`."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: expected JSON, found: {error}") from None


_FORMULA = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula; the last four are the wide signs of East Asian fonts."""


def no_formula(cell: Any) -> Any:
    """A cell that a spreadsheet shows and does not run: a text like a formula, but no number, gets an apostrophe first.

    Source: OWASP, "CSV Injection".
    """
    if not isinstance(cell, str):
        return cell
    if "\r" in cell:  # which the csv module leaves without quotes, as the end of a row
        cell = cell.replace("\r", "\n")
    if not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell.strip()


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write a CSV file atomically: a header with `columns`, then one line per row; lines end with `\\n`.

    No cell is a formula to a spreadsheet, whatever text it has.
    """
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writerow({column: no_formula(column) for column in columns})
        writer.writerows({name: no_formula(cell) for name, cell in row.items()} for row in rows)


def digest(path: Path, without: Path | None = None) -> str:
    """SHA-256 of a file, or of the names and digests of all files in a folder, in hexadecimal.

    Args:
        path: the file or folder.
        without: a file of the folder that does not count, by its path in it.
    """
    if path.is_dir():
        paths = {p.relative_to(path): p for p in sorted(path.rglob("*")) if p.is_file()}
        entries = {str(name): digest(p) for name, p in paths.items() if name != without}
        return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def significant(value: float, digits: int = 6) -> float:
    """Round to significant digits, without the noise of the last bits; an `int` is returned unchanged."""
    return value if isinstance(value, int) else float(f"{value:.{digits}g}")
