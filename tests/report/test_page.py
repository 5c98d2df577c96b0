"""The blocks of a page: what goes in comes out, escaped."""

from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from stages.report.page import Section, card, details, facts, figure, page, signed, table, text, verdict

HOSTILE = '<script>alert("x")</script>&'
VOID = {"img", "link", "meta", "source", "br"}


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse(html: str) -> list[str]:
    """The page's tags in order, each closed where it must be."""
    parser = Balanced()
    parser.feed(html)
    assert not parser.open
    return parser.tags


def test_every_block_escapes_what_it_is_given() -> None:
    blocks = [
        card(HOSTILE, HOSTILE, HOSTILE, [HOSTILE], href="#a"),
        details(HOSTILE, table([HOSTILE], [[HOSTILE]], HOSTILE)),
        facts({HOSTILE: HOSTILE}),
        figure(Markup("<svg></svg>"), HOSTILE, HOSTILE),
        verdict(None, HOSTILE),
    ]
    sections = [Section(f"s{number}", HOSTILE, block) for number, block in enumerate(blocks)]
    whole = page(HOSTILE, HOSTILE, sections)
    assert parse(whole).count("script") == 1  # the page's own
    assert whole.count("<section ") == len(blocks)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (None, "–"),  # noqa: RUF001 - an en dash
        (20137, "20,137"),
        (0.123456789, "0.123457"),
        (100000.0, "100,000"),
        ([64, 32], "64, 32"),
        ("word", "word"),
    ],
)
def test_values_read_well(value: object, shown: str) -> None:
    assert text(value) == shown


def test_a_difference_has_its_sign() -> None:
    assert [signed(0.5), signed(-0.5), signed(0.0, 1)] == ["+0.50", "\N{MINUS SIGN}0.50", "+0.0"]


def test_numbers_are_aligned_and_words_are_not() -> None:
    cells = table(["name", "number", "word"], [["a", 3, "b"]])
    assert '<td class="number">3</td><td>b</td>' in cells.replace("\n", "")


def test_a_verdict_differs_by_more_than_colour() -> None:
    better, worse, same = (verdict(value, "x") for value in (True, False, None))
    assert len({label.partition(">")[2] for label in (better, worse, same)}) == 3
