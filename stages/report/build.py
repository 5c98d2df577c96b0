"""Put the results of all workloads on one page, and their headlines into a Markdown table.

A workload may tell its own story: `stages/<workload>/report.py` with `story(run) -> Story`. One without it gets a
card and a table of its metrics.
"""

import argparse
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from markupsafe import Markup

from stages.core.errors import run
from stages.core.files import read_json, whole_folder, write_text
from stages.core.params import flatten, load
from stages.evaluation.judge import judge
from stages.evaluation.seeds import Seeds, read
from stages.report import graph, groups
from stages.report import seeds as over_seeds
from stages.report.page import (
    Section,
    card,
    details,
    facts,
    grid,
    heading,
    join,
    page,
    paragraph,
    table,
    text,
    verdict,
)
from stages.report.run import Run, Story, interval_text, metric_text, without_interval
from stages.workloads import Metric, Workload, is_end

TIMES = (
    "How long each stage took, and its memory: <code>comparison/times.html</code>, which <code>make repro</code> "
    "writes."
)
"""Where times are: they differ from run to run, and this page does not."""


def evaluated(root: Path, parameters: dict[str, Any]) -> list[Run]:
    """The results of the workloads: those sections of `params.yaml` of which there are results."""
    runs = (Run(root, name, section) for name, section in parameters.items())
    return [run for run in runs if (run.folder / "evaluate.json").exists()]


def telling(workload: str) -> ModuleType | None:
    """The module that tells a workload's story, if it has one."""
    package = f"stages.{workload}"
    if importlib.util.find_spec(package) and importlib.util.find_spec(f"{package}.report"):
        return importlib.import_module(f"stages.{workload}.report")
    return None


def metrics(run: Run) -> tuple[Metric, ...]:
    """The metrics of a workload worth a line, the headline first: those of quality, unless it names its own."""
    keys = list(dict(flatten(run.metrics)))
    of_quality = [key for key in keys if run.workload.direction(key)]
    return run.workload.metrics or tuple(Metric(key, key.replace("_", " ")) for key in of_quality or keys)


def story(run: Run) -> Story:
    """The story of a workload; a table of all its metrics if it does not tell its own."""
    if module := telling(run.name):
        told: Story = module.story(run)
        return told
    rows = [
        (key.replace("_", " "), value, None if interval is None else f"{text(interval[0])} to {text(interval[1])}")
        for key, value in flatten(run.metrics)
        if not is_end(key)
        for interval in [run.interval(key)]
    ]
    return Story((), None, table(["metric", "value", "95% interval"], rows, "Metrics"))


def against_baseline(
    workload: Workload, metric: Metric, metrics: Any, baseline: Any, deviation: float | None = None
) -> Markup:
    """How the headline compares with the accepted results.

    Args:
        workload: what was measured.
        metric: the headline.
        metrics: those of now.
        baseline: those that were accepted.
        deviation: the headline's standard deviation over seeds, if known.
    """
    before, after = (dict(flatten(values)) for values in (baseline, metrics))
    if before.get(metric.key) is None:
        return verdict(None, "new: nothing was accepted before")
    found = judge(workload, metric.key, before, after, deviation)
    noise = found.noise or abs(after[metric.key] - before[metric.key])
    was = f"before: {metric_text(metric, before[metric.key], noise if found.word != 'same' else None)}"
    words = {
        "same": "as before",
        "better": f"better than {was}",
        "worse": f"worse than {was}",
        "noise": f"within seed noise of {was}",
        "chance": f"within chance of {was}",
        "other": f"not judged against {was}",
    }
    return verdict({"better": True, "worse": False}.get(found.word), words[found.word])


def chance_lines(run: Run, metric: Metric, seeds: Seeds | None) -> Iterator[str]:
    """What chance does to the headline: that of the test data, and that of training."""
    if interval := run.interval(metric.key):
        yield f"95% interval of the test data: {interval_text(metric, interval)}"
    if seeds and (deviation := seeds.deviation) is not None:
        spread = metric_text(metric, deviation, deviation) if deviation else metric_text(metric, 0.0)
        yield f"{len(seeds.values)} other seeds: {over_seeds.middle(run, seeds)}; standard deviation {spread}"


def result_card(run: Run, told: Story, baseline: dict[str, Any], measured: Mapping[str, Seeds] | None = None) -> Markup:
    """A workload's card."""
    headline, *_ = metrics(run)
    value, seeds = run.metric(headline.key), (measured or {}).get(run.name)
    deviation = seeds.deviation if seeds else None
    lines = [
        against_baseline(run.workload, headline, run.metrics, baseline.get(run.name, {}), deviation),
        *chance_lines(run, headline, seeds),
        *told.beside,
    ]
    return card(run.workload.title, metric_text(headline, value), headline.label, lines, f"#{run.name}", told.picture)


