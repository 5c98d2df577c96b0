"""Write `params.yaml` in the form that DVC writes, so that `dvc exp run -S` of one number changes one line.

DVC's writer makes a line of each list item and leaves null empty. Comments stand two spaces right of the value.
"""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

from dvc.utils.hydra import apply_overrides

from stages.core.errors import run
from stages.core.files import write_text
from stages.core.params import load

COMMENTED_KEY = re.compile(r"^( *[\w-]+:.*?) +# ", re.MULTILINE)


def formatted(path: Path) -> str:
    """The text of a parameter file as DVC writes it.

    Raises:
        InputError: if the file is missing or is not YAML with sections.
    """
    load(path)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(shutil.copy(path, folder))
        apply_overrides(scratch, [])
        return COMMENTED_KEY.sub(r"\1  # ", scratch.read_text(encoding="utf-8"))


def first_difference(path: Path) -> str | None:
    """A message about the first line that DVC would write in another form, if there is one."""
    text = COMMENTED_KEY.sub(r"\1  # ", path.read_text(encoding="utf-8"))  # a shorter value moves no comment
    lines, wanted = text.split("\n"), formatted(path).split("\n")
    pairs = enumerate(zip(lines, wanted, strict=False), 1)
    return next(
        (f"{path.name}: line {n}: DVC writes {b!r}, run `make format`; found {a!r}" for n, (a, b) in pairs if a != b),
        None,
    )


def main() -> None:
    """Rewrite the file, or with `--check` say whether it needs to be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with code 1 if the form differs")
    parser.add_argument("params", type=Path, nargs="?", default=Path("params.yaml"))
    args = parser.parse_args()
    if not args.check:
        write_text(args.params, formatted(args.params))
    elif difference := first_difference(args.params):
        sys.exit(f"error: {difference}")


if __name__ == "__main__":
    run(main)
