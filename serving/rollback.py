"""Withdraw a model's newest version, so that the one before is served again."""

import argparse
from pathlib import Path

from serving import published
from stages.core.errors import InputError, run


def rollback(folder: Path) -> tuple[int, int]:
    """Withdraw the newest version in a model's folder.

    Returns:
        The number withdrawn and the number that is the newest now.

    Raises:
        InputError: if there is no version to go back to, or a label stands for the newest.
    """
    with published.locked(folder):
        numbers = list(published.versions(folder))
        if len(numbers) < 2:
            raise InputError(f"{folder}: expected an older version to go back to, found {len(numbers)} in all")
        *_, before, newest = numbers
        for label, number in published.labels(folder).items():
            if number == newest:
                raise InputError(f"{folder}: the label {label} stands for version {newest}; move it first")
        published.withdraw(folder, newest)
    return newest, before


def main() -> None:
    """Roll a model back by one version."""
    parser = argparse.ArgumentParser(prog="python -m serving.rollback", description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("--published", type=published.local_folder, default=published.PUBLISHED)
    args = parser.parse_args()
    withdrawn, newest = rollback(args.published / published.check_name(args.workload))
    print(f"{args.workload}: version {withdrawn} withdrawn, version {newest} is the newest")


if __name__ == "__main__":
    run(main)
