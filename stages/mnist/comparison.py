"""What changed between two models' predictions for the test images."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from stages.report.page import image
from stages.report.predictions import BATCH, SHOWN, PredictionChanges


def _picture(pixels: npt.NDArray[Any], label: str) -> Markup:
    buffer = BytesIO()
    Image.fromarray(255 - pixels.reshape(28, 28)).save(buffer, "png", optimize=True)
    return image(buffer.getvalue(), "png", label, 56, 56)


def compare(models: tuple[Any, Any], data: Path) -> PredictionChanges:
    """Test images whose class changed, and those whose probability of the right one moved furthest."""
    images, labels = (np.load(data / f"test/{part}.npy") for part in ("images", "labels"))
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    outputs = [model.batched(BATCH, **{next(iter(model.signature.inputs)): pixels}) for model in models]
    (old, new), (p, q) = ([o[key] for o in outputs] for key in ("classes", "probabilities"))
    right = np.arange(len(labels)), labels
    moved = np.abs(q[right] - p[right])
    top = np.lexsort((-moved, old == new))[:SHOWN]
    fixed, broken = int(((old != labels) & (new == labels)).sum()), int(((old == labels) & (new != labels)).sum())
    summary = (
        f"{len(labels):,} test images: {int((old != new).sum())} answers changed, {fixed} of them now right and "
        f"{broken} now wrong; {int((old != labels).sum())} were wrong, {int((new != labels).sum())} are."
    )
    header = ("test image", "digit", "A", "B", "probability of the digit, A", "B")
    rows = [
        (int(i), str(labels[i]), str(old[i]), str(new[i]), f"{p[i, labels[i]]:.3f}", f"{q[i, labels[i]]:.3f}")
        for i in top
    ]
    pictures = [_picture(images[i].reshape(-1), f"test image {i}, a {labels[i]}") for i in top]
    return PredictionChanges(summary, header, rows, pictures)
