"""Charts of the report as SVG: Vega-Lite by Altair, rendered when the page is built.

The bytes depend on the data and on the versions of Altair and vl-convert alone: text is measured by the font that
vl-convert bundles, whatever fonts the system has, and shown in the page's own. Colours are the page's variables, so
that a chart follows its light or dark style. Each mark carries its values in `data-tip`, which the page's script shows.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import unescape
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup, escape

from stages.report.page import details, table

Rows = Iterable[Mapping[str, Any]]
Points = Mapping[str, Iterable[tuple[float, float | None]]]

WIDTH, HEIGHT = 340, 190
FONT = "Liberation Sans"  # bundled with vl-convert
COLOURS = tuple(f"var(--c{number})" for number in range(1, 6))
INK, SOFT, LINE = "var(--ink)", "var(--soft)", "var(--line)"

CONFIG = {
    "background": None,
    "font": FONT,
    "view": {"stroke": None, "continuousWidth": WIDTH, "continuousHeight": HEIGHT, "discreteWidth": WIDTH},
    "axis": {
        "domain": False,
        "gridColor": LINE,
        "labelColor": SOFT,
        "labelFontSize": 11,
        "tickColor": LINE,
        "titleColor": SOFT,
        "titleFontWeight": "normal",
    },
    "axisX": {"grid": False, "domain": True, "domainColor": LINE},
    "axisXQuantitative": {"tickCount": 6},
    # The title of the y axis stands level above it.
    "axisY": {
        "ticks": False,
        "titleAlign": "left",
        "titleAngle": 0,
        "titleX": 0,
        "titleY": -8,
        "titleBaseline": "bottom",
    },
    "legend": {
        "columnPadding": 18,
        "labelColor": INK,
        "labelFontSize": 11,
        "offset": 24,
        "orient": "top",
        "title": None,
    },
    "mark": {"color": COLOURS[0]},
    "range": {"category": list(COLOURS)},
    "rule": {"color": SOFT},
    "text": {"color": INK},
}
alt.theme.register("report", enable=True)(lambda: {"config": CONFIG})

_SYMBOL = re.compile(r'aria-label=("[^"]*") role="graphics-symbol" aria-roledescription="[^"]*"')
_ARIA = re.compile(r' (?:role|aria-\w+)="[^"]*"')
_NUMBERS = re.compile(r' (?:d|transform|width|height|[xy][12]?)="[^"]*"')
_TIP = re.compile(r'data-tip="([^"]*)"')
_DECIMALS = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def chart(rows: Rows, **options: Any) -> alt.Chart:
    """A chart of rows, without marks yet."""
    return alt.Chart(alt.Data(values=list(rows)), **options)


def _hundredths(number: re.Match[str]) -> str:
    """A pixel's fraction needs no more than two decimals."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def svg(drawing: Any, description: str) -> Markup:
    """An Altair chart as SVG inside HTML, with its description in words for people who do not see it."""
    drawn = vl_convert.vegalite_to_svg(drawing.to_dict(), vl_version="6.4", allowed_base_urls=[])
    drawn = _ARIA.sub("", _SYMBOL.sub(r"data-tip=\1", drawn))
    drawn = _NUMBERS.sub(lambda found: _DECIMALS.sub(_hundredths, found[0]), drawn)
    # Several charts stand on a page: make the names in them their own.
    own = "c" + hashlib.sha256(drawn.encode()).hexdigest()[:8]
    drawn = re.sub(r'(id="|url\(#)(\w+)', rf"\1{own}-\2", drawn)
    values = _values(drawn)
    head, body = drawn.split(">", 1)
    width, height = re.findall(r' (?:width|height)="(\d+)"', head)
    return (
        Markup(
            f'<svg class="chart" role="img" aria-label="{escape(description)}" viewBox="0 0 {width} {height}" '
            f'style="max-width:{width}px">{body}'
        )
        + values
    )


