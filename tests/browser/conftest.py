"""A real browser before a real server."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from serving.publish import publish
from stages.core.params import workload_names
from tests.serving.conftest import Process

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")  # Playwright's event loop must be gone before other tests have theirs
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        assert not os.environ.get("CI"), "CI must have a browser: apt-get install chromium"
        pytest.skip("no browser here: install Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="session")
def server(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Models that the pipeline trained, published and served."""
    folder = tmp_path_factory.mktemp("published")
    for name in workload_names():
        publish(pipeline / "models" / name, pipeline / "results" / name / "predictions.json", folder / name, keep=1)
    process = Process(folder)
    try:
        process.wait_ready()
        yield process
    finally:
        process.running.terminate()
        process.running.communicate(timeout=20)


@pytest.fixture
def page(browser: Browser, server: Process, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, opened; the test fails if it asked anyone else or reported an error."""
    options: dict[str, Any] = getattr(request, "param", {})
    context = browser.new_context(**options)
    found = context.new_page()
    problems: list[str] = []
    found.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: problems.append(str(error)))
    found.on("request", lambda asked: problems.append(asked.url) if not asked.url.startswith(server.url) else None)
    found.goto(server.url)
    yield found
    context.close()
    assert not problems
