"""Put the results of all workloads on one page, and their headlines into a Markdown table.

A workload may tell its own story: `stages/<workload>/report.py` with `story(run) -> Story`. One without it gets a
card and a table of its metrics.
"""

import argparse
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from markupsafe import Markup

from stages.core.errors import run
from stages.core.files import read_json, whole_folder, write_text
from stages.core.params import flatten, load
from stages.report import graph
from stages.report.page import Section, card, details, facts, grid, heading, join, page, paragraph, table, verdict
from stages.report.run import Run, Story, metric_text
from stages.workloads import Metric, Workload


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
    rows = [(key.replace("_", " "), value) for key, value in flatten(run.metrics)]
    return Story((), None, table(["metric", "value"], rows, "Metrics"))


def against_baseline(workload: Workload, metric: Metric, value: Any, baseline: Any) -> Markup:
    """How the headline compares with the accepted results."""
    before = dict(flatten(baseline)).get(metric.key)
    if before is None:
        return verdict(None, "new: the baseline has no such metric")
    if before == value:
        return verdict(None, "as the baseline")
    words = {True: "better than", False: "worse than", None: "unlike"}
    verdict_ = workload.better(metric.key, before, value)
    return verdict(verdict_, f"{words[verdict_]} the baseline: {metric_text(metric, before)}")


def result_card(run: Run, told: Story, baseline: dict[str, Any]) -> Markup:
    """A workload's card."""
    headline, *_ = metrics(run)
    value = run.metric(headline.key)
    lines = [against_baseline(run.workload, headline, value, baseline.get(run.name, {})), *told.beside]
    return card(run.workload.title, metric_text(headline, value), headline.label, lines, f"#{run.name}", told.picture)


def pipeline_section(root: Path, parameters: str) -> Section:
    """The graph of the stages, and every parameter with its comment."""
    stages = graph.read(root / "docs" / "pipeline.md")
    body = join(
        graph.draw(stages, across=True),
        graph.draw(stages, across=False),
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


def sections(pipeline: Section, stories: list[tuple[Run, Story]], baseline: dict[str, Any]) -> Iterator[Section]:
    """The parts of the page."""
    cards = join(*(result_card(r, s, baseline) for r, s in stories))
    yield Section("results", "Results", Markup('<div class="cards">{}</div>').format(cards))
    yield pipeline
    for r, s in stories:
        lead = r.workload.lead
        yield Section(r.name, r.workload.title, join(paragraph(lead, "soft") if lead else "", s.body))
    panels = (Markup('<div class="panel">{}</div>').format(model_panel(r)) for r, _ in stories)
    yield Section("models", "Models", grid(*panels))


def summary(runs: list[Run]) -> str:
    """The metrics as a Markdown table."""
    lines = ["| model | metric | held-out data |", "| --- | --- | ---: |"]
    lines += [f"| {r.name} | {m.label} | {metric_text(m, r.metric(m.key))} |" for r in runs for m in metrics(r)]
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
    runs = evaluated(args.root, load(parameters))
    pipeline = pipeline_section(args.root, parameters.read_text(encoding="utf-8"))
    baseline = read_json(args.root / "results" / "baseline.json")
    stories = [(r, story(r)) for r in runs]
    lead = "What the pipeline made of its data and parameters. Point at a mark of a chart to see its values."
    html = page("Pipeline report", lead, list(sections(pipeline, stories, baseline)))
    with whole_folder(args.report) as folder:
        write_text(folder / "index.html", html)
        write_text(folder / "summary.md", summary(runs))


if __name__ == "__main__":
    run(main)
