"""Start a workload: a small example of its own folder, which works at once and is there to be changed.

python -m tools.new_workload wines

Writes `stages/<name>`, `tests/<name>`, `data/raw/<name>`, a request and the expected answers, and adds the workload to
`params.yaml` and `dvc.yaml`. `make workload NAME=wines` also writes the schema of the parameters and the graph.
"""

import argparse
import keyword
import re
from pathlib import Path

import numpy as np

from stages.core.errors import InputError, run
from stages.core.files import write_table, write_text

TEMPLATE = Path(__file__).parent / "template"
EXAMPLE = "wines"  # what the template calls the workload
LIST = re.compile(r"(?m)^  (?!fetch:)\w+:\n    foreach: \[[^\]\n]*(?=\])")
"""A stage of `dvc.yaml` for each of a list of workloads; raw data is fetched for some alone."""


def check_name(root: Path, name: str) -> None:
    """Check that a workload may have this name.

    Raises:
        InputError: if it is no lower-case identifier, or something has it already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise InputError(f"NAME: {name!r}: expected a lower-case identifier, such as wines")
    taken = [f"stages/{name}", f"stages/{name}.py", f"tests/{name}", f"tests/{name}.py", f"data/{name}"]
    taken += [f"data/raw/{name}", f"data/requests/{name}.json", f"data/requests/expected/{name}.json"]
    for path in taken:
        if (root / path).exists():
            raise InputError(f"NAME: {name}: {path} exists")
    if re.search(rf"(?m)^{name}:", (root / "params.yaml").read_text(encoding="utf-8")):
        raise InputError(f"NAME: {name}: params.yaml has this section")


def fragment(path: str, name: str) -> str:
    """A file of the template, for a workload of this name."""
    text = (TEMPLATE / path).read_text(encoding="utf-8")
    return text.replace(EXAMPLE, name).replace(EXAMPLE.title(), name.replace("_", " ").capitalize())


def insert(text: str, before: str, addition: str, file: str) -> str:
    """Insert text before a line.

    Raises:
        InputError: if there is not exactly one such line.
    """
    if text.count(before) != 1:
        raise InputError(f"{file}: expected one line {before.strip()!r}, before which the workload is added")
    return text.replace(before, addition + before)


def add_to_pipeline(text: str, name: str) -> str:
    """`dvc.yaml` with the workload in all stages of one workload but `fetch`."""
    text = LIST.sub(rf"\g<0>, {name}", text)
    before, prepare, after = text.partition("  prepare:\n")
    text = before + prepare + after.replace("    do:\n", fragment("prepare.yaml", name) + "    do:\n", 1)
    before, cards, after = text.partition("  card:\n    foreach:\n")
    text = before + cards + f"      {name}: prepare.json\n" * bool(cards) + after
    last = re.findall(r"(?m)^      - stages/\w+/params\.py\n", text.partition("  fetch:\n")[0])[-1]
    text = text.replace(last, f"{last}      - stages/{name}/params.py\n", 1)
    text = insert(text, "    outs:\n      - reports\n", fragment("report.yaml", name), "dvc.yaml")
    text = insert(text, "\nplots:\n", fragment("artifacts.yaml", name), "dvc.yaml")
    return text + fragment("plots.yaml", name)


def rows(seed: int = 0, count: int = 200) -> list[dict[str, float | int]]:
    """The example's table: wines of three varieties, drawn by a seed."""
    random, centres = np.random.default_rng(seed), ((13.8, 2.0, 5.5), (12.2, 1.9, 3.0), (13.1, 3.4, 7.4))
    table = []
    for variety in random.integers(len(centres), size=3 * count):
        alcohol, acidity, colour = (round(float(v), 2) for v in random.normal(centres[variety], (0.5, 0.6, 1.2)))
        table.append({"alcohol": alcohol, "acidity": acidity, "colour": colour, "variety": int(variety)})
    return table


def create(root: Path, name: str) -> None:
    """Write a workload's files, and add it to `params.yaml` and `dvc.yaml`.

    Raises:
        InputError: if the name cannot be used, or a file has another form; then nothing is written.
    """
    check_name(root, name)
    params, pipeline = ((root / file).read_text(encoding="utf-8") for file in ("params.yaml", "dvc.yaml"))
    params = insert(params, "\nexport:\n", "\n" + fragment("params.yaml", name), "params.yaml")
    pipeline = add_to_pipeline(pipeline, name)
    for kind in ("stages", "tests"):
        for path in sorted((TEMPLATE / kind).rglob("*.py")):
            text = fragment(path.relative_to(TEMPLATE).as_posix(), name)
            target = root / kind / name / path.relative_to(TEMPLATE / kind)
            write_text(target.with_name(path.name.replace(EXAMPLE, name)), text)
            if not (target.parent / "__init__.py").exists():
                write_text(target.parent / "__init__.py", "")
    table = rows()
    write_table(root / "data/raw" / name / f"{name}.csv", table, list(table[0]))
    write_text(root / "data/requests" / f"{name}.json", fragment("request.json", name))
    write_text(root / "data/requests/expected" / f"{name}.json", fragment("expected.json", name))
    write_text(root / "params.yaml", params)
    write_text(root / "dvc.yaml", pipeline)


def main() -> None:
    """Write the workload, and say what to do next."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of the workload, a lower-case identifier")
    parser.add_argument("--root", type=Path, default=Path(), help="the project's folder")
    args = parser.parse_args()
    create(args.root, args.name)
    print(
        f"stages/{args.name} is there; `make repro` runs it, `make test` tests it; CONTRIBUTING.md says what to change"
    )


if __name__ == "__main__":
    run(main)
