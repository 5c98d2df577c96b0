"""Describe an exported model: what a person needs to use it without its code."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stages.core.errors import InputError, one_line, run
from stages.core.files import digest, write_json, write_text
from stages.rest.requests import fitting, read_instances
from stages.savedmodel.graph import Tensor, read_graph, read_signatures, serving_signature


def tensors(values: dict[str, Tensor]) -> dict[str, Any]:
    """Each input or output by key: its tensor's name, type and shape; -1 is any size."""
    return {
        key: {"tensor": t.tensor, "dtype": t.dtype.name, "shape": [-1 if n is None else n for n in t.shape]}
        for key, t in values.items()
    }


def variables(model: Path) -> dict[str, Any]:
    """Names and shapes of the stored variables, and how many numbers they hold.

    Raises:
        InputError: if they cannot be read.
    """
    try:
        stored = tf.train.list_variables(str(model / "variables" / "variables"))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f"{model / 'variables'}: damaged: {one_line(error)}") from None
    shapes = {
        name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): shape for name, shape in stored if "_CHECKPOINT" not in name
    }
    return {"weights": sum(int(np.prod(shape)) for shape in shapes.values()), "shapes": shapes}


def describe(model: Path, request: Path) -> dict[str, Any]:
    """Files with sizes and digests, tags, signatures, variables and an example request."""
    files = sorted(path for path in model.rglob("*") if path.is_file())
    return {
        "files": {p.relative_to(model).as_posix(): {"bytes": p.stat().st_size, "sha256": digest(p)} for p in files},
        "tags": sorted({tag for graph in read_graph(model).meta_graphs for tag in graph.meta_info_def.tags}),
        "signatures": {
            name: {"method": s.method, "inputs": tensors(s.inputs), "outputs": tensors(s.outputs)}
            for name, s in read_signatures(model).items()
        },
        "variables": variables(model),
        "example_request": {"instances": fitting(read_instances(request)[:1], serving_signature(model))},
    }


def text(workload: str, about: dict[str, Any]) -> str:
    """The description for reading: aligned columns, an input or output a line."""
    lines = [f"{workload}: SavedModel, tags {', '.join(about['tags'])}", "", "files"]
    lines += [f"  {info['bytes']:>10,}  {name}" for name, info in about["files"].items()]
    for name, signature in about["signatures"].items():
        lines += ["", f"signature {name}  ({signature['method']})"]
        for way in ("inputs", "outputs"):
            lines += [f"  {way}"]
            for key, t in signature[way].items():
                lines.append(f"    {key:<18} {t['dtype']:<8} {t['shape']!s:<12} {t['tensor']}")
    variables = about["variables"]
    lines += ["", f"variables: {variables['weights']:,} numbers in {len(variables['shapes'])}"]
    lines += [f"  {shape!s:<18} {name}" for name, shape in variables["shapes"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the description as JSON and as text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("model", type=Path, help="SavedModel to describe")
    parser.add_argument("request", type=Path, help="a request whose first instance is the example")
    parser.add_argument("json", type=Path, help="file to write the description to")
    parser.add_argument("text", type=Path, help="file to write it to for reading")
    args = parser.parse_args()

    about = describe(args.model, args.request)
    write_json(args.json, about)
    write_text(args.text, text(args.workload, about))


if __name__ == "__main__":
    run(main)
