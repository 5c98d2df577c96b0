"""The usual request read straight into columns: `instances` of objects with a plain value for each input.

By way of dictionaries it takes twice as long, and more than a small model's own call.
"""

from collections.abc import Mapping
from itertools import chain
from typing import Literal

import msgspec
import numpy as np
import tensorflow as tf

from serving.codec import Arrays
from serving.tensors import Tensor
from stages.savedmodel.graph import SIGNATURE

_KINDS = {tf.string: str, tf.float32: float, tf.float64: float, tf.bool: bool}
"""The types whose JSON values the library reads as the contract does; it would take 1.0 for a whole number."""


class RowReader:
    """Reads bodies for a default signature.

    Args:
        inputs: the signature's.
    """

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        self._inputs = list(inputs.values())
        self._decoder: msgspec.json.Decoder[msgspec.Struct] | None = None
        if len(inputs) < 2 or not all(t.shape == (None,) and t.dtype in _KINDS for t in self._inputs):
            return
        fields = {f"input_{i}": tensor for i, tensor in enumerate(self._inputs)}
        names = {field: tensor.name for field, tensor in fields.items()}
        kinds = [(field, _KINDS[tensor.dtype]) for field, tensor in fields.items()]
        instance = msgspec.defstruct("Instance", kinds, rename=names, forbid_unknown_fields=True, gc=False)
        document = msgspec.defstruct(
            "Document",
            [("instances", list[instance]), ("signature_name", Literal["", SIGNATURE], "")],  # type: ignore[valid-type]
            forbid_unknown_fields=True,
        )
        self._decoder = msgspec.json.Decoder(document)

    def __call__(self, body: bytes | bytearray, limit: int) -> Arrays | None:
        """Arrays [n] by input, text as `str`; None where the body is another, or wrong, or has over `limit` instances.

        `codec` reads all that, and says what is wrong.
        """
        if self._decoder is None:
            return None
        try:
            instances = self._decoder.decode(body).instances  # type: ignore[attr-defined]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if not 0 < len(instances) <= limit:
            return None
        values = chain.from_iterable(map(msgspec.structs.astuple, instances))
        table = np.fromiter(values, object, len(instances) * len(self._inputs)).reshape(len(instances), -1)
        with np.errstate(over="ignore"):
            arrays = {
                tensor.name: table[:, i].astype(tensor.dtype.as_numpy_dtype) for i, tensor in enumerate(self._inputs)
            }
        overflow = any(array.dtype.kind == "f" and not np.isfinite(array).all() for array in arrays.values())
        return None if overflow else arrays
