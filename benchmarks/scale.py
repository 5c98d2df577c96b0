"""Compare preparing births with other engines, on clean, flawed and quoted files, and as births grow in number.

Each engine turns the same CSV file into the same columns, in a process of its own, in turns over several rounds. Polars
has an environment of its own below `.benchmarks/`, and runs as it is and with a budget of memory, which it keeps by
writing to disk. Then this project prepares a clean, a flawed and a quoted file of the same births, and ever more
synthetic births, which are drawn in the same process. Writes `scale.csv` (every run) and `scale.md` (medians).

    python -m benchmarks.scale --rows 1000000 4000000 10000000 20000000 --rounds 5
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from benchmarks.environments import FOLDER, processor, python_with
from benchmarks.timing import timed
from stages.core.files import significant, whole_file, write_table, write_text
from tools.param_overrides import override

ROOT = Path(__file__).parents[1]
POLARS = "polars==2.1.0"
ENGINES = {
    "ours": "this project",
    "pandas": "plain pandas",
    "polars": "Polars, streaming",
    "polars_budget": "Polars, streaming, with a budget of 300 MB",
}
BUDGET = {"POLARS_OOC_MEMORY_BUDGET_MB": "300"}
FLAW_EVERY = 400
KINDS = {
    "clean": "clean",
    "flawed": f"one flaw in {FLAW_EVERY} rows",
    "quoted": "every field quoted",
}
COLUMNS = ("engine", "source", "round", "wall_s", "cpu_s", "peak_mb", "births")

Row = dict[str, Any]


def command(engine: str, births: Path | int, scratch: Path) -> list[str | Path]:
    """The command that turns a file, or a number of synthetic births, into columns below `scratch/out`."""
    out = scratch / "out"
    if engine != "ours":
        python = Path(sys.executable) if engine == "pandas" else python_with("polars", POLARS)
        return [python, ROOT / f"benchmarks/peers/prepare_{engine.partition('_')[0]}.py", str(births), out]
    source: dict[str, str | int] = {
        "babyweight.prepare.source.kind": "files",
        "babyweight.prepare.source.path": str(births),
    }
    if isinstance(births, int):
        source = {"babyweight.prepare.source.kind": "synthetic", "babyweight.prepare.source.rows": births}
    params = override(yaml.safe_load((ROOT / "params.yaml").read_text()), source)
    (scratch / "params.yaml").write_text(yaml.safe_dump(params))
    options: list[str | Path] = ["--raw", str(births), "--sample", scratch / "sample.csv"]
    options += ["--params", scratch / "params.yaml"]
    return [sys.executable, "-m", "stages.babyweight.prepare", *options, out, scratch / "prepare.json"]


def count(engine: str, scratch: Path) -> int:
    """How many births an engine says it kept."""
    if engine == "ours":
        return int(json.loads((scratch / "prepare.json").read_text())["rows"]["kept"])
    return int((scratch / "out/count").read_text())


def measure(engine: str, births: Path | int, source: str, number: int) -> Row:
    """Run an engine once: wall clock and processor time, and the peak of resident memory."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        scratch = Path(folder)
        line = list(map(str, command(engine, births, scratch)))
        # Whether it is compiled anew each time says nothing of an engine.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        budget = BUDGET if engine == "polars_budget" else {}
        values = timed(engine, line, cwd=ROOT, env=environment | budget)._asdict()
        rounded = {name: significant(value, 3) for name, value in values.items()}
        return {"engine": engine, "source": source, "round": number, **rounded, "births": count(engine, scratch)}


def draw(rows: int) -> Path:
    """A CSV file of synthetic births, drawn if it is not there."""
    births = FOLDER / f"births-{rows}.csv"
    if not births.exists():
        line = [sys.executable, "-m", "stages.babyweight.source.synthetic", str(rows), str(births)]
        subprocess.run(line, cwd=ROOT, check=True)
    return births


