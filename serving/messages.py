"""What clients and the log are told: no folders of this machine, and one line for each message."""

import logging
import re
from pathlib import Path

_FOLDERS = re.compile(r"(?<![\w.:/-])/(?!v1/)(?:[^/\s'\"`,;:()\[\]{}<>=]++/)++")


def for_clients(message: str, folder: Path | None = None) -> str:
    """A message in which nothing but the last part is left of an absolute path of this machine.

    Args:
        message: for instance what TensorFlow says, which names the files that it reads.
        folder: a folder that may occur in it, with spaces in its name or not; what lies in it keeps its path there.
    """
    if folder is not None:
        message = message.replace(f"{folder}/", "").replace(str(folder), folder.name)
    return _FOLDERS.sub("", message)


def one_line(text: str) -> str:
    """Text with its control characters and line breaks escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line_records(record: logging.LogRecord) -> bool:
    """A filter of a log's handler: a name that came from outside cannot begin a line. A traceback has its own."""
    record.msg, record.args = one_line(record.getMessage()), None
    return True
