"""What comes from a commit's subject, a branch or a parameter is text in the comment of a pull request."""

import re

import pytest
from markdown_it import MarkdownIt

from tools.compare.markdown import escape, folded, table

HOSTILE = [
    "@team look",
    "[a link](https://example.org)",
    "![picture](https://example.org/x.png)",
    "<img src=x onerror=alert(1)>",
    "<!-- hidden -->",
    "see https://example.org or www.example.org or ftp://example.org",
    "closes #12",
    "a | b || c",
    "*bold* **bolder** _soft_ ~~gone~~ `code`",
    "# heading",
    "two\n\n# lines\r\n- item",
    "\\[escaped\\]\\",
    "&lt;b&gt;",
    "[^1]: note",
    "- item",
    "> quoted",
    "1. first",
]


def shown(markdown: str) -> tuple[str, str]:
    """The HTML of Markdown, and its text alone."""
    html = MarkdownIt("commonmark").enable("table").render(markdown)
    plain = re.sub(r"<[^<>]*>", "", html.replace("<!-- -->", ""))
    return html, plain.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")


@pytest.mark.parametrize("text", HOSTILE)
def test_what_looks_like_markdown_stays_text(text: str) -> None:
    expected = " ".join(text.split())
    for markdown in (
        f"A is {escape(text)}.",
        f"- {escape(text)}",
        f"## {escape(text)}",
        table([text, "b"], [["c", text]]),
    ):
        html, plain = shown(markdown)
        assert not re.search(r"<(a|img|em|strong|code|s|del|ol|blockquote|h1|ul>\s*<li>\s*<ul)\b", html), html
        assert expected in plain
        assert not re.search(r"(?<!\w)@\w|#\d|https?://|ftp://|www\.", html), (
            "a host would call a person or make a link"
        )


@pytest.mark.parametrize("text", HOSTILE)
def test_a_summary_that_unfolds_stays_text(text: str) -> None:
    assert "<img" not in folded(text, "body") and "@t" not in folded(text, "body")


def test_our_own_code_spans_are_kept() -> None:
    html, _ = shown(escape("`dvc repro` brings <b> up to date", keep="`"))
    assert "<code>dvc repro</code>" in html and "<b>" not in html


@pytest.mark.parametrize(
    "text",
    [
        "mnist.train.learning_rate 0.003 → 0.006",
        "99.55% → 99.50%, -0.0005",
        "mean_return",
        "train@mnist",
        "HEAD~1",
        "-0.5",
    ],
)
def test_plain_words_and_numbers_are_left_as_they_are(text: str) -> None:
    assert escape(text) == text
