"""Compare two states of the project: a page, and the same as Markdown for a pull request.

python -m tools.compare HEAD~1 HEAD
"""

import argparse
from pathlib import Path

from stages.core.errors import run
from stages.core.files import write_text
from tools.compare.comparison import compare
from tools.compare.markdown import markdown
from tools.compare.page import html
from tools.compare.snapshot import WORK_TREE, Snapshot

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Write `index.html` and `comparison.md`, and print where they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    state = "a commit, tag, branch or experiment, or `.`, the work tree"
    parser.add_argument("a", nargs="?", default="main", help=f"{state} (default: main)")
    parser.add_argument("b", nargs="?", default=WORK_TREE, help=f"{state} (default: `.`)")
    parser.add_argument("--out", type=Path, default=Path("comparison"), help="folder to write to")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    args = parser.parse_args()

    comparison = compare(Snapshot(args.root, args.a), Snapshot(args.root, args.b))
    write_text(args.out / "index.html", html(comparison))
    write_text(args.out / "comparison.md", markdown(comparison))
    for name, answer in comparison.summary.items():
        print(f"{name}:", *answer, sep="\n  ")
    print(f"{args.out / 'index.html'}\n{args.out / 'comparison.md'}")


if __name__ == "__main__":
    run(main)
