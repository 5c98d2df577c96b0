"""The results of a workload, as its stages wrote them."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stages.core.errors import InputError
from stages.core.files import read_json

Row = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """A metric worth a line: its dotted key in `evaluate.json`, what a person calls it, and how it is written."""

    key: str
    label: str
    form: str = "{}"

    def text(self, value: Any) -> str:
        """A value of it in words."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        return self.form.format(value)


@dataclass(frozen=True)
class Story:
    """What the report says about a workload.

    Args:
        title: what was learned, such as `Digits`.
        lead: one sentence about it.
        beside: lines of the card, such as the baselines' values.
        picture: the card's picture.
        body: its section.
    """

    title: str
    lead: str
    beside: tuple[str, ...]
    picture: Markup | None
    body: Markup


@dataclass(frozen=True)
class Run:
    """The outputs of one workload's stages.

    Args:
        root: folder of the project.
        name: the workload.
        parameters: its section of `params.yaml`.
    """

    root: Path
    name: str
    parameters: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Its results."""
        return self.root / "results" / self.name

    @property
    def data(self) -> Path:
        """Its prepared data."""
        return self.root / "data" / self.name

    def json(self, name: str) -> Any:
        """A JSON file of the results.

        Raises:
            InputError: if it is missing or damaged.
        """
        return read_json(self.folder / name)

    def table(self, name: str, empty: bool = False) -> list[Row]:
        """The rows of a CSV file of the results; numbers are numbers, an empty field is None.

        Args:
            name: path in the folder of the results.
            empty: whether the table may have no rows.

        Raises:
            InputError: if it is missing or has no rows.
        """
        path = self.folder / name
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = [{key: _value(field) for key, field in row.items()} for row in csv.DictReader(file)]
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        if not rows and not empty:
            raise InputError(f"{path}: expected at least one row")
        return rows

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What `evaluate` measured."""
        values: dict[str, Any] = self.json("evaluate.json")
        return values

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What the model was made from."""
        values: dict[str, Any] = read_json(self.root / f"models/{self.name}/assets.extra/provenance.json")
        return values

    def metric(self, key: str) -> Any:
        """A metric by its dotted key.

        Raises:
            InputError: if there is none.
        """
        value: Any = self.metrics
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise InputError(f"{self.folder / 'evaluate.json'}: expected the metric {key}")
            value = value[part]
        return value


def _value(field: str | None) -> Any:
    if field is None or field == "":
        return None
    for kind in (int, float):
        try:
            return kind(field)
        except ValueError:
            continue
    return field
