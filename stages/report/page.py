"""HTML of the report: a page in one file, and the blocks that its sections are made of.

Every function returns `Markup`. Plain strings that are passed in are escaped, so a value can hold any text.
The page asks for nothing outside itself: style, script and pictures are inside, and its policy forbids requests.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

HERE = Path(__file__).parent
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
NO_VALUE = "\N{EN DASH}"
NUMBER = re.compile(r"[-+\N{MINUS SIGN}]?[\d,]*\.?\d+(?:e-?\d+)?(?:%|[ \N{NO-BREAK SPACE}]\w+)?")


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, such as `pipeline`, its heading, which the navigation shows, and its blocks."""

    key: str
    title: str
    body: Markup


def join(*blocks: Any) -> Markup:
    """Blocks one after the other; a plain string is escaped."""
    return Markup("\n").join(blocks)


def text(value: Any) -> str:
    """A value as a person reads it: yes and no, thousands separated, no noise digits, a dash for None.

    `Markup` stays as it is.
    """
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value)
    return value if isinstance(value, str) else str(value)


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def paragraph(words: str | Markup, style: str = "") -> Markup:
    """A paragraph, with a class of the style sheet if one is given."""
    return Markup('<p class="{}">{}</p>').format(style, words) if style else Markup("<p>{}</p>").format(words)


def heading(words: str) -> Markup:
    """A heading inside a section."""
    return Markup("<h3>{}</h3>").format(words)


def _alignment(cells: Iterable[Any]) -> Markup:
    """The attribute of cells that are all numbers, those with a unit too."""
    return Markup(' class="number"' if all(NUMBER.fullmatch(text(cell)) for cell in cells) else "")


def _cells(values: Iterable[Any]) -> Markup:
    return join(*(Markup("<td{}>{}</td>").format(_alignment([value]), text(value)) for value in values))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> Markup:
    """A table whose first column names the rows; nothing if there are none.

    Numbers, those with a unit too, are aligned to the right. `Markup` cells stay as they are.
    """
    rows = list(rows)
    if not rows:
        return Markup()
    _, *columns = zip(*rows, strict=True)
    titles = zip(["", *map(_alignment, columns)], header, strict=True)
    head = join(*(Markup('<th scope="col"{}>{}</th>').format(*title) for title in titles))
    line = '<tr><th scope="row">{}</th>{}</tr>'
    body = join(*(Markup(line).format(text(first), _cells(rest)) for first, *rest in rows))
    title = Markup("<caption>{}</caption>").format(caption) if caption else ""
    # A table that is wider than a phone scrolls, for the keyboard too.
    return Markup(
        '<div class="scroll" tabindex="0" role="group" aria-label="{}"><table>{}<thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(caption or f"Table: {', '.join(header)}", title, head, body)


NO_CURVE = "The training ended before its first evaluation, which comes after evaluate_every steps."
"""The note of a learning curve without a point."""


def figure(picture: Markup, title: str, note: str | Markup = "") -> Markup:
    """A chart or picture under its title, with a note below it."""
    below = Markup("<p>{}</p>").format(note) if note else ""
    return Markup("<figure><figcaption>{}</figcaption>{}{}</figure>").format(title, picture, below)


def grid(*blocks: Markup) -> Markup:
    """Blocks side by side, as many as fit."""
    return Markup('<div class="grid">{}</div>').format(join(*blocks))


def details(summary: str | Markup, *blocks: Markup) -> Markup:
    """Blocks that a reader unfolds. Printed as they are on the screen: folded unless unfolded."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, join(*blocks))


def facts(values: Mapping[str, Any]) -> Markup:
    """Short facts in a row: what, and its value."""
    pairs = (Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, text(v)) for name, v in values.items())
    return Markup('<dl class="facts">{}</dl>').format(join(*pairs))


def answers(values: Mapping[str, Iterable[str]]) -> Markup:
    """Questions in a word, each with its answer in a few lines."""
    pairs = (Markup("<dt>{}</dt><dd>{}</dd>").format(name, join(*map(paragraph, v))) for name, v in values.items())
    return Markup('<dl class="answers">{}</dl>').format(join(*pairs))


def verdict(better: bool | None, words: str, signs: str = "▲▼") -> Markup:
    """A label that says better (True), worse (False) or neither (None), by word, sign and colour."""
    style, sign = {True: ("better", signs[0]), False: ("worse", signs[1]), None: ("same", "●")}[better]
    return Markup('<span class="verdict {}"><span aria-hidden="true">{}</span> {}</span>').format(style, sign, words)


def card(title: str, value: str, label: str, lines: Iterable[Any], href: str, picture: Markup | None = None) -> Markup:
    """A result at a glance: what was measured, the figure with its unit, and what the figure is.

    Beside it stand `lines`, such as a baseline and a verdict, and a picture. `href` is where to read on.
    """
    beside = join(*(Markup("<li>{}</li>").format(line) for line in lines))
    return Markup(
        '<article class="card"><h3><a href="{}">{}</a></h3><p class="value">{}<span>{}</span></p>'
        "<ul>{}</ul>{}</article>"
    ).format(href, title, value, label, beside, picture or "")


def image(data: bytes, kind: str, description: str, width: int, height: int) -> Markup:
    """A picture of the given type (`png`, `gif`) inside the page, `width` by `height` CSS pixels."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Markup('<img src="{}" alt="{}" width="{}" height="{}">').format(source, description, width, height)


def animation(data: bytes, still: bytes, description: str, width: int, height: int) -> Markup:
    """A GIF; its first picture as a PNG stands in where the reader's system asks for less motion, and in print."""
    source = f"data:image/png;base64,{base64.b64encode(still).decode()}"
    return Markup('<picture><source srcset="{}" media="(prefers-reduced-motion: reduce), print">{}</picture>').format(
        source, image(data, "gif", description, width, height)
    )


def page(title: str, lead: str | Markup, sections: Sequence[Section]) -> str:
    """The whole page: title, a sentence below it, navigation and sections."""
    links = join(*(Markup('<a href="#{}">{}</a>').format(s.key, s.title) for s in sections))
    section = '<section id="{0}" aria-labelledby="{0}-title"><h2 id="{0}-title">{1}</h2>{2}</section>'
    body = join(*(Markup(section).format(s.key, s.title, s.body) for s in sections))
    style, script = (Markup((HERE / name).read_text(encoding="utf-8")) for name in ("style.css", "script.js"))
    return Markup(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="{}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<link rel="icon" href="data:,">\n<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n'
        '<header><h1>{}</h1><p>{}</p><nav aria-label="Sections">{}</nav></header>\n<main>\n{}\n</main>\n'
        '<div id="tip" role="status" hidden></div>\n<script>\n{}</script>\n</body>\n</html>\n'
    ).format(POLICY, title, style, title, lead, links, body, script)
