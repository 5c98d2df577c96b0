"""DVC's plots are drawn by a page that asks nobody."""

import shutil
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser

from tests.conftest import ROOT
from tests.pipeline.scratch import dvc
from tools.plots_template import page


@pytest.fixture(scope="module")
def plots(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plots") / "pipeline"
    shutil.copytree(pipeline, folder, symlinks=True)
    return Path(dvc(folder, "plots", "diff", "HEAD", "--out", "page").stdout.strip().removeprefix("file://"))


def test_the_committed_page_is_what_the_tool_writes() -> None:
    assert (ROOT / ".dvc" / "plots.html").read_text() == page()


@pytest.mark.parametrize("width", [400, 1400])
def test_every_plot_is_drawn_without_a_network(browser: Browser, plots: Path, width: int) -> None:
    context = browser.new_context(offline=True, viewport={"width": width, "height": 900})
    context.set_default_timeout(120_000)
    shown = context.new_page()
    problems: list[str] = []
    shown.on("pageerror", lambda error: problems.append(str(error)))
    shown.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    shown.on("request", lambda asked: problems.append(asked.url) if asked.url.startswith("http") else None)
    shown.goto(plots.as_uri())
    declared = [entry for entry in yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"] if isinstance(entry, dict)]
    drawn = "n => document.querySelectorAll('main > .vega-embed svg.marks').length >= n"
    shown.wait_for_function(drawn, arg=len(declared))
    assert problems == []
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    for image in shown.locator("main img").all():
        image.evaluate("image => image.decode()")
        assert image.evaluate("image => image.naturalWidth > 0 && image.getBoundingClientRect().right <= innerWidth")
    context.close()
