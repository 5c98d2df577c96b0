"""Charts as SVG: the same bytes everywhere, text in words, marks with their values."""

import os
import re
import subprocess
import sys

from stages.report import charts
from tests.conftest import ROOT

ROWS = [{"decile": 1, "predicted": 5.2, "actual": 5.4, "n": 10}, {"decile": 2, "predicted": 7.1, "actual": 7.0, "n": 3}]


def drawn() -> list[str]:
    """A chart of every kind."""
    lines = charts.lines({"a": [(0, 1.0), (1, 0.01), (2, None)], "b <": [(0, 2.0)]}, "step", 'loss "nats"', log=True)
    bars = charts.bars(ROWS, "predicted", "n", "weight", "births", 0.5)
    diagonal = charts.against_diagonal(ROWS, "predicted", "actual", "prediction", "weight", size="n")
    return [
        charts.svg(chart, f'Chart {number} of "words" & <signs>')
        for number, chart in enumerate([lines, bars, diagonal])
    ]


def tips(svg: str) -> list[str]:
    return re.findall('data-tip="([^"]*)"', svg)


def test_marks_carry_their_values() -> None:
    lines, bars, diagonal = drawn()
    assert "step: 1; loss &quot;nats&quot;: 0.01; series: a" in tips(lines)
    assert "weight: 5.2 – 5.7; births: 10" in tips(bars)  # noqa: RUF001 - an en dash
    assert any("weight: 7" in tip and "n: 3" in tip for tip in tips(diagonal))


def test_a_chart_has_a_description_and_no_other_words_for_screen_readers() -> None:
    for number, chart in enumerate(drawn()):
        svg, end, values = chart.partition("</svg>")
        assert end and values.startswith("<details><summary>Values</summary>"), "the marks' values for the keyboard"
        assert re.findall('aria-label="([^"]*)"', svg) == [f"Chart {number} of &#34;words&#34; &amp; &lt;signs&gt;"]
        assert svg.count('role="') == 1


def test_colours_follow_the_page() -> None:
    for svg in drawn():
        colours = set(re.findall('(?:fill|stroke)="([^"]*)"', svg))
        assert any(colour.startswith("var(--") for colour in colours)
        assert not [colour for colour in colours if colour.startswith("#")], colours


def test_names_inside_two_charts_do_not_collide() -> None:
    names = [set(re.findall('id="([^"]*)"', svg)) for svg in drawn()]
    assert sum(map(len, names)) == len(set().union(*names))


def test_bytes_do_not_depend_on_the_environment() -> None:
    code = "from tests.report.test_charts import drawn; print(*drawn())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **extra}, capture_output=True, check=True
        ).stdout
        for extra in (
            {"PYTHONHASHSEED": "1", "TZ": "Asia/Kolkata", "LC_ALL": "C"},
            {"PYTHONHASHSEED": "2", "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        )
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 5000


def test_text_is_measured_in_the_font_that_vl_convert_bundles() -> None:
    for svg in drawn():
        assert set(re.findall('font-family="([^"]*)"', svg)) == {charts.FONT}
