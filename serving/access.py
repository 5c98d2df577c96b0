"""What is written down of each request: its number, and on demand a line in the log."""

import logging
import re
import secrets
import time

ID_HEADER = "x-request-id"

_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s"
_TIME = "%Y-%m-%dT%H:%M:%S"
_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

_log = logging.getLogger("serving.access")
_log.setLevel(logging.WARNING)


def request_id(sent: bytes | str | None) -> str:
    """The id that a client or proxy sent, if it is a short word; else a new one."""
    text = sent.decode("latin-1") if isinstance(sent, bytes) else sent or ""
    return text if _ID.fullmatch(text) else secrets.token_hex(16)


def log_access() -> None:
    """Log every request from now on."""
    _log.setLevel(logging.INFO)


def write(number: str, client: str, what: str, status: int | str, seconds: float) -> None:
    """Log one request, if requests are logged."""
    if _log.isEnabledFor(logging.INFO):
        _log.info('%s %s "%s" %s %.1f ms', number, client, what, status, seconds * 1e3)


def formatter() -> logging.Formatter:
    """The form of every line of the log: time (UTC), level, message."""
    found = logging.Formatter(_FORMAT, _TIME)
    found.converter = time.gmtime
    return found
