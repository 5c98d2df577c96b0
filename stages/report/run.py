"""The results of a workload, as its stages wrote them."""

import csv
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import getitem
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.report.page import text
from stages.workloads import Metric, Workload, find

Row = dict[str, Any]


def metric_text(metric: Metric, value: Any) -> str:
    """A value of a metric as the report writes it."""
    return metric.form.format(value) if metric.form and value is not None else text(value)


@dataclass(frozen=True)
class Story:
    """What the report says about a workload: lines of its card, such as baselines' values, the card's picture, and the
    body of its section.
    """

    beside: tuple[str, ...]
    picture: Markup | None
    body: Markup


@dataclass(frozen=True)
class Run:
    """The outputs of one workload's stages, in the project's folder, and its section of `params.yaml`."""

    root: Path
    name: str
    parameters: dict[str, Any]

    @cached_property
    def workload(self) -> Workload:
        """What the workload says about itself."""
        return find(self.name)

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

        Raises:
            InputError: if it is missing, or has no rows and may not be `empty`.
        """
        path = self.folder / name
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = [{key: _value(field) for key, field in row.items()} for row in csv.DictReader(file, restval="")]
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        if not rows and not empty:
            raise InputError(f"{path}: expected at least one row")
        return rows

    @cached_property
    def metrics(self) -> Any:
        """What `evaluate` measured."""
        return self.json("evaluate.json")

    @cached_property
    def provenance(self) -> Any:
        """What the model was made from."""
        return read_json(self.root / f"models/{self.name}/assets.extra/provenance.json")

    def metric(self, key: str) -> Any:
        """A metric by its dotted key.

        Raises:
            InputError: if there is none.
        """
        try:
            return reduce(getitem, key.split("."), self.metrics)
        except (KeyError, TypeError):
            raise InputError(f"{self.folder / 'evaluate.json'}: expected the metric {key}") from None


def _value(field: str) -> Any:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(field)
    return field or None