def flawed(lines: Iterable[str]) -> Iterable[str]:
    """Lines of which one in `FLAW_EVERY` is damaged, in six ways in turn."""
    for number, line in enumerate(lines):
        if number % FLAW_EVERY == FLAW_EVERY - 1:
            pounds, rest = line.split(",", 1)
            starts = ("heavy,", "", f"0,{pounds},", f'{pounds},"', f"{pounds},\0", f"{pounds},\udcff")
            line = starts[number // FLAW_EVERY % len(starts)] + rest
        yield line


def dirty(kind: str, rows: int) -> Path:
    """A flawed or quoted copy of the births, made if it is not there."""
    path = FOLDER / f"births-{rows}-{kind}.csv"
    if not path.exists():
        with (
            draw(rows).open(encoding="utf-8", newline="") as lines,
            whole_file(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            if kind == "quoted":
                csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(csv.reader(lines))
            else:
                file.writelines(flawed(lines))
    return path


def medians(rows: list[Row]) -> str:
    """Medians and ranges of some runs, as cells of a Markdown table."""
    cells = []
    for name in ("wall_s", "cpu_s", "peak_mb"):
        values = [row[name] for row in rows]
        cells.append(f"{statistics.median(values):g} ({min(values):g}-{max(values):g})")
    return " | ".join(cells)


def ratio_to_polars(rows: list[Row], engine: str) -> str:
    """Median and range over the rounds of an engine's seconds as a ratio to Polars', as a cell of a Markdown table."""
    seconds = {name: [row["wall_s"] for row in rows if row["engine"] == name] for name in (engine, "polars")}
    if not seconds["polars"]:
        return ""
    ratios = [ours / theirs for ours, theirs in zip(seconds[engine], seconds["polars"], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def table(rows: list[Row], files: dict[int, Path], note: str) -> str:
    """The comparison of engines at each size, as Markdown."""
    lines = [
        "# Preparing births from a CSV file",
        "",
        f"{processor()}, {os.cpu_count()} cores{note}. Python {platform.python_version()}, "
        f"pandas {metadata.version('pandas')}, Arrow {metadata.version('pyarrow')}, {POLARS.replace('==', ' ')}. "
        f"Medians (ranges) of {len({row['round'] for row in rows})} rounds in turns; each run a fresh process with its "
        "imports. The ratio is taken in each round.",
        "",
        "| births | engine | seconds | processor seconds | peak memory, MB | seconds to Polars' |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for number, path in files.items():
        of_size = [row for row in rows if row["source"] == path.name]
        for engine in dict.fromkeys(row["engine"] for row in of_size):
            runs = [row for row in of_size if row["engine"] == engine]
            size = f"{number:,} ({path.stat().st_size / 1e9:.2g} GB)"
            ratio = ratio_to_polars(of_size, engine)
            lines.append(f"| {size} | {ENGINES[engine]} | {medians(runs)} | {ratio} |")
    return "\n".join(lines) + "\n"


def dirty_table(rows: list[Row], births: int) -> str:
    """This project on files of the same births, as Markdown."""
    lines = [
        "",
        f"# This project on {births:,} births, clean, flawed and quoted",
        "",
        "Flaws, in turn: a word for a number, a field less, a field more, a quote that is never closed, a NUL byte, a "
        "byte that is not UTF-8. Each spoils its own row alone.",
        "",
        "| file | seconds | processor seconds | peak memory, MB | births kept |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for kind, label in KINDS.items():
        runs = [row for row in rows if row["source"] == kind]
        lines.append(f"| {label} | {medians(runs)} | {runs[0]['births']:,} |")
    return "\n".join(lines) + "\n"


def growth_table(rows: list[Row]) -> str:
    """How time and memory grow, as Markdown."""
    lines = [
        "",
        "# Preparing ever more synthetic births",
        "",
        "Drawn, encoded and written in one process, with no file in between; one run each.",
        "",
        "| births | seconds | processor seconds | per million births | peak memory, MB |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        each = significant(row["cpu_s"] / row["births"] * 1e6, 3)
        lines.append(f"| {row['births']:,} | {row['wall_s']:g} | {row['cpu_s']:g} | {each:g} | {row['peak_mb']:g} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw the births, run the engines in turns, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 4_000_000, 10_000_000, 20_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--dirty", type=int, default=2_000_000, help="births of the flawed and quoted files; 0: none")
    parser.add_argument(
        "--growth",
        type=int,
        nargs="*",
        default=[1_000_000, 10_000_000, 100_000_000],
        help="numbers of synthetic births to prepare; none to skip them",
    )
    parser.add_argument("--note", default="", help="what the table says of the machine, after its cores")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()

    FOLDER.mkdir(exist_ok=True)
    sources = {number: draw(number) for number in args.rows}
    if any(engine.startswith("polars") for engine in args.engines):
        python_with("polars", POLARS)  # creating the environment is not timed
    rounds = range(args.rounds)
    rows = [
        measure(engine, path, path.name, number)
        for path in sources.values()
        for number in rounds
        for engine in args.engines
    ]
    if len({(row["source"], row["births"]) for row in rows}) > len(sources):
        raise SystemExit("error: the engines do not keep the same number of births")
    files = {kind: draw(args.dirty) if kind == "clean" else dirty(kind, args.dirty) for kind in KINDS if args.dirty}
    dirty_rows = [measure("ours", file, kind, number) for number in rounds for kind, file in files.items()]
    growth = [measure("ours", number_of_births, "synthetic", 0) for number_of_births in args.growth]
    write_table(args.results / "scale.csv", rows + dirty_rows + growth, COLUMNS)
    text = table(rows, sources, args.note)
    text += dirty_table(dirty_rows, args.dirty) if dirty_rows else ""
    write_text(args.results / "scale.md", text + (growth_table(growth) if growth else ""))


if __name__ == "__main__":
    main()
