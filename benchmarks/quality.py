"""How well births are predicted: this network, a linear model and gradient boosting, on births of your own.

The pipeline's stages run in a scratch folder with the births of a CSV file; scikit-learn's gradient boosting, in an
environment of its own below `.benchmarks/`, learns from the same arrays. The network that was trained on synthetic
births is asked as well. Needs `dvc repro export@babyweight`. Writes `quality.md`.

    python -m benchmarks.quality births.csv
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.environments import python_with
from stages.core.files import write_text
from tools.param_overrides import override

ROOT = Path(__file__).parents[1]
SCIKIT_LEARN = "scikit-learn==1.9.1"


def run(*command: str | Path) -> str:
    """Run a command in the project's folder; what it printed."""
    done = subprocess.run(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def stage(name: str, scratch: Path, *arguments: str | Path) -> None:
    """Run a stage with the scratch folder's parameters."""
    run(sys.executable, "-m", f"stages.{name}", *arguments, "--params", scratch / "params.yaml")


def evaluate(model: Path, scratch: Path) -> dict[str, Any]:
    """What a model reaches on the test births."""
    metrics = scratch / "evaluate.json"
    stage(
        "babyweight.evaluate",
        scratch,
        model,
        scratch / "data",
        metrics,
        scratch / "evaluation",
        scratch / "examples.csv",
    )
    found: dict[str, Any] = json.loads(metrics.read_text())
    return found


def table(source: str, found: dict[str, float], births: int) -> str:
    """The figures in Markdown."""
    reference = found["this network"]
    lines = [f"Root mean squared errors on {births:,} test births of {source}, by `python -m benchmarks.quality`.", ""]
    lines += ["| | RMSE, lb | beside this network |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {rmse:.4f} | {100 * (rmse / reference - 1):+.1f}% |" for name, rmse in found.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prepare, train, export and evaluate; compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("births", help="a CSV file or folder, here or at a URL")
    parser.add_argument("--named", default="your own", help="what the table calls them")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()
    source = {"babyweight.prepare.source.kind": "files", "babyweight.prepare.source.path": args.births}
    params = override(yaml.safe_load((ROOT / "params.yaml").read_text()), source)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        (scratch / "params.yaml").write_text(yaml.safe_dump(params))
        data, weights, model = scratch / "data", scratch / "weights", scratch / "model"
        inputs = ("--raw", args.births, "--sample", scratch / "sample.csv")
        stage("babyweight.prepare", scratch, *inputs, data, scratch / "prepare.json")
        stage("babyweight.train", scratch, data, weights, scratch / "train.json", scratch / "curve.csv")
        stage("export", scratch, "babyweight", weights, model)
        ours = evaluate(model, scratch)
        boosting = run(python_with("boosting", SCIKIT_LEARN), ROOT / "benchmarks/peers/boosting.py", data)
        found = {
            "this network": ours["rmse"],
            "this network, trained on synthetic births": evaluate(ROOT / "models/babyweight", scratch)["rmse"],
            "gradient boosting (scikit-learn)": json.loads(boosting)["rmse"],
            "linear model": ours["baselines"]["linear"]["rmse"],
            "mean": ours["baselines"]["mean"]["rmse"],
        }
    write_text(args.results / "quality.md", table(args.named, found, ours["test_births"]))


if __name__ == "__main__":
    main()
