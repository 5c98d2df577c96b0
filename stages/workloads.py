"""The workloads: which there are, and what each says about itself.

A workload is a folder of `stages` with a `workload.py`. No stage that computes imports that module, so that a new title
or unit retrains nothing.
"""

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from itertools import chain
from typing import Any

from stages.core.params import workload_names

LOWER = {"rmse", "mae", "loss", "error"}
HIGHER = {"accuracy", "recall", "r2", "return", "solved"}


@dataclass(frozen=True)
class Metric:
    """A metric worth a line: its dotted key in `evaluate.json`, what a person calls it, and how a value is written.

    Args:
        key: in a workload's `details` also a pattern, whose `*` stands for the last word.
        label: there it may have `{}` for that word.
        form: of a value, with its unit.
        no_interval: why it has no interval, if it cannot have one.
    """

    key: str
    label: str
    form: str = ""
    no_interval: str = ""


@dataclass(frozen=True)
class Instances:
    """A table with a row for each held-out instance, by which two models are compared on the same ones.

    Args:
        table: its file among the results.
        same: columns by which an instance is known: what was asked and what is right, not what a model says.
        measures: `module:function`, which takes the table's columns and the workload's parameters by dotted key, and
            returns a `stages.evaluation.judge.Measure` for each metric's key.
        same_cells: likewise, if single instances may not be told and the table has cells of several.
        parameters: keys of `params.yaml` that must be the same for rows to be the same instances.
    """

    table: str
    same: tuple[str, ...]
    measures: str
    same_cells: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Groups:
    """A table of figures by group: columns `group`, `value`, that of the count, that of the figure, `low` and `high`.

    Args:
        figure: the metric that the table has by group; a share if a higher one is better, else a root mean square.
        instances: the column of the count.
        table: its file among the results.
    """

    figure: str
    instances: str
    table: str = "evaluation/groups.csv"


@dataclass(frozen=True)
class Card:
    """What a model's card says that no result tells. All of it may be left out.

    Args:
        task: what kind of task it is, in the words of Hugging Face's hub, such as `tabular-regression`.
        tags: words to find the model by.
        datasets: names of the data sets that it was trained on, by the source that was read; without sources, by "".
        data: what the data are and how they were made, likewise.
        units: of inputs and outputs, and what they are, by name.
        uses: what the model is for, a sentence each.
        misuses: what it must not be used for, and why.
        limits: what it is known not to do well.
    """

    task: str = "other"
    tags: tuple[str, ...] = ()
    datasets: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    uses: tuple[str, ...] = ()
    misuses: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Workload:
    """What a workload says about itself.

    Args:
        name: its folder's name.
        title: what a person calls it.
        lead: what it predicts, in a sentence.
        metrics: the metrics worth a line; the first is the headline, by which the workload is judged.
        details: other metrics that have a name and a unit, for cards and comparisons.
        higher_is_better: the headline's direction; None: by its name, as that of all other metrics.
        unit: of the headline; empty for shares.
        sample_size: key in `evaluate.json` of the number of instances that were measured.
        has_data: whether it has prepared data, in `data/<name>`.
        conditions: parameters that decide what is measured, and what a person calls them: results under different ones
            cannot be compared.
        comparison: `module:function`, which compares two models' predictions. It takes both models, as a pair of
            `Predictor`, and the later state's prepared data (its model's folder, if there are none), and returns
            `stages.report.predictions.PredictionChanges`.
        instances: the table of held-out instances by which metrics are judged.
        metric_parameters: patterns of metrics' keys, and the workload's parameters that define these metrics: under
            other values they are other metrics.
        groups: the table of figures by group.
        card: what the model's card says that no result tells.
        curve: column of `curve.csv` that is drawn over seeds; None: `validation_<headline>`.
    """

    name: str
    title: str
    lead: str = ""
    metrics: tuple[Metric, ...] = ()
    details: tuple[Metric, ...] = ()
    higher_is_better: bool | None = None
    unit: str = ""
    sample_size: str | None = None
    has_data: bool = True
    conditions: Mapping[str, str] = field(default_factory=dict)
    comparison: str | None = None
    instances: Instances | None = None
    metric_parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: Groups | None = None
    card: Card = field(default_factory=Card)
    curve: str | None = None

    @property
    def headline(self) -> str | None:
        """The key of the metric that the workload is judged by; None if it names none."""
        return self.metrics[0].key if self.metrics else None

    def metric(self, key: str) -> Metric:
        """How a metric is named and written; by its key alone if the workload does not say."""
        for metric in (*self.metrics, *self.details):
            if metric.key == key:
                return metric
            if fnmatch(key, metric.key):
                return replace(metric, key=key, label=metric.label.format(key.rpartition(".")[2]))
        return Metric(key, key.replace("_", " "))

    def parameters_of(self, key: str) -> list[str]:
        """The parameters that define a metric."""
        found = (names for pattern, names in self.metric_parameters.items() if fnmatch(key, pattern))
        return list(chain.from_iterable(found))

    def direction(self, key: str) -> int:
        """Which way a metric is better: 1 higher, -1 lower, 0 it is no measure of quality.

        All but the headline are known by the words of their dotted key. The figures of baselines and the spread of
        returns are facts to compare with, and the ends of intervals belong to their figures: no results to improve.
        """
        if key == self.headline and self.higher_is_better is not None:
            return 1 if self.higher_is_better else -1
        if "baselines" in key or "std_" in key or is_end(key):
            return 0
        words = set(re.split(r"[._]", key))
        return -1 if words & LOWER else 1 if words & HIGHER else 0

    def better(self, key: str, before: Any, after: Any) -> bool | None:
        """Whether a metric became better (True) or worse (False); None if it is equal or no measure of quality."""
        if before == after or not all(isinstance(value, int | float) for value in (before, after)):
            return None
        return (after > before) == (self.direction(key) > 0) if self.direction(key) else None


def is_end(key: str) -> bool:
    """Whether a metric is an end of another one's interval: `rmse_low`, `recall_high.7`."""
    return any(word.endswith(("_low", "_high")) for word in key.split("."))


def interval(metrics: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """The interval of a metric among flat metrics; None if there is none."""
    first, *rest = key.rsplit(".", 1)
    for low, high in (
        (f"{key}_low", f"{key}_high"),
        *((f"{first}_low.{last}", f"{first}_high.{last}") for last in rest),
    ):
        if metrics.get(low) is not None and metrics.get(high) is not None:
            return float(metrics[low]), float(metrics[high])
    return None


def find(name: str) -> Workload:
    """What a workload says about itself; the name alone if the code knows none of this name, as for an old commit's."""
    if name in workload_names():
        found: Workload = importlib.import_module(f"stages.{name}.workload").WORKLOAD
        return found
    return Workload(name, name.replace("_", " ").capitalize())
