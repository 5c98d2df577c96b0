"""A serving function whose answer to a row is the same to the byte whatever rows it is called with.

On a CPU, the last rows of a matrix product and the last elements of an exponential take other instructions than the
rows before them, and round differently. So each operation that can tell gets as many rows as fill its blocks: zeros
are appended before it and cut off before the next operation that could mix rows, or before the output. All of it is
part of the graph, so that it holds in every loader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

PAIR, LANES, BLOCKS = 2, 16, 48
"""Numbers of rows by which an operation computes every row alike.

- `PAIR`: any but one row, for convolutions. A lone image is divided among threads.
- `LANES`: a multiple of 16, the most floats that one instruction takes.
- `BLOCKS`: a multiple of 48, for products. Their kernels take up to 6 rows (AVX2) or 48 (AVX-512) at once.
"""

_PRODUCTS = {"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "MatMul"}
_CONVOLUTIONS = {"Conv", "Conv2D", "Conv3D", "DepthwiseConv2dNative"}
_APPROXIMATED = {
    *("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atan2", "Atanh", "Cos", "Cosh", "Digamma", "Elu", "Erf", "Erfc"),
    *("Erfinv", "Exp", "Expm1", "Lgamma", "Log", "Log1p", "Ndtri", "Pow", "Reciprocal", "Rsqrt", "Selu", "Sigmoid"),
    *("Sin", "Sinh", "Softplus", "Softsign", "Tan", "Tanh", "Xdivy", "Xlog1py", "Xlogy"),
}
_EXACT = {
    *("Abs", "Add", "AddV2", "BiasAdd", "Cast", "Ceil", "ClipByValue", "Div", "DivNoNan", "Equal", "Floor", "FloorDiv"),
    *("FloorMod", "Greater", "GreaterEqual", "Identity", "IsFinite", "IsInf", "IsNan", "LeakyRelu", "Less"),
    *("LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum", "Minimum", "Mul", "MulNoNan", "Neg"),
    *("NotEqual", "RealDiv", "Relu", "Relu6", "Rint", "Round", "SelectV2", "Sign", "Sqrt", "Square"),
    *("SquaredDifference", "Sub"),
}
_ELEMENTWISE = _APPROXIMATED | _EXACT
_SOFTMAX = {"LogSoftmax", "Softmax"}
_POOLINGS = {"AvgPool", "AvgPool3D", "MaxPool", "MaxPool3D"}
_REDUCTIONS = {"All", "Any", "ArgMax", "ArgMin", "Max", "Mean", "Min", "Prod", "Sum"}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}


class _Rows:
    """How many rows the tensors have that begin with the same dimension as `source`."""

    def __init__(self, source: tf.Tensor) -> None:
        self._source = source
        self._numbers: dict[int, tf.Tensor] = {}
        self._missing: dict[int, tf.Tensor] = {}

    def number(self, by: int) -> tf.Tensor:
        """Their number, int32 [1]: as it is (1), or padded."""
        if by not in self._numbers:
            self._numbers[by] = tf.shape(self._source)[:1] if by == 1 else self.number(1) + self.missing(by)
        return self._numbers[by]

    def missing(self, by: int) -> tf.Tensor:
        """How many are to be appended, int32 [1]."""
        if by not in self._missing:
            rows = self.number(1)
            self._missing[by] = tf.cast(rows == 1, tf.int32) if by == PAIR else tf.math.floormod(-rows, by)
        return self._missing[by]


class _Value:
    """A tensor of the new graph, with as many rows as wanted.

    Args:
        tensor: the tensor.
        by: how its rows are padded; 1: not at all.
        rows: what its first dimension is; None: its first dimension is fixed.
    """

    def __init__(self, tensor: tf.Tensor, by: int = 1, rows: _Rows | None = None) -> None:
        self.by, self.rows, self._padded = by, rows, {by: tensor}

    def padded(self, by: int) -> tf.Tensor:
        """The tensor with another number of rows."""
        tensor = self._padded[self.by]
        if self.rows is None:
            return tensor
        if by not in self._padded:
            if by < self.by:
                self._padded[by] = tf.strided_slice(tensor, [0], self.rows.number(by), [1])
            else:
                more = self.rows.missing(by)
                if self.by > 1:
                    more -= self.rows.missing(self.by)
                paddings = more * ([[0, 1]] + [[0, 0]] * (tensor.shape.rank - 1))
                # Not `Pad`: oneDNN fuses it with a convolution, and leaves out what it appends to the batch.
                padded = tf.raw_ops.PadV2(input=tensor, paddings=paddings, constant_values=tf.zeros([], tensor.dtype))
                form = tensor.shape[1:]
                if form.rank > 1 and form.is_fully_defined():  # TensorFlow Lite's convolutions must know it
                    padded = tf.reshape(padded, [-1, *form])
                self._padded[by] = padded
        return self._padded[by]


def _row_size(tensor: tf.Tensor) -> int | None:
    """The number of elements of a row, if it is fixed."""
    size = tensor.shape[1:].num_elements() if tensor.shape.rank else None
    return size if size is None else int(size)


def _static(tensor: tf.Tensor) -> Any:
    return tf.get_static_value(tensor)


def _without_first(axes: Any, rank: int | None) -> bool:
    """Whether dimensions are known, and none of them is the first."""
    return axes is not None and rank is not None and all(int(axis) % rank for axis in np.ravel(axes))


def _broadcasts(op: tf.Operation, values: Sequence[_Value]) -> bool:
    """Whether the output's first dimension is that of each input with rows, and the other inputs repeat over it."""
    rank = op.outputs[0].shape.rank
    for tensor, value in zip(op.inputs, values, strict=True):
        if rank is None or tensor.shape.rank is None:
            return False
        if (tensor.shape.rank < rank or tensor.shape[0] == 1) if value.rows is None else tensor.shape.rank == rank:
            continue
        return False
    return True