def _values(drawn: str) -> Markup:
    """The values that the marks of a chart carry as tables to unfold, one for each kind of mark."""
    kinds: dict[tuple[str, ...], dict[tuple[str, ...], None]] = {}
    for tip in _TIP.findall(drawn):
        pairs = [part.partition(": ") for part in unescape(tip).split("; ")]
        if all(sign for _, sign, _ in pairs):
            kinds.setdefault(tuple(p[0] for p in pairs), {})[tuple(p[2] for p in pairs)] = None
    tables = [table(header, rows, "Values of the chart") for header, rows in kinds.items() if len(header) > 1]
    return details("Values", *tables) if tables else Markup()


def series(values: Points) -> list[dict[str, Any]]:
    """Rows `x`, `y`, `series` of named lines; points without a value are left out."""
    return [{"x": x, "y": y, "series": name} for name, points in values.items() for x, y in points if y is not None]


def lines(
    values: Points,
    x: str,
    y: str,
    *,
    log: bool = False,
    zero: bool = False,
    dash: Sequence[str] = (),
    height: int = HEIGHT,
) -> Any:
    """A chart of lines: the points (x, y) of each by its name, and titles of the axes.

    The y axis may be logarithmic or include zero. Lines named in `dash` are dashed. The plot's height is in pixels.
    """
    names, rows = list(values), series(values)
    dashes = [[4, 3] if name in dash else [1, 0] for name in names]
    line = chart(rows, height=height).mark_line(point=alt.OverlayMarkDef(opacity=0))
    return line.encode(
        x=alt.X("x:Q", title=x, scale=alt.Scale(nice=False)),
        y=y_axis("y:Q", y, [row["y"] for row in rows], log=log, zero=zero),
        color=alt.Color("series:N", scale=alt.Scale(domain=names), legend=alt.Legend() if len(names) > 1 else None),
        strokeDash=alt.StrokeDash("series:N", scale=alt.Scale(domain=names, range=dashes), legend=None),
    )


def y_axis(field: str, title: str, values: Sequence[float], *, log: bool = False, zero: bool = True) -> alt.Y:
    """A y axis, of numbers or of their logarithms."""
    if not log:
        return alt.Y(field, title=title, scale=alt.Scale(zero=zero, nice=True))
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    labels = [digit * 10.0**power for power in range(low, high + 1) for digit in (1, 2, 5)]
    return alt.Y(field, title=title, scale=alt.Scale(type="log", nice=False), axis=alt.Axis(values=labels, format="~g"))


def bars(rows: Rows, x: str, y: str, x_title: str, y_title: str, step: float, **mark: Any) -> Any:
    """A histogram: bars from column `x` to `x` + `step`, as high as column `y`; `mark` are properties of the bars."""
    marks = chart({**row, "until": row[x] + step} for row in rows).mark_bar(**mark)
    return marks.encode(
        x=alt.X(f"{x}:Q", title=x_title, bin="binned", scale=alt.Scale(nice=False)),
        x2="until:Q",
        y=alt.Y(f"{y}:Q", title=y_title),
    )


def against_diagonal(rows: Rows, x: str, y: str, x_title: str, y_title: str, *, size: str | None = None) -> Any:
    """Points of two columns that would be equal if all were well, which the diagonal shows.

    Areas and labels of the points show the counts in the column `size`.
    """
    rows = list(rows)
    ends = [f(float(row[name]) for row in rows for name in (x, y)) for f in (min, max)]
    line = chart({x: end, y: end} for end in ends).mark_line(color=SOFT, strokeDash=[4, 3], strokeWidth=1)
    diagonal = line.encode(x=f"{x}:Q", y=f"{y}:Q")
    base = chart(rows).encode(
        x=alt.X(f"{x}:Q", title=x_title, scale=alt.Scale(zero=False)),
        y=alt.Y(f"{y}:Q", title=y_title, scale=alt.Scale(zero=False)),
    )
    if size is None:
        return diagonal + base.mark_circle(size=60, opacity=1)
    area = alt.Size(f"{size}:Q", scale=alt.Scale(range=[15, 900]), legend=None)
    return (
        diagonal
        + base.mark_circle(opacity=0.6).encode(size=area)
        + base.mark_text(dx=10, dy=-8, fontSize=10).encode(text=alt.Text(f"{size}:Q", format=","))
    )
