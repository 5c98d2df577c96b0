"""Publish exported models: copy each under its next version, if its prediction check passed on these bytes.

A label stands for a version in a path, as in `/v1/models/babyweight/labels/stable:predict`.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from serving import published
from serving.settings import add_settings, read_settings
from stages.core import files
from stages.core.errors import InputError, run

CARD = Path("assets.extra/README.md")
ADDED = (published.ROWS, CARD)
"""Files of a version that the model does not have."""


def publish(model: Path, predictions: Path, folder: Path, keep: int, card: Path | None = None) -> tuple[int, bool]:
    """Publish a SavedModel as a model's next version, then remove versions older than the newest `keep`.

    Versions with a label stay. The same bytes as the newest version's make no new one, but it gets the present card.
    A version also holds what the check found about its rows, by which a server joins requests.

    Args:
        model: the SavedModel, its provenance included.
        predictions: record of its prediction check.
        folder: where the model's versions lie; its name is the model's.
        keep: versions kept.
        card: the model's card, which the version holds as `assets.extra/README.md`; None or a missing file: no card.

    Returns:
        The newest version's number, and whether it is new.

    Raises:
        InputError: if the model is missing, or its check has not passed on these very bytes.
    """
    if not model.is_dir():
        raise InputError(f"{model}: no such exported model; run `dvc repro`")
    record = files.read_json(predictions)
    if not isinstance(record, dict) or record.get("checks_passed") is not True:
        raise InputError(f"{predictions}: expected a prediction check that passed; run `dvc repro`")
    digest = record.get("model_digest")
    folder.mkdir(parents=True, exist_ok=True)
    with published.locked(folder):
        existing = published.versions(folder)
        rows = record.get("rows", {})
        if existing and digest == files.digest(model) and _is(existing[max(existing)], digest, rows):
            _add_card(existing[max(existing)], card)
            return max(existing), False
        with files.whole_folder(folder / ".incoming") as incoming:
            shutil.copytree(model, incoming, dirs_exist_ok=True)
            if files.digest(incoming) != digest:
                raise InputError(f"{model}: expected the bytes that {predictions} checked; run `dvc repro`")
            files.write_json(incoming / published.ROWS, rows)
            _add_card(incoming, card)
        number = published.next_number(folder)
        (folder / ".incoming").rename(folder / str(number))
        files.fsync(folder)
        labelled = published.labels(folder).values()
        for old in list(published.versions(folder))[:-keep]:
            if old not in labelled:
                published.withdraw(folder, old)
    return number, True


def _is(version: Path, digest: Any, rows: Any) -> bool:
    """Whether a published version is the model of a digest, with the same finding about its rows."""
    found = version / published.ROWS
    same_rows = found.exists() and files.read_json(found) == rows
    return same_rows and _digest(version) == digest


def _digest(version: Path) -> str:
    """The digest of the model in a version: `files.digest` without what was added to it."""
    names = (path.relative_to(version) for path in sorted(version.rglob("*")) if path.is_file())
    entries = {name.as_posix(): files.digest(version / name) for name in names if name not in map(Path, ADDED)}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def _add_card(version: Path, card: Path | None) -> None:
    """Put a model's card into a version, if there is one and it is not there yet."""
    if card and card.is_file():
        text = card.read_text(encoding="utf-8")
        if not (version / CARD).is_file() or (version / CARD).read_text(encoding="utf-8") != text:
            files.write_text(version / CARD, text)


def publish_all(names: list[str], models: Path, results: Path, folder: Path, keep: int) -> None:
    """Publish models by name (all exported ones if none is named) and say what became of each.

    Raises:
        InputError: as `publish`, or if nothing was exported.
    """
    found = names or published.models(models)
    if not found:
        raise InputError(f"{models}: no exported model; run `dvc repro`")
    for name in map(published.check_name, found):
        number, new = publish(
            models / name, results / name / "predictions.json", folder / name, keep, results / name / "card.md"
        )
        print(f"{name}: version {number}" + ("" if new else ", unchanged"))


def set_label(folder: Path, name: str, number: int | None) -> None:
    """Set or move the label of a model; `None` in place of a version's number removes it.

    Raises:
        InputError: if there is no such model, version or label.
    """
    published.check_name(name, "label")
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


def change_label(names: list[str], folder: Path, text: str) -> None:
    """Set, move or remove the label of one model, as the command line says it, and say so.

    Raises:
        InputError: as `set_label`, or if the text or the number of models is wrong.
    """
    label, equals, version = text.partition("=")
    if len(names) != 1 or not equals or not (version.isdecimal() or not version):
        raise InputError(f"--label {text}: expected one model and LABEL=VERSION, or LABEL= to remove it")
    set_label(folder / published.check_name(names[0]), label, int(version) if version else None)
    print(f"{names[0]}: {label} " + (f"is version {int(version)}" if version else "removed"))


def main() -> None:
    """Publish the models named, or all, or change a label."""
    parser = argparse.ArgumentParser(prog="python -m serving.publish", description=__doc__)
    parser.add_argument("workload", nargs="*", help="models to publish; all if none is named")
    parser.add_argument(
        "--label", metavar="LABEL=VERSION", help="publish nothing; let a label stand for a version (LABEL= removes it)"
    )
    parser.add_argument("--models", type=Path, default=Path("models"), help="exported models")
    parser.add_argument("--results", type=Path, default=Path("results"), help="their prediction checks")
    parser.add_argument("--published", type=published.local_folder, default=published.PUBLISHED)
    add_settings(parser)
    args = parser.parse_args()
    if args.label is None:
        publish_all(args.workload, args.models, args.results, args.published, read_settings(args.settings).keep)
    else:
        change_label(args.workload, args.published, args.label)


if __name__ == "__main__":
    run(main)