def _keeps_rows_of_einsum(op: tf.Operation, values: Sequence[_Value]) -> bool:
    operands, _, output = op.get_attr("equation").decode().partition("->")
    if "." in operands or not output:
        return False
    labels = operands.split(",")
    return all(
        (one[:1] == output[0]) if value.rows else (output[0] not in one)
        for one, value in zip(labels, values, strict=True)
    )


def _slices_rows_whole(op: tf.Operation) -> bool:
    stride = _static(op.inputs[3])
    masks = {name: op.get_attr(name) & 1 for name in ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask")}
    whole = {"begin_mask": 1, "end_mask": 1, "new_axis_mask": 0, "shrink_axis_mask": 0}
    return not op.get_attr("ellipsis_mask") and masks == whole and stride is not None and stride[0] == 1


def _keeps_rows(op: tf.Operation, values: Sequence[_Value]) -> bool:
    """Whether each row of an operation's output is computed from the same row of its inputs alone."""
    kind, rank = op.type, op.inputs[0].shape.rank if op.inputs else None
    if kind in _ELEMENTWISE and kind != "BiasAdd":
        return _broadcasts(op, values)
    if kind == "Einsum":
        return _keeps_rows_of_einsum(op, values)
    if kind.startswith("BatchMatMul"):
        return bool(rank and op.outputs[0].shape.rank > 2) and _broadcasts(op, values)
    if kind == "Pack":
        return op.get_attr("axis") % op.outputs[0].shape.rank != 0 and all(value.rows for value in values)
    if kind == "ConcatV2":
        return _without_first(_static(op.inputs[-1]), rank) and all(value.rows for value in values[:-1])
    if rank is None or not values[0].rows or any(value.rows for value in values[1:]):
        return False
    checks: dict[str, Callable[[], bool]] = {
        "MatMul": lambda: not op.get_attr("transpose_a"),
        "FusedBatchNormV3": lambda: not op.get_attr("is_training"),
        "Reshape": lambda: _reshapes_rows(op),
        "Squeeze": lambda: bool(dims := op.get_attr("squeeze_dims")) and _without_first(dims, rank),
        "ExpandDims": lambda: _without_first(_static(op.inputs[1]), rank + 1),
        "StridedSlice": lambda: _slices_rows_whole(op),
        "Transpose": lambda: (perm := _static(op.inputs[1])) is not None and perm[0] == 0,
        **dict.fromkeys(("Pad", "PadV2"), lambda: (p := _static(op.inputs[1])) is not None and not any(p[0])),
        **dict.fromkeys(_REDUCTIONS, lambda: _without_first(_static(op.inputs[1]), rank)),
        **dict.fromkeys(_SOFTMAX, lambda: rank > 1),
        **dict.fromkeys({"BiasAdd"} | _POOLINGS | _CONVOLUTIONS, lambda: rank > 1),
    }
    return kind in checks and bool(checks[kind]())


def _rows_by(op: tf.Operation, values: Sequence[_Value]) -> int:
    """By how many rows an operation must be computed, so that no row can tell how many there are."""
    inherited = max(value.by for value in values)
    if not op.outputs[0].dtype.is_floating:
        return inherited
    if op.type in _PRODUCTS:
        return BLOCKS
    if op.type in _CONVOLUTIONS:
        return PAIR
    if op.type in _APPROXIMATED | _SOFTMAX and (_row_size(op.outputs[0]) or 1) % LANES:
        return max(inherited, LANES)
    return inherited


def _reshapes_rows(op: tf.Operation) -> bool:
    """Whether an operation changes the form of each row, whatever the number of rows."""
    before, after = (tensor.shape for tensor in (op.inputs[0], op.outputs[0])) if op.type == "Reshape" else ([], [])
    open_ended = bool(before) and bool(after) and before[0] is after[0] is None
    return open_ended and _row_size(op.inputs[0]) == _row_size(op.outputs[0]) is not None


def _needed(graph: Any) -> list[tf.Operation]:
    """The operations that a function's outputs need, in order, but for the shapes that `_reshapes_rows` replaces."""
    needed, todo = set(), [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    while todo:
        op = todo.pop()
        if op not in needed:
            needed.add(op)
            inputs = op.inputs[:1] if _reshapes_rows(op) else op.inputs
            todo += [tensor.op for tensor in inputs]
    return [op for op in graph.get_operations() if op in needed]


class _Copy:
    """Copies operations into the graph that is being built."""

    def __init__(self) -> None:
        self.values: dict[int, _Value] = {}

    def run(self, graph: Any) -> None:
        """Copy the operations that a function's outputs need; its inputs have their values.

        TensorFlow orders the stateful ones anew.
        """
        for op in _needed(graph):
            if op.type != "Placeholder":
                self._copy(op)

    def _copy(self, op: tf.Operation) -> None:
        reshapes = _reshapes_rows(op)
        values = [self.values[id(tensor)] for tensor in (op.inputs[:1] if reshapes else op.inputs)]
        rows = {value.rows for value in values if value.rows}
        if op.type in _CALLS:
            self._inline(op, values)
        elif len(rows) == 1 and _keeps_rows(op, values):
            by, same = _rows_by(op, values), next(iter(rows))
            inputs = [value.padded(by) for value in values]
            if reshapes:
                inputs.append(tf.constant([-1, *op.outputs[0].shape[1:]], op.inputs[1].dtype))
            self._add(op, [_Value(output, by, same) for output in self._create(op, inputs)])
        else:
            outputs = self._create(op, [value.padded(1) for value in values])
            free = [bool(output.shape.rank) and output.shape[0] is None for output in outputs]
            rows_of = [_Rows(output) if is_free else None for output, is_free in zip(outputs, free, strict=True)]
            self._add(op, [_Value(output, 1, own) for output, own in zip(outputs, rows_of, strict=True)])

    def _add(self, op: tf.Operation, values: Sequence[_Value]) -> None:
        self.values |= dict(zip(map(id, op.outputs), values, strict=True))

    def _create(self, op: tf.Operation, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        graph = tf.compat.v1.get_default_graph()
        attributes = {name: value for name, value in op.node_def.attr.items() if not name.startswith("_")}
        for value in attributes.values():
            for called in [value.func, *value.list.func]:
                if called.name:
                    graph._add_function_recursive(op.graph._get_function(called.name))
        types = [output.dtype for output in op.outputs]
        copy = graph.create_op(op.type, inputs, types, attrs=attributes, name=op.name, op_def=op.op_def)
        return list(copy.outputs)

    def _inline(self, op: tf.Operation, values: Sequence[_Value]) -> None:
        """Copy a called function's operations in place of the call."""
        called, inner = op.graph._get_function(op.get_attr("f").name).graph, _Copy()
        inner.values = dict(zip(map(id, called.inputs), values, strict=True))
        inner.run(called)
        self._add(op, [inner.values[id(output)] for output in called.outputs])


def independent_of_batch(function: Any) -> Any:
    """A concrete function that answers as `function`, but to each row the same bytes whatever the other rows are.

    A row stands at one place of the first dimension, in all inputs and outputs. That is so for every network that
    computes each row by itself, but for layers that loop in the graph (recurrent ones that are not unrolled) or draw.
    A function that mixes rows, such as by a mean over them, still does.

    Args:
        function: a concrete function, whose inputs have names.
    """
    specs = tf.nest.flatten(function.structured_input_signature)

    def rebuilt(*arguments: tf.Tensor) -> Any:
        copy, free = _Copy(), [tensor for tensor in arguments if tensor.shape.rank and tensor.shape[0] is None]
        rows = _Rows(free[0]) if free else None
        for placeholder, tensor in zip(function.inputs, arguments, strict=False):
            copy.values[id(placeholder)] = _Value(tensor, 1, rows if any(tensor is one for one in free) else None)
        for outer, placeholder in function.graph.captures:
            copy.values[id(placeholder)] = _Value(outer)
        copy.run(function.graph)
        answers = [copy.values[id(output)].padded(1) for output in function.outputs]
        return tf.nest.pack_sequence_as(function.structured_outputs, answers)

    return tf.function(rebuilt, autograph=False).get_concrete_function(*specs)