def pipeline_section(root: Path, parameters: str) -> Section:
    """The graph of the stages, and every parameter with its comment."""
    stages = graph.read(root / "docs" / "pipeline.md")
    body = join(
        graph.draw(stages, across=True),
        graph.draw(stages, across=False),
        paragraph(Markup(TIMES), "soft"),
        details("All parameters", Markup("<pre><code>{}</code></pre>").format(_commented(parameters))),
    )
    return Section("pipeline", "Pipeline", body)


def _commented(parameters: str) -> Markup:
    """YAML with its comments set apart."""
    lines = (line.partition("#") for line in parameters.splitlines())
    return join(*(Markup("{}<i>{}{}</i>").format(*line) if line[1] else line[0] for line in lines))


def model_panel(run: Run) -> Markup:
    """A model's signature, the check of its predictions, and what it was made from."""
    signature, predictions, made = run.json("signature.json"), run.json("predictions.json"), run.provenance
    (called,) = signature["signatures"].values()
    files, passed = signature["files"], predictions["checks_passed"]
    answers = f"{len(predictions['predictions'])} answers, equal and right" if passed else "answers are wrong"
    code = Markup("<code>{}</code>").format
    tensors = [
        (code(name), kind, tensor["dtype"], str(tensor["shape"]))
        for kind in ("input", "output")
        for name, tensor in called[f"{kind}s"].items()
    ]
    inputs, modules = ([(path, code(digest)) for path, digest in made[key].items()] for key in ("inputs", "code"))
    settings = {name.replace("_", " "): value for name, value in made["settings"].items()}
    return join(
        heading(run.workload.title),
        paragraph(
            Markup('<a href="../results/{0}/card.md">Card of the model</a>: what it is for, and what not').format(
                run.name
            )
        ),
        facts(
            {
                "weights": signature["variables"]["weights"],
                "size": f"{sum(file['bytes'] for file in files.values()) / 1000:,.0f} kB",
                "three loaders": verdict(passed, answers, signs="✓✗"),
            }
        ),
        table(["tensor", "kind", "type", "shape"], tensors, "Signature serving_default"),
        details(
            "Provenance and files",
            facts({"digest": code(predictions["model_digest"]), **settings, **made["packages"]}),
            table(["input", "SHA-256"], inputs, "Trained from") or paragraph("Trained without data.", "soft"),
            table(["file", "bytes"], [(code(name), file["bytes"]) for name, file in files.items()], "Files"),
            table(["file", "SHA-256"], modules, "Code"),
        ),
    )


def sections(
    pipeline: Section, stories: list[tuple[Run, Story]], baseline: dict[str, Any], measured: Mapping[str, Seeds]
) -> Iterator[Section]:
    """The parts of the page."""
    cards = join(*(result_card(r, s, baseline, measured) for r, s in stories))
    yield Section("results", "Results", Markup('<div class="cards">{}</div>').format(cards))
    yield pipeline
    for r, s in stories:
        lead = r.workload.lead
        parts = (s.body, groups.section(r), over_seeds.section(r, measured.get(r.name)))
        yield Section(r.name, r.workload.title, join(paragraph(lead, "soft") if lead else "", *parts))
    panels = (Markup('<div class="panel">{}</div>').format(model_panel(r)) for r, _ in stories)
    yield Section("models", "Models", grid(*panels))


def summary(runs: list[Run]) -> str:
    """The metrics as a Markdown table."""
    lines = ["| model | metric | held-out data | 95% interval |", "| --- | --- | ---: | --- |"]
    for r in runs:
        for m in metrics(r):
            interval = r.interval(m.key)
            ends = interval_text(m, interval) if interval else without_interval(m)
            lines.append(f"| {r.name} | {m.label} | {metric_text(m, r.metric(m.key))} | {ends} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="folder to write index.html and summary.md to")
    parser.add_argument(
        "--root", type=Path, default=Path(), help="folder of the project: dvc.yaml, results, models, data"
    )
    args = parser.parse_args()

    parameters = args.root / "params.yaml"
    values = load(parameters)
    runs = evaluated(args.root, values)
    pipeline = pipeline_section(args.root, parameters.read_text(encoding="utf-8"))
    baseline = read_json(args.root / "results" / "baseline.json")
    measured = read(args.root, values)
    stories = [(r, story(r)) for r in runs]
    lead = (
        "What the pipeline made of its data and parameters. Point at a mark of a chart, or unfold the values below it."
    )
    html = page("Pipeline report", lead, list(sections(pipeline, stories, baseline, measured)))
    with whole_folder(args.report) as folder:
        write_text(folder / "index.html", html)
        write_text(folder / "summary.md", summary(runs))


if __name__ == "__main__":
    run(main)
