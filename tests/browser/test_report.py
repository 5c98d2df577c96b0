"""The report, as the pipeline writes it and as a browser without a network shows it."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page

VIEWS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
}


@pytest.fixture(params=list(VIEWS))
def report(browser: Browser, pipeline: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, opened from its file; the test fails if it asked for anything else or reported an error."""
    address = (pipeline / "reports" / "index.html").as_uri()
    context = browser.new_context(offline=True, **VIEWS[request.param])
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith("data:") else problems.append(asked.url))
    page.goto(address)
    yield page
    context.close()
    assert problems == [address]


def test_everything_is_shown_and_fits(report: Page) -> None:
    assert report.locator(".card").count() == 3
    titles = report.locator("main > section > h2").all_inner_texts()
    assert titles == ["Results", "Pipeline", "Babyweight", "MNIST", "CartPole", "Models"]
    marks = report.evaluate(
        "[...document.querySelectorAll('svg.chart')].map(chart => chart.querySelectorAll('.role-mark > *').length)"
    )
    assert len(marks) > 20
    assert min(marks) > 0
    pictures = report.evaluate("[...document.images].map(image => image.complete && image.naturalWidth)")
    assert len(pictures) > 40
    assert all(pictures)
    assert report.evaluate("document.documentElement.scrollWidth <= innerWidth")
    report.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert report.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_axe_finds_nothing(report: Page) -> None:
    report.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    found = Axe().run(report).response["violations"]
    assert [(rule["impact"], rule["id"], rule["nodes"][0]["html"]) for rule in found] == []


def test_the_values_of_the_nearest_mark_are_shown(report: Page) -> None:
    chart = report.locator("#babyweight svg.chart").first
    chart.scroll_into_view_if_needed()
    box = chart.locator("[data-tip]").nth(10).bounding_box()
    assert box
    report.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert re.fullmatch(r"weight \(lb\): .*\nbirths \(%\): [\d.]+", report.locator("#tip").inner_text())
    report.mouse.move(1, 1)
    assert report.locator("#tip").is_hidden()


def test_colours_follow_the_system(browser: Browser, pipeline: Path) -> None:
    def brightness(scheme: Any) -> float:
        page = browser.new_page(color_scheme=scheme)
        page.goto((pipeline / "reports" / "index.html").as_uri())
        chart = page.locator("svg.chart").first.screenshot()
        page.close()
        with Image.open(io.BytesIO(chart)) as picture:
            return float(np.asarray(picture.convert("L")).mean())

    assert brightness("light") > 180
    assert brightness("dark") < 80


def test_it_prints_on_few_pages(browser: Browser, pipeline: Path) -> None:
    page = browser.new_page()
    page.goto((pipeline / "reports" / "index.html").as_uri())
    document = page.pdf(format="A4", print_background=True)
    page.close()
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", document)) <= 12
