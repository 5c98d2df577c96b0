"""Compare preparing births with other engines, and with itself as births grow in number.

Each engine turns the same CSV file into the same columns, in a process of its own, in turns over some rounds; Polars
in an environment of its own, which is created below `.benchmarks/`, as it is and with a budget of memory, which it
keeps by writing to disk. Then this project prepares ever more synthetic births, which are drawn in the same process.
Writes `scale.csv` (every run) and `scale.md` (medians).

    python -m benchmarks.scale --rows 20000000 --growth 1000000 10000000 100000000
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from benchmarks.environments import FOLDER, python_with
from stages.core.files import significant, write_table, write_text
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
COLUMNS = ("engine", "source", "round", "wall_s", "cpu_s", "peak_mb", "births")

Row = dict[str, Any]


def command(engine: str, births: Path | int, scratch: Path) -> list[str | Path]:
    """What an engine runs to turn a file, or so many synthetic births, into columns below `scratch/out`."""
    out = scratch / "out"
    if engine != "ours":
        python = Path(sys.executable) if engine == "pandas" else python_with("polars", POLARS)
        return [python, ROOT / f"benchmarks/peers/prepare_{engine.partition('_')[0]}.py", str(births), out]
    source: dict[str, str | int] = {
        "babyweight.prepare.source.kind": "csv",
        "babyweight.prepare.source.path": str(births),
    }
    if isinstance(births, int):
        source = {"babyweight.prepare.source.kind": "synthetic", "babyweight.prepare.source.rows": births}
    params = override(yaml.safe_load((ROOT / "params.yaml").read_text()), source)
    (scratch / "params.yaml").write_text(yaml.safe_dump(params))
    outputs: list[str | Path] = ["data/raw/babyweight", out, scratch / "sample.csv", scratch / "prepare.json"]
    return [sys.executable, "-m", "stages.babyweight.prepare", *outputs, "--params", scratch / "params.yaml"]


def count(engine: str, scratch: Path) -> int:
    """How many births an engine says that it kept."""
    if engine == "ours":
        return int(json.loads((scratch / "prepare.json").read_text())["rows"]["kept"])
    return int((scratch / "out/count").read_text())


def measure(engine: str, births: Path | int, number: int) -> Row:
    """Run an engine once: wall clock and processor time, and the most memory that was resident."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        scratch = Path(folder)
        line = list(map(str, command(engine, births, scratch)))
        began = time.perf_counter()
        process = subprocess.Popen(line, cwd=ROOT, env=os.environ | (BUDGET if engine == "polars_budget" else {}))
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"error: {engine}: ended with {process.returncode}")
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
        cpu = usage.ru_utime + usage.ru_stime
        values = {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak}
        rounded = {name: significant(value, 3) for name, value in values.items()}
        source = "synthetic" if isinstance(births, int) else "csv"
        return {"engine": engine, "source": source, "round": number, **rounded, "births": count(engine, scratch)}


def table(rows: list[Row], births: int, size: int) -> str:
    """The medians as Markdown."""
    lines = [
        f"# Preparing {births:,} births from a CSV file of {size / 1e9:.2f} GB",
        "",
        f"{os.cpu_count()} cores, Python {platform.python_version()}, pandas {metadata.version('pandas')}, "
        f"Arrow {metadata.version('pyarrow')}, {POLARS.replace('==', ' ')}. Medians (ranges) of "
        f"{len(rows) // len(ENGINES)} rounds; each run a fresh process.",
        "",
        "| engine | seconds | processor seconds | peak memory, MB |",
        "| --- | ---: | ---: | ---: |",
    ]
    for engine, label in ENGINES.items():
        cells = []
        for name in ("wall_s", "cpu_s", "peak_mb"):
            values = [row[name] for row in rows if row["engine"] == engine]
            cells.append(f"{statistics.median(values):g} ({min(values):g}-{max(values):g})")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def growth_table(rows: list[Row]) -> str:
    """How time and memory grow, as Markdown."""
    lines = [
        "",
        "# Preparing ever more synthetic births",
        "",
        "Drawn, encoded and written in one process, with no file in between; one run each.",
        "",
        "| births | seconds | processor seconds | of a million births | peak memory, MB |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        each = significant(row["cpu_s"] / row["births"] * 1e6, 3)
        lines.append(f"| {row['births']:,} | {row['wall_s']:g} | {row['cpu_s']:g} | {each:g} | {row['peak_mb']:g} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw the births, run the engines in turns, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--growth",
        type=int,
        nargs="*",
        default=[1_000_000, 10_000_000, 100_000_000],
        help="numbers of synthetic births to prepare; none to skip them",
    )
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()

    FOLDER.mkdir(exist_ok=True)
    births = FOLDER / f"births-{args.rows}.csv"
    if not births.exists():
        draw = [sys.executable, "-m", "stages.babyweight.source.synthetic", str(args.rows), str(births)]
        subprocess.run(draw, cwd=ROOT, check=True)
    python_with("polars", POLARS)  # so that its making is not timed
    rows = [measure(engine, births, number) for number in range(args.rounds) for engine in ENGINES]
    if len({row["births"] for row in rows}) > 1:
        raise SystemExit("error: the engines do not keep the same number of births")
    growth = [measure("ours", number_of_births, 0) for number_of_births in args.growth]
    write_table(args.results / "scale.csv", rows + growth, COLUMNS)
    text = table(rows, args.rows, births.stat().st_size)
    write_text(args.results / "scale.md", text + (growth_table(growth) if growth else ""))


if __name__ == "__main__":
    main()
