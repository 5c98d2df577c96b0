"""Accept the current results: copy every workload's metrics into the baseline that the report compares with."""

import argparse
from pathlib import Path

from stages.core.errors import InputError, run
from stages.core.files import read_json, write_json


def main() -> None:
    """Write the baseline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the results")
    args = parser.parse_args()

    files = sorted(args.results.glob("*/evaluate.json"))
    if not files:
        raise InputError(f"{args.results}: expected <workload>/evaluate.json")
    write_json(args.results / "baseline.json", {path.parent.name: read_json(path) for path in files})


if __name__ == "__main__":
    run(main)
