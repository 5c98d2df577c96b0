"""Predictions of a SavedModel in this process."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.core.errors import InputError, one_line
from stages.savedmodel.graph import SIGNATURE, TAG, serving_signature


class Predictor:
    """The `serving_default` of a SavedModel's folder as a function of arrays.

    Raises:
        InputError: if it is damaged or has no such signature.
    """

    def __init__(self, path: Path) -> None:
        self.signature = serving_signature(path)
        try:
            self._model = tf.saved_model.load(str(path), tags=[TAG])  # the function holds it weakly
        except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
            raise InputError(f"{path}: damaged SavedModel: {one_line(error)}") from None
        self._function = self._model.signatures[SIGNATURE]

    def __call__(self, **inputs: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
        """Outputs by key, sorted, for inputs by key."""
        tensors = {key: tf.constant(value, self.signature.inputs[key].dtype) for key, value in inputs.items()}
        return {key: value.numpy() for key, value in sorted(self._function(**tensors).items())}

    def batched(self, size: int, **inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by key, computed in calls of `size` instances."""
        instances = len(next(iter(inputs.values())))
        calls = [self(**{k: v[i : i + size] for k, v in inputs.items()}) for i in range(0, instances, size)]
        return {key: np.concatenate([outputs[key] for outputs in calls]) for key in calls[0]}
