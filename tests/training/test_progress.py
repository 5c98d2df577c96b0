import signal
import sys
from collections.abc import Iterator

import pytest

from stages.training import progress
from stages.training.progress import Interrupt, bar


@pytest.fixture
def every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)


@pytest.mark.usefixtures("every_update")
def test_without_a_terminal_progress_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("mnist", 400, 100) as shown:
        shown.set_postfix(loss="0.5000", refresh=False)
        shown.update(100)
        shown.update(200)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "mnist: step 100 of 400, ? left"
    assert lines[1].startswith("mnist: step 200 of 400, 00:00 left, loss=0.5000")
    assert lines[-1] == "mnist: step 400 of 400, 00:00 left, loss=0.5000"


def test_lines_are_seconds_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("mnist", 1000, 0) as shown:
        for _ in range(1000):
            shown.update(1)
    assert shown.mininterval == 10
    assert len(capsys.readouterr().err.splitlines()) == 2, "the first and the last"


def test_a_worker_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("mnist", 10, 0, is_chief=False) as shown:
        shown.update(10)
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with bar("mnist", 10, 0) as shown:
        shown.update(10)
        assert shown.dynamic_ncols
    assert "100%|" in capsys.readouterr().err


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own handler, which a process that a shell put into the background has not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_handler_gives_way_to_a_second_signal() -> None:
    with Interrupt() as interrupt:
        assert not interrupt.noticed
        signal.raise_signal(signal.SIGINT)
        assert interrupt.noticed
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
