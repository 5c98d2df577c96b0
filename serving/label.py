"""Let a label stand for a model's version, as in `/v1/models/babyweight/labels/stable:predict`."""

import argparse
from pathlib import Path

from serving import published
from stages.core.errors import InputError, run


def label(folder: Path, name: str, number: int | None) -> None:
    """Set or move a label; `None` removes it.

    Args:
        folder: where the model's versions lie.
        name: the label.
        number: the version that it stands for.

    Raises:
        InputError: if there is no such model, version or label.
    """
    published.check_name(name, "label")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such published model")
    with published.locked(folder):
        numbers, existing = published.labels(folder), published.versions(folder)
        if number is None:
            if numbers.pop(name, None) is None:
                raise InputError(f"{folder}: no label {name}")
        elif number not in existing:
            raise InputError(f"{folder}: no version {number}; published: {', '.join(map(str, existing)) or 'none'}")
        else:
            numbers[name] = number
        published.write_labels(folder, numbers)


def main() -> None:
    """Set, move or remove a label."""
    parser = argparse.ArgumentParser(prog="python -m serving.label", description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("label")
    parser.add_argument("version", type=int, nargs="?", help="without it, the label is removed")
    parser.add_argument("--published", type=Path, default=published.PUBLISHED)
    args = parser.parse_args()
    label(args.published / published.check_name(args.workload), args.label, args.version)
    print(f"{args.workload}: {args.label} " + (f"is version {args.version}" if args.version else "removed"))


if __name__ == "__main__":
    run(main)
