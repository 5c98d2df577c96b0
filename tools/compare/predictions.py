"""The predictions that changed most between the exported models of two states.

The models and the test data come from DVC's cache or a remote. TensorFlow is imported only if a model changed.
"""

import pkgutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import stages  # noqa: F401 - sets up TensorFlow before its import
from stages import workloads
from stages.core.errors import InputError
from stages.report.predictions import PredictionChanges
from stages.workloads import Workload
from tools.compare.snapshot import Snapshot


def _compare(workload: Workload, a: Snapshot, b: Snapshot, folder: Path) -> PredictionChanges:
    model = f"models/{workload.name}"
    for snapshot in (a, b):
        if model not in snapshot.outputs:
            return PredictionChanges(f"{snapshot.name} has no {model}.")
    if a.outputs[model] == b.outputs[model]:
        return PredictionChanges("The models have the same bytes: no prediction changed.")
    paths = [snapshot.get(model, folder / side / workload.name) for snapshot, side in ((a, "a"), (b, "b"))]
    data = b.get(f"data/{workload.name}", folder / "data" / workload.name) if workload.has_data else paths[1]
    for snapshot, path in zip((a, b, b), (*paths, data), strict=True):
        if path is None:
            what = "model" if path is not data else "test data"
            hint = "`dvc pull --all-commits` fetches what a remote has"
            return PredictionChanges(f"The {what} of {snapshot.name} is not in the cache; {hint}.")
    from stages.savedmodel.predictor import Predictor

    assert data and paths[0] and paths[1] and workload.comparison
    models = Predictor(paths[0]), Predictor(paths[1])
    forms = [[(t.dtype, t.shape) for t in model.signature.inputs.values()] for model in models]
    if forms[0] != forms[1] or (
        len(forms[0]) > 1 and set(models[0].signature.inputs) != set(models[1].signature.inputs)
    ):
        return PredictionChanges("The models take different inputs: their predictions cannot be compared.")
    found: PredictionChanges = pkgutil.resolve_name(workload.comparison)(models, data)
    return found


def prediction_changes(a: Snapshot, b: Snapshot) -> Iterator[tuple[str, PredictionChanges]]:
    """The name of each workload that compares its predictions, and those that changed most."""
    with tempfile.TemporaryDirectory() as folder:
        for workload in map(workloads.find, b.workloads):
            if workload.comparison:
                try:
                    yield workload.name, _compare(workload, a, b, Path(folder))
                except (InputError, KeyError, ValueError) as error:
                    yield workload.name, PredictionChanges(f"The predictions cannot be compared: {error}")
