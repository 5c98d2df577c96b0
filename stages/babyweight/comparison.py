"""What changed between two models' predictions for the test births."""

from pathlib import Path
from typing import Any

import numpy as np

from stages.babyweight.evaluate import blocks, instances, is_personal
from stages.core.files import read_json
from stages.report.predictions import BATCH, SHOWN, PredictionChanges


def compare(models: tuple[Any, Any], data: Path) -> PredictionChanges:
    """Test births whose predicted weight moved furthest."""
    schema = read_json(data / "schema.json")
    parts: list[tuple[Any, ...]] = []
    for births, weights in blocks(data, "test"):
        block = instances(births, schema)
        answers = (next(iter(model.batched(BATCH, **block).values())).astype(float) for model in models)
        parts.append((births, weights, *answers))
    codes, pounds, before, after = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    difference = after - before
    top = np.argsort(-np.abs(difference), kind="stable")[:SHOWN]
    personal = is_personal(schema)
    at_most = "" if personal else f" and by {np.abs(difference).max():.2f} lb at most"
    summary = (
        f"{len(pounds):,} test births: "
        f"the prediction moves by {np.abs(difference).mean():.3f} lb in the mean{at_most}; "
        f"{(np.abs(after - pounds) < np.abs(before - pounds)).mean():.0%} come closer to the actual weight."
    )
    if personal:
        return PredictionChanges(f"{summary} They are of people, so none is shown: see docs/privacy.md.")
    inputs = instances(codes[top], schema)
    header = (*schema["features"], "actual lb", "A", "B", "B - A")
    rows = [
        (
            *(str(values[at]) if values.dtype.kind in "US" else f"{values[at]:g}" for values in inputs.values()),
            *(f"{value:.2f}" for value in (pounds[i], before[i], after[i])),
            f"{difference[i]:+.2f}",
        )
        for at, i in enumerate(top)
    ]
    return PredictionChanges(summary, header, rows)
