"""The results of a workload, as its stages wrote them."""

import csv
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import getitem
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.params import flatten
from stages.report.page import NO_VALUE, text
from stages.workloads import Metric, Workload, find, interval

Row = dict[str, Any]


_PRECISION = re.compile(r"\.(\d+)([f%])}")


def metric_text(metric: Metric, value: Any, noise: float | None = None) -> str:
    """A value of a metric as the report writes it, with its unit, and at least two digits of the noise, if given."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return text(value)
    if not noise or not math.isfinite(noise):
        return metric.form.format(value) if metric.form else text(value)

    def precise(found: re.Match[str]) -> str:
        digits = _digits(100 * noise if found[2] == "%" else noise)
        return f".{max(int(found[1]), digits)}{found[2]}}}"

    return _PRECISION.sub(precise, metric.form or "{:.0f}").format(value)


def _digits(noise: float) -> int:
    """Decimals that show two digits of the noise."""
    return min(12, max(0, 1 - math.floor(math.log10(noise))))


def interval_text(metric: Metric, interval: tuple[float, float], noise: float | None = None) -> str:
    """An interval as `1.013 to 1.036 lb`, with at least two digits of the noise, if given."""
    low, high = (metric_text(metric, end, noise) for end in interval)
    unit = metric.form.partition("}")[2]
    return f"{low.removesuffix(unit)} to {high}"


def without_interval(metric: Metric) -> str:
    """What stands in place of an interval: a dash, and why there is none if that is known."""
    return f"{NO_VALUE} ({metric.no_interval})" if metric.no_interval else NO_VALUE


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

    def interval(self, key: str) -> tuple[float, float] | None:
        """The interval of a metric; None if it has none."""
        return interval(dict(flatten(self.metrics)), key)

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
