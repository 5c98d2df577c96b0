"""Run the committed pipeline from nothing in a scratch clone and compare what it makes with the committed `dvc.lock`.

Exit code 1 if an output's bytes differ. With `--tolerance`, for processors and systems that round differently,
metrics are compared in place of bytes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
METRICS = ("train.json", "evaluate.json")


def outputs(lock: Path) -> dict[str, str]:
    """MD5 of every output by `stage: path`."""
    stages = yaml.safe_load(lock.read_text())["stages"]
    return {f"{name}: {out['path']}": out["md5"] for name, stage in stages.items() for out in stage.get("outs", [])}


def numbers(values: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number below a JSON value, with its path."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from numbers(value, f"{path}.{key}")
    elif isinstance(values, int | float):
        yield path, float(values)


def metrics(root: Path) -> dict[str, float]:
    """Every metric below `results`, by file and key."""
    files = sorted(path for name in METRICS for path in (root / "results").rglob(name))
    return {
        f"{file.relative_to(root).as_posix()}{key}": value
        for file in files
        for key, value in numbers(json.loads(file.read_text()))
    }


def run_from_nothing(clone: Path) -> None:
    """Clone the committed state and run its pipeline without any cache."""
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True)
    subprocess.run(["dvc", "repro", "--force", "--no-run-cache"], cwd=clone, check=True)


def compare(expected: dict[str, Any], found: dict[str, Any], tolerance: float) -> list[tuple[str, str]]:
    """What agrees and what not, a row for each name: numbers within a share of the value, the rest exactly."""

    def verdict(name: str) -> str:
        if name not in found or name not in expected:
            return "missing" if name not in found else "not committed"
        a, b = expected[name], found[name]
        if a == b:
            return "same"
        near = isinstance(a, float) and abs(a - b) <= tolerance * max(abs(a), abs(b))
        return f"{'near' if near else 'DIFFERENT'}: {a} and {b}"

    return [(name, verdict(name)) for name in sorted(expected | found)]


def main() -> None:
    """Print the table; exit with code 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tolerance", type=float, help="compare metrics within this share, not bytes")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        committed = subprocess.run(
            ["git", "show", "HEAD:dvc.lock"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        (Path(folder) / "dvc.lock").write_text(committed)
        run_from_nothing(clone)
        if args.tolerance is None:
            rows = compare(outputs(Path(folder) / "dvc.lock"), outputs(clone / "dvc.lock"), 0)
        else:
            rows = compare(metrics(ROOT), metrics(clone), args.tolerance)
    width = max(len(name) for name, _ in rows)
    for name, verdict in rows:
        print(f"{name:<{width}}  {verdict}")
    agreeing = sum(verdict == "same" or verdict.startswith("near") for _, verdict in rows)
    print(f"{agreeing} of {len(rows)} agree")
    sys.exit(agreeing < len(rows))


if __name__ == "__main__":
    main()
