"""Lines that are no CSV (RFC 4180), taken out of a text, so that a quote that is never closed spoils its line alone."""

import re

import numpy as np
import numpy.typing as npt

from stages.babyweight.source.encode import BadRow

LINE_BYTES = 1 << 20
"""The longest line. A quoted field may hold line ends, but its record is not longer than this."""

Positions = npt.NDArray[np.int64]

_NEWLINE, _RETURN, _QUOTE = b'\n\r"'
_LAST_ASCII = 0x7F
_BEFORE_FIELD, _AFTER_FIELD = (np.isin(np.arange(256), list(marks)) for marks in (b',\n"', b',\r\n"'))


def record_pattern(width: int) -> re.Pattern[bytes]:
    """A whole record of so many fields, with its line end."""
    field = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\r\n]*+)'
    return re.compile(field + b"(?:," + field + b"){%d}\r?\n" % (width - 1))


def take_out_damaged(buffer: bytes, first: int, record: re.Pattern[bytes], is_last: bool) -> tuple[bytes, list[BadRow]]:
    """Cut a text, which begins with line `first`, after its last whole record, and take out the lines that are no CSV.

    Returns:
        The text with spaces in place of those lines, and the lines.
    """
    text = buffer[: buffer.rfind(b"\n") + 1]
    if text.isascii() and not any(mark in text for mark in (b'"', b"\r", b"\0")):  # true of most files
        return text, []
    newlines, suspects = _suspects(text)
    if not len(suspects):
        return text, []
    clean, damaged = bytearray(text), list[BadRow]()
    recognized = 0  # all before this is known to be CSV
    for i in suspects:
        start, stop = int(newlines[i - 1]) + 1 if i else 0, int(newlines[i])
        if start < recognized:
            continue
        line = buffer[start:stop]
        reason = _damage(line)
        if not reason:
            limit = start + LINE_BYTES
            match = record.match(buffer, start, limit)
            if match and not _damage(match[0]):
                recognized = match.end()
                continue
            if b'"' in line and limit >= len(buffer) and not is_last:
                return bytes(clean[:start]), damaged  # the next block may end this record
            reason = "stray_quote" if b'"' in line else "stray_carriage_return"
        # Rows that end with a carriage return alone, in a file whose first ones do not, are one line together.
        rows = [row for row in line.split(b"\r") if record.fullmatch(row + b"\n")] or [line]
        damaged += [BadRow(first + int(i), reason, row.decode(errors="backslashreplace")) for row in rows]
        clean[start:stop] = b" " * len(line)
    return bytes(clean), damaged


def _damage(line: bytes) -> str:
    if b"\0" in line:
        return "nul_bytes"
    try:
        line.decode()
    except UnicodeDecodeError:
        return "no_utf8"
    return ""


def _suspects(text: bytes) -> tuple[Positions, Positions]:
    """Where the lines of a text end, and which lines need a closer look."""
    values = np.frombuffer(text, np.uint8)
    newlines = np.flatnonzero(values == _NEWLINE)
    suspects = [np.zeros(0, np.int64)]
    if b'"' in text:
        suspects.append(_stray_quotes(values, newlines))
    if b"\r" in text:
        suspects.append(np.flatnonzero((values[:-1] == _RETURN) & (values[1:] != _NEWLINE)))
    # U+FFFD replaces bytes that are not UTF-8. It may also be there; then the lines are looked at in vain.
    if b"\0" in text or (not text.isascii() and "\ufffd" in text.decode(errors="replace")):
        suspects.append(np.flatnonzero((values == 0) | (values > _LAST_ASCII)))
    return newlines, np.unique(np.searchsorted(newlines, np.concatenate(suspects)))


def _stray_quotes(text: npt.NDArray[np.uint8], newlines: Positions) -> Positions:
    """Positions in the lines whose quotes do not open and close fields of that line."""
    quotes = np.flatnonzero(text == _QUOTE)
    starts = np.concatenate([[0], newlines[:-1] + 1])
    counts = np.diff(np.searchsorted(quotes, starts), append=len(quotes))  # of each line
    is_odd = counts % 2 == 1
    if is_odd.any():
        quotes = quotes[np.repeat(~is_odd, counts)]
    opening, closing = quotes[::2], quotes[1::2]
    # A doubled quote closes its field and opens it again. The text ends with a newline, which the first byte follows.
    stray = opening[~_BEFORE_FIELD[text[opening - 1]]], closing[~_AFTER_FIELD[text[closing + 1]]]
    return np.concatenate([*stray, starts[is_odd]])
