"""What changed between two models' predictions for the test births."""

from pathlib import Path
from typing import Any

import numpy as np

from stages.babyweight.evaluate import instances, load
from stages.core.files import read_json
from stages.report.predictions import BATCH, SHOWN, PredictionChanges


def compare(models: tuple[Any, Any], data: Path) -> PredictionChanges:
    """Test births whose predicted weight moved furthest."""
    schema = read_json(data / "schema.json")
    codes, pounds = load(data, "test")
    inputs = instances(codes, schema)
    before, after = (next(iter(model.batched(BATCH, **inputs).values())).astype(float) for model in models)
    difference = after - before
    top = np.argsort(-np.abs(difference), kind="stable")[:SHOWN]
    summary = (
        f"{len(pounds):,} test births: the prediction moves by {np.abs(difference).mean():.3f} lb in the mean and by "
        f"{np.abs(difference).max():.2f} lb at most; "
        f"{(np.abs(after - pounds) < np.abs(before - pounds)).mean():.0%} come closer to the actual weight."
    )
    header = (*schema["features"], "actual lb", "A", "B", "B - A")
    rows = [
        (
            *(str(values[i]) if values.dtype.kind in "US" else f"{values[i]:g}" for values in inputs.values()),
            *(f"{value:.2f}" for value in (pounds[i], before[i], after[i])),
            f"{difference[i]:+.2f}",
        )
        for i in top
    ]
    return PredictionChanges(summary, header, rows)
