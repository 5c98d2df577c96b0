"""What clients and the log are told."""

import logging
from pathlib import Path

import pytest

from serving.messages import for_clients, one_line_records


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("SavedModel file does not exist at: /tmp/serving-x1/half/3/saved_model.pb", "saved_model.pb"),
        ("'/usr/lib/python3/site-packages/tensorflow/ops.py', line 3", "'ops.py'"),
        ("{{function_node __inference}} /etc/shadow; No such file", "} shadow;"),
        ("/home/user: no folder", "user:"),
        ('"/srv/a/b"', '"b"'),
    ],
)
def test_absolute_paths_are_left_out(message: str, told: str) -> None:
    found = for_clients(message)
    assert told in found
    assert not [root for root in ("/tmp", "/usr", "/etc", "/home", "/srv") if root in found]


@pytest.mark.parametrize(
    "message",
    [
        "Malformed request: GET /v1/models/a/b",
        "input 'x', element [0, 1]: 3/4",
        "https://example.com/usr/lib/x",
        "1 / 2",
    ],
)
def test_other_words_stay(message: str) -> None:
    assert for_clients(message) == message


def test_a_folder_with_spaces() -> None:
    folder = Path("/home/my models/half/3")
    assert for_clients(f"{folder}/variables/x: damaged; {folder}: empty", folder) == "variables/x: damaged; 3: empty"


def test_a_record_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    record = logging.LogRecord("serving", logging.INFO, "", 1, "%s: available", ("a\nb\r\x1b[31m\u2028é",), None)
    assert one_line_records(record)
    assert record.getMessage() == "a\\nb\\r\\x1b[31m\\u2028é: available"
