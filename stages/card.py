"""Write a model's card: what it predicts, from what it was made, how well, for what it is and for what it is not.

Markdown with front matter as Hugging Face's hub reads it. Its numbers are those of the evaluation.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stages.core.errors import run
from stages.core.files import read_json, write_text
from stages.core.params import flatten
from stages.report import groups
from stages.report.page import NO_VALUE, text
from stages.report.run import Run, interval_text, metric_text, without_interval
from stages.workloads import Metric, Workload, is_end

LONG = 16  # numbers of an input that an example spells out
DETAILS = {"distributions", "numbers", "with_key"}
"""Parts of a preparation's record that the report draws, or that are its own affair: too much for a card."""
HUB_METRICS = {"r2": "r_squared"}
"""What the hub calls a metric that has another name here."""


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def bullets(items: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {item}" for item in items)


def of_source(texts: Mapping[str, str], source: str) -> str:
    """The text for the source of the data, or the one for any source; empty if there is none."""
    return texts.get(source, texts.get("", ""))


def measured(run: Run) -> list[Metric]:
    """The metrics of a card: those that the workload declares, and all other measures of quality."""
    declared = list(run.workload.metrics)
    named = {metric.key for metric in declared}
    others = [
        run.workload.metric(key)
        for key, value in flatten(run.metrics)
        if key not in named and not is_end(key) and run.workload.direction(key) and value is not None
    ]
    known = dict(flatten(run.metrics))
    return [metric for metric in declared if metric.key in known] + others


def front_matter(run: Run, source: str) -> str:
    """The metadata, in the hub's form."""
    workload, values = run.workload, dict(flatten(run.metrics))
    numbers = [
        {"type": HUB_METRICS.get(m.key, m.key), "value": values[m.key], "name": m.label}
        for m in measured(run)
        if isinstance(values[m.key], int | float) and not isinstance(values[m.key], bool)
    ]
    dataset = of_source(workload.card.datasets, source)
    data = {"type": dataset or workload.name, "name": dataset or workload.title, "split": "test"}
    result = {"task": {"type": workload.card.task, "name": workload.title}, "dataset": data, "metrics": numbers}
    found = {
        "library_name": "tensorflow",
        "pipeline_tag": workload.card.task,
        "tags": ["saved-model", *workload.card.tags],
        "datasets": [dataset] if dataset else [],
        "metrics": [number["type"] for number in numbers],
        "model-index": [{"name": workload.name, "results": [result]}],
    }
    if workload.card.task == "other":
        del found["pipeline_tag"]
    return f"---\n{yaml.safe_dump(found, sort_keys=False, allow_unicode=True)}---"


def tensors(workload: Workload, signature: Mapping[str, Any]) -> str:
    """What goes in and what comes out."""
    rows = [
        (f"`{name}`", kind, tensor["dtype"], str(tensor["shape"]), workload.card.units.get(name, ""))
        for kind in ("input", "output")
        for name, tensor in signature[f"{kind}s"].items()
    ]
    return table(("tensor", "kind", "type", "shape, -1 is any", "what, and its unit"), rows)


def example(name: str, signature: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Code that loads the model and asks it for the first instance of its request."""
    (instance,) = request["instances"]
    inputs = signature["inputs"]
    given = instance if isinstance(instance, dict) and set(instance) == set(inputs) else dict.fromkeys(inputs, instance)

    def tensor(key: str) -> str:
        shape = [1, *inputs[key]["shape"][1:]]
        if len(json.dumps(given[key])) > 8 * LONG:
            return f"tf.zeros({shape}, tf.{inputs[key]['dtype']})"  # in place of values that fill pages
        return f"tf.constant([{given[key]!r}], tf.{inputs[key]['dtype']})"

    arguments = "".join(f"    {key}={tensor(key)},\n" for key in inputs)
    return (
        f'```python\nimport tensorflow as tf\n\nmodel = tf.saved_model.load("models/{name}")\n'
        f'print(model.signatures["serving_default"](\n{arguments}))\n```'
    )


def measured_under(run: Run) -> Iterator[tuple[str, str]]:
    """The conditions of the evaluation, such as the environment, with their values; none that is not set."""
    parameters = dict(flatten(run.provenance.get("parameters", {}).get(run.name, {})))
    for key, title in run.workload.conditions.items():
        own = {k.removeprefix(f"{key}."): value for k, value in parameters.items() if f"{k}.".startswith(f"{key}.")}
        told = [text(value) if name == key else f"{name} {text(value)}" for name, value in own.items() if value]
        if told:
            yield title, ", ".join(told)


def evaluation(run: Run) -> Iterator[str]:
    """The metrics with intervals, and the groups."""
    rows = []
    for metric in measured(run):
        interval = run.interval(metric.key)
        ends = interval_text(metric, interval) if interval else without_interval(metric)
        rows.append((metric.label, metric_text(metric, run.metric(metric.key)), ends))
    size = run.workload.sample_size
    count = f" {run.metric(size):,} {size.replace('_', ' ')}" if size else " held-out data"
    conditions = "".join(f"; {title}: {value}" for title, value in measured_under(run))
    yield (
        f"On{count}{conditions}. An interval covers the true value in 95 of 100 such tests; the chance of training is "
        "not in it."
    )
    yield table(("metric", "value", "95% interval"), rows)
    if found := groups.read(run):
        declared, metric = run.workload.groups, groups.metric(run)
        judged = groups.judged(run, found)
        assert declared
        yield f"### By group\n\n{groups.verdicts(run, judged)} The worst come first."
        lines = [
            (
                group.group, group.value, group.instances, metric_text(metric, group.estimate.value),
                interval_text(metric, (group.estimate.low, group.estimate.high))
                if group.estimate.low is not None and group.estimate.high is not None else NO_VALUE,
            )
            for group, _ in judged
        ]  # fmt: skip
        yield table(("group", "value", declared.instances, metric.label, "95% interval"), lines)


def made_from(made: Mapping[str, Any]) -> str:
    """Counts of the preparation or the training, as short facts."""
    short = {name: value for name, value in made.items() if name not in DETAILS}
    counts = {key: value for key, value in flatten(short) if isinstance(value, int | float) and value}
    return bullets(f"{key.replace('_', ' ').replace('.', ', ')}: {text(value)}" for key, value in counts.items())


def card(run: Run, made: Mapping[str, Any]) -> str:
    """The card.

    Args:
        run: the results of a workload.
        made: what its preparation counted, or its training, if it has no data.
    """
    workload, about = run.workload, run.workload.card
    described, predictions, provenance = run.json("signature.json"), run.json("predictions.json"), run.provenance
    signature = described["signatures"]["serving_default"]
    source = str(made.get("source", ""))
    sections = {
        "What it predicts, and from what": [tensors(workload, signature)],
        "Data": [
            of_source(about.data, source),
            "" if workload.has_data else "Its training:",
            made_from(made),
        ],
        "Evaluation": list(evaluation(run)),
        "Load it, and ask it": [example(workload.name, signature, described["example_request"])],
        "What it is for": [bullets(about.uses)],
        "What it must not be used for": [bullets(about.misuses)],
        "Limits": [bullets([*about.limits, *groups.limits(run)])],
        "Provenance": [
            table(
                ("what", "SHA-256 or version"),
                [
                    ("model", f"`{predictions['model_digest']}`"),
                    *((path, f"`{digest}`") for path, digest in provenance["inputs"].items()),
                    *provenance["packages"].items(),
                ],
            )
        ],
    }
    told = [
        "\n\n".join([f"## {title}", *filter(None, parts)])
        for title, parts in sections.items()
        if any(filter(None, parts))
    ]
    return "\n\n".join([front_matter(run, source), f"# {workload.title}", workload.lead, *told]) + "\n"


def main() -> None:
    """Write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload")
    parser.add_argument("made", type=Path, help="JSON file of what its preparation counted, or its training")
    parser.add_argument("card", type=Path, help="file to write")
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the project: results, models")
    args = parser.parse_args()
    write_text(args.card, card(Run(args.root, args.workload, {}), read_json(args.made)))


if __name__ == "__main__":
    run(main)
