"""Values of nodes whose inputs are known: shape arithmetic and small constants.

The operators that exporters compute shapes with are numpy functions here; others go to ONNX's
reference evaluator, one node at a time.  Nothing is evaluated before the number of elements of
its result is known to be small, nothing that draws random numbers, and nothing whose work is
not bounded by what it reads and writes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from dataflow_sim.graph.pointwise import Attribute

Array = npt.NDArray[np.generic]
Numbers = npt.NDArray[Any]
Operands = Sequence[Array | None]
Attributes = Mapping[str, Attribute]
Rule = Callable[[Operands, Attributes], Array | None]

LARGEST_READ_ELEMENTS = 4096
LARGEST_RESULT_ELEMENTS = 2**20

_CAST_TYPES: Mapping[int, type[np.generic]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT8: np.int8,
    TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.UINT8: np.uint8,
    TensorProto.UINT16: np.uint16,
    TensorProto.UINT32: np.uint32,
    TensorProto.UINT64: np.uint64,
    TensorProto.BOOL: np.bool_,
}


def _given(operands: Operands, position: int) -> Array | None:
    return operands[position] if position < len(operands) else None


def _array(operands: Operands, position: int = 0) -> Array:
    found = _given(operands, position)
    if found is None:
        raise ValueError(f"input {position} is left out")
    return found


def _integers(operands: Operands, position: int, attribute: Attribute | None) -> list[int] | None:
    """Integers that newer versions of an operator read and older ones hold; None for neither."""
    given = _given(operands, position)
    if given is not None:
        return [int(value) for value in given.ravel()]
    if isinstance(attribute, tuple):
        return [int(value) for value in attribute]
    return None


def _flag(attributes: Attributes, name: str, default: int) -> int:
    value = attributes.get(name, default)
    if not isinstance(value, int):
        raise TypeError(f"{name} is no integer")
    return value


def _same_type(operands: Operands) -> list[Array]:
    """All operands, of one element type."""
    found = [_array(operands, position) for position in range(len(operands))]
    if any(array.dtype != found[0].dtype for array in found):
        raise TypeError("element types differ")
    return found


def _binary(function: Callable[..., Array]) -> Rule:
    def rule(operands: Operands, attributes: Attributes) -> Array | None:
        if "broadcast" in attributes:  # the rules of broadcasting were others before version 7
            return None
        left, right = _same_type(operands)
        return function(left, right)

    return rule


def _folded(function: Callable[..., Array]) -> Rule:
    def rule(operands: Operands, attributes: Attributes) -> Array:
        return reduce(function, _same_type(operands))

    return rule


def _unary(function: Callable[..., Array]) -> Rule:
    def rule(operands: Operands, attributes: Attributes) -> Array:
        array = _array(operands)
        return np.asarray(function(array)).astype(array.dtype)

    return rule


def divided(left: Numbers, right: Numbers) -> Numbers:
    """Division as ONNX defines it: of integers towards zero.  Raises ZeroDivisionError."""
    if left.dtype.kind not in "iu":
        return np.divide(left, right)
    if not np.all(right):
        raise ZeroDivisionError
    quotient, rest = np.floor_divide(left, right), np.remainder(left, right)
    up = (rest != 0) & (np.less(left, 0) ^ np.less(right, 0))  # where flooring went away from 0
    found: Numbers = quotient + up.astype(quotient.dtype)
    return found


def _mod(operands: Operands, attributes: Attributes) -> Array:
    left, right = _same_type(operands)
    if left.dtype.kind in "iu" and not np.all(right):
        raise ZeroDivisionError
    found: Array = (np.fmod if _flag(attributes, "fmod", 0) else np.mod)(left, right)
    return found


def _cast(operands: Operands, attributes: Attributes) -> Array | None:
    array, wanted = _array(operands), attributes.get("to")
    if not isinstance(wanted, int) or wanted not in _CAST_TYPES or array.dtype.kind not in "iufb":
        return None
    return array.astype(_CAST_TYPES[wanted])


def _concat(operands: Operands, attributes: Attributes) -> Array:
    axis = attributes["axis"]
    assert isinstance(axis, int)
    return np.concatenate(_same_type(operands), axis=axis)


def _gather(operands: Operands, attributes: Attributes) -> Array:
    indices = _array(operands, 1).astype(np.int64)
    return np.take(_array(operands), indices, axis=_flag(attributes, "axis", 0))


def _gather_elements(operands: Operands, attributes: Attributes) -> Array:
    array, indices = _array(operands), _array(operands, 1).astype(np.int64)
    axis = _flag(attributes, "axis", 0)
    kept = [slice(0, extent) for extent in indices.shape]
    kept[axis] = slice(None)
    return np.take_along_axis(array[tuple(kept)], indices, axis)


def _unsqueeze(operands: Operands, attributes: Attributes) -> Array:
    axes = _integers(operands, 1, attributes.get("axes"))
    if axes is None:
        raise ValueError("no axes")
    return np.expand_dims(_array(operands), tuple(axes))


def _squeeze(operands: Operands, attributes: Attributes) -> Array:
    axes = _integers(operands, 1, attributes.get("axes"))
    return np.squeeze(_array(operands), None if axes is None else tuple(axes))


def _slice(operands: Operands, attributes: Attributes) -> Array:
    array = _array(operands)
    starts = _integers(operands, 1, attributes.get("starts"))
    ends = _integers(operands, 2, attributes.get("ends"))
    if starts is None or ends is None:
        raise ValueError("no bounds")
    axes = _integers(operands, 3, attributes.get("axes")) or list(range(len(starts)))
    steps = _integers(operands, 4, None) or [1] * len(starts)
    chosen = [slice(None)] * array.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        chosen[axis] = slice(start, end, step)
    return array[tuple(chosen)]


def _range(operands: Operands, attributes: Attributes) -> Array | None:
    start, limit, delta = (array.item() for array in _same_type(operands))
    kind = _array(operands).dtype
    if kind not in (np.int16, np.int32, np.int64, np.float32, np.float64):
        return None
    if not (limit - start) / delta <= LARGEST_RESULT_ELEMENTS:  # of NaN neither is true
        return None
    return np.arange(start, limit, delta).astype(kind)


def _expand(operands: Operands, attributes: Attributes) -> Array:
    array, shape = _array(operands), _integers(operands, 1, None)
    assert shape is not None
    return np.broadcast_to(array, np.broadcast_shapes(array.shape, tuple(shape))).copy()


def _where(operands: Operands, attributes: Attributes) -> Array:
    condition, *choices = (_array(operands, position) for position in range(3))
    left, right = _same_type(choices)
    return np.where(condition, left, right)


def _reduced(function: Callable[..., Array], typed: bool) -> Rule:
    """Reduction over axes; `typed` functions would widen small integers unless told not to."""

    def rule(operands: Operands, attributes: Attributes) -> Array:
        array = _array(operands)
        axes = _integers(operands, 1, attributes.get("axes"))
        if not axes and _flag(attributes, "noop_with_empty_axes", 0):
            return array
        kind = {"dtype": array.dtype} if typed else {}
        keep = bool(_flag(attributes, "keepdims", 1))
        return function(array, axis=tuple(axes) if axes else None, keepdims=keep, **kind)

    return rule


def _reshape(operands: Operands, attributes: Attributes) -> Array:
    array = _array(operands)
    shape = _integers(operands, 1, attributes.get("shape"))
    if shape is None:
        raise ValueError("no shape")
    if not _flag(attributes, "allowzero", 0):
        shape = [array.shape[axis] if extent == 0 else extent for axis, extent in enumerate(shape)]
    return array.reshape(shape)


def _transpose(operands: Operands, attributes: Attributes) -> Array:
    order = _integers((), 0, attributes.get("perm"))
    return np.transpose(_array(operands), order)


_DIRECT: Mapping[str, Rule] = {
    "Abs": _unary(np.abs),
    "Add": _binary(np.add),
    "And": _binary(np.logical_and),
    "Cast": _cast,
    "Ceil": _unary(np.ceil),
    "Concat": _concat,
    "Div": _binary(divided),
    "Equal": _binary(np.equal),
    "Expand": _expand,
    "Floor": _unary(np.floor),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal),
    "Identity": lambda operands, attributes: _array(operands),
    "Less": _binary(np.less),
    "LessOrEqual": _binary(np.less_equal),
    "Max": _folded(np.maximum),
    "Min": _folded(np.minimum),
    "Mod": _mod,
    "Mul": _binary(np.multiply),
    "Neg": _unary(np.negative),
    "Not": _unary(np.logical_not),
    "Or": _binary(np.logical_or),
    "Range": _range,
    "ReduceMax": _reduced(np.max, typed=False),
    "ReduceMin": _reduced(np.min, typed=False),
    "ReduceProd": _reduced(np.prod, typed=True),
    "ReduceSum": _reduced(np.sum, typed=True),
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": _unary(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
    "Xor": _binary(np.logical_xor),
}
DIRECT_OPS = tuple(_DIRECT)

# What the reference evaluator computes with work and memory bounded by inputs and results.
_BY_REFERENCE = frozenset(
    (
        *("Acos", "Acosh", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "BitShift"),
        *("BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Clip"),
        *("Compress", "Cos", "Cosh", "CumSum", "DepthToSpace", "DequantizeLinear", "Elu", "Erf"),
        *("Exp", "EyeLike", "Flatten", "GatherND", "Gelu", "Gemm", "HardSigmoid"),
        *("HardSwish", "IsInf", "IsNaN", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax"),
        *("MatMul", "Mean", "NonZero", "OneHot", "Pow", "PRelu", "QuantizeLinear"),
        *("Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean"),
        *("ReduceSumSquare", "Relu", "ReverseSequence", "Round", "ScatterElements", "ScatterND"),
        *("Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softmax", "Softplus", "Softsign"),
        *("SpaceToDepth", "Split", "Sum", "Tan", "Tanh", "Tile", "TopK", "Trilu", "Unique"),
        *DIRECT_OPS,
    )
)
# What these give is bounded by what they read, or (Range) by their own look at it.
_BOUNDED = frozenset(("Compress", "NonZero", "Range", "Unique"))
_PLAIN_ATTRIBUTES = frozenset(
    (
        *(onnx.AttributeProto.INT, onnx.AttributeProto.FLOAT, onnx.AttributeProto.STRING),
        *(onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS, onnx.AttributeProto.STRINGS),
    )
)


def _by_reference(
    node: onnx.NodeProto, operands: Operands, imports: Iterable[onnx.OperatorSetIdProto]
) -> list[Array] | None:
    # a tensor among the attributes may be external, and the evaluator would go and open it
    if any(attribute.type not in _PLAIN_ATTRIBUTES for attribute in node.attribute):
        return None
    feeds = {
        name: array for name, array in zip(node.input, operands, strict=True) if array is not None
    }
    helper = onnx.helper
    graph = helper.make_graph(
        [node],
        "constant",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    found = ReferenceEvaluator(helper.make_model(graph, opset_imports=list(imports))).run(
        None, feeds
    )
    if any(isinstance(each, list | dict | tuple) for each in found):
        return None
    return [np.asarray(each) for each in found]


def evaluate(
    node: onnx.NodeProto,
    operands: Operands,
    attributes: Attributes,
    sizes: Sequence[int | None],
    imports: Iterable[onnx.OperatorSetIdProto],
) -> list[Array] | None:
    """What a node of the standard's operators gives; None where it is not, or cannot be, known.

    `operands` are its inputs, None where one is left out; `sizes` bound the numbers of elements
    of its results as far as they are known beforehand; results come for the outputs that have
    names, in order.
    """
    read = sum(array.size for array in operands if array is not None)
    if read > LARGEST_READ_ELEMENTS or any((size or 0) > LARGEST_RESULT_ELEMENTS for size in sizes):
        return None
    if None in sizes and node.op_type not in _BOUNDED:
        return None
    rule = _DIRECT.get(node.op_type)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = rule(operands, attributes) if rule else None
            if found is not None:
                return [np.asarray(found)]
            if node.op_type not in _BY_REFERENCE or (None in sizes and node.op_type == "Range"):
                return None
            return _by_reference(node, operands, imports)
    except Exception:  # of numpy's many errors none matters: the value stays unknown
        return None
