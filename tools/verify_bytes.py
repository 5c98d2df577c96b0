"""Run the committed pipeline from nothing in a scratch clone, and compare what it makes with the committed `dvc.lock`.

Says which processor made the committed outputs and which one this is, lists every output whose bytes differ, and how
far the metrics are apart. Exit code 1 if bytes differ; with `--tolerance`, if a metric is further apart than that.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools import processor

ROOT = Path(__file__).parents[1]


def committed(name: str) -> str | None:
    """The text of a file at HEAD; None if it is not there."""
    done = subprocess.run(["git", "show", f"HEAD:{name}"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def run_from_nothing(clone: Path) -> None:
    """Clone the committed state and run its pipeline without any cache."""
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True)
    # DVC's output goes to standard error, so that the comparison stands alone on standard output.
    subprocess.run(["dvc", "repro", "--force", "--no-run-cache"], cwd=clone, stdout=sys.stderr, check=True)


def metric_changes(clone: Path) -> dict[str, Any]:
    """Old and new value of each metric that differs from HEAD, by file and key, as DVC compares them."""
    command = ["dvc", "metrics", "diff", "HEAD", "--json"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=True)
    changes = json.loads(done.stdout or "{}")
    return {f"{file} {key}": change for file, keys in changes.items() for key, change in keys.items()}


def difference(old: Any, new: Any) -> float:
    """How far two values are apart, as a fraction of the larger; infinite if they are not both numbers."""
    if not all(isinstance(value, int | float) for value in (old, new)):
        return float("inf")
    return float(abs(old - new) / max(abs(old), abs(new))) if old != new else 0.0


def report(before: dict[str, str], after: dict[str, str], metrics: dict[str, Any]) -> Iterator[str]:
    """The comparison, a line at a time.

    Args:
        before: the committed outputs' digests.
        after: the digests of the outputs made here.
        metrics: what `metric_changes` returns.
    """
    names = sorted(before | after)
    different = [name for name in names if before.get(name) != after.get(name)]
    if not different:
        yield f"All {len(names)} outputs are the same to the byte: this machine makes what is committed."
        return
    yield f"{len(names) - len(different)} of {len(names)} outputs are the same to the byte. These differ:"
    for name in different:
        reason = "" if name in before and name in after else "  (not made here)" if name in before else "  (new)"
        yield f"  {name}{reason}"
    if not metrics:
        yield "No metric differs."
        return
    yield "Metrics that differ, committed and here:"
    width = max(map(len, metrics))
    for name, change in metrics.items():
        old, new = change.get("old"), change.get("new")
        yield f"  {name:<{width}}  {old} and {new}: {100 * difference(old, new):.2g} % apart"


def main() -> None:
    """Print the comparison; exit with code 1 if the machines disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tolerance", type=float, help="accept other bytes if metrics are within this fraction")
    args = parser.parse_args()

    lock = committed("dvc.lock")
    if lock is None:
        sys.exit("error: dvc.lock: not committed, so there is nothing to compare with")
    author = processor.writer(lock, committed(processor.RECORD.as_posix()))
    unknown = f"an unknown processor: {processor.RECORD} is missing or of other outputs"
    print(f"dvc.lock was written on  {author or unknown}")
    print(f"this machine has         {processor.describe()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        run_from_nothing(clone)
        before, after = processor.outputs(lock), processor.outputs((clone / "dvc.lock").read_text())
        metrics = metric_changes(clone)
    print(*report(before, after, metrics), sep=os.linesep)
    if args.tolerance is None:
        sys.exit(before != after)
    sys.exit(any(difference(c.get("old"), c.get("new")) > args.tolerance for c in metrics.values()))


if __name__ == "__main__":
    main()
