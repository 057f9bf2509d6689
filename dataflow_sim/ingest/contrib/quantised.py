"""Operators on quantised maps: dequantise, compute in floats, quantise again.

That is how ONNX Runtime's documentation of its operators defines them (docs/ContribOperators.md).
Element types of 16 and 4 bits are written with the standard QuantizeLinear and DequantizeLinear
in any opset, though their lists name them from 21 on only: no other operator says the width.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import TensorProto

from dataflow_sim.ingest.contrib.fresh import (
    Fresh,
    NoDefinitionError,
    given,
    integer,
    integers,
    number,
    stated,
)
from dataflow_sim.ingest.contrib.layouts import CONVOLUTION, planes, pooled, rank_of, restored

Rewrite = Callable[[onnx.NodeProto, Fresh], None]
Compute = Callable[[onnx.NodeProto, Fresh, str], str]


def dequantised(
    fresh: Fresh, x: str, scale: str, zero_point: str, axis: int | None = None, to: str = ""
) -> str:
    """The numbers that a quantised value stands for; several scales lie along `axis`."""
    if fresh.facts.element_type(scale) != TensorProto.FLOAT and fresh.opset < 19:
        raise NoDefinitionError("scales are 32-bit floats before opset 19")
    inputs = (x, scale, zero_point) if zero_point else (x, scale)
    if axis is None:
        return fresh.add("DequantizeLinear", *inputs, to=to)
    return fresh.add("DequantizeLinear", *inputs, to=to, axis=axis)


def quantised(fresh: Fresh, y: str, scale: str, zero_point: str, like: str, to: str) -> str:
    """Numbers as a quantised value; without a zero point of the element type of `like`."""
    if not zero_point and fresh.facts.element_type(like) != TensorProto.UINT8:
        zero_point = fresh.scalar("zero_point", 0, like)
    inputs = (y, scale, zero_point) if zero_point else (y, scale)
    return fresh.add("QuantizeLinear", *inputs, to=to)


def _unary(compute: Compute) -> Rewrite:
    """Of X, X_scale, X_zero_point, Y_scale, Y_zero_point."""

    def rewrite(node: onnx.NodeProto, fresh: Fresh) -> None:
        x = dequantised(fresh, given(node, 0), given(node, 1), given(node, 2))
        y = compute(node, fresh, x)
        quantised(fresh, y, given(node, 3), given(node, 4), given(node, 0), node.output[0])

    return rewrite


def _binary(op: str) -> Rewrite:
    """Of A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale, C_zero_point."""

    def rewrite(node: onnx.NodeProto, fresh: Fresh) -> None:
        a = dequantised(fresh, given(node, 0), given(node, 1), given(node, 2))
        b = dequantised(fresh, given(node, 3), given(node, 4), given(node, 5))
        c = fresh.add(op, a, b)
        quantised(fresh, c, given(node, 6), given(node, 7), given(node, 0), node.output[0])

    return rewrite


def _sigmoid(node: onnx.NodeProto, fresh: Fresh, x: str) -> str:
    return fresh.add("Sigmoid", x)


def _leaky_relu(node: onnx.NodeProto, fresh: Fresh, x: str) -> str:
    return fresh.add("LeakyRelu", x, alpha=number(node, "alpha", 0.01))


def _softmax(node: onnx.NodeProto, fresh: Fresh, x: str) -> str:
    axis = integer(node, "axis", -1)
    if integer(node, "opset", 13) >= 13 or axis == -1:
        return fresh.add("Softmax", x, axis=axis)
    # before opset 13 softmax ran over all axes from its own on
    flat = fresh.add("Softmax", fresh.add("Flatten", x, axis=axis), axis=-1)
    return fresh.add("Reshape", flat, fresh.add("Shape", x))


def _reduce_mean(node: onnx.NodeProto, fresh: Fresh, x: str) -> str:
    return fresh.mean(x, integers(node, "axes"), integer(node, "keepdims", 1))


def _global_average_pool(node: onnx.NodeProto, fresh: Fresh, x: str) -> str:
    last = bool(integer(node, "channels_last", 0))
    rank = rank_of(fresh, given(node, 0), default=4)
    pool = fresh.add("GlobalAveragePool", planes(fresh, x, rank) if last else x)
    return restored(fresh, pool, rank) if last else pool


def _average_pool(node: onnx.NodeProto, fresh: Fresh, x: str) -> str:
    last = bool(integer(node, "channels_last", 0))
    return pooled(node, fresh, x, "AveragePool", last)


def _concat(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of Y_scale, Y_zero_point and as many (X, X_scale, X_zero_point) as there are inputs."""
    if (len(node.input) - 2) % 3:
        raise NoDefinitionError("inputs are no triples")
    parts = [
        dequantised(fresh, given(node, i), given(node, i + 1), given(node, i + 2))
        for i in range(2, len(node.input), 3)
    ]
    y = fresh.add("Concat", *parts, axis=integer(node, "axis", 0))
    quantised(fresh, y, given(node, 0), given(node, 1), given(node, 2), node.output[0])


def _where(node: onnx.NodeProto, fresh: Fresh) -> None:
    x = dequantised(fresh, given(node, 1), given(node, 2), given(node, 3))
    y = dequantised(fresh, given(node, 4), given(node, 5), given(node, 6))
    z = fresh.add("Where", given(node, 0), x, y)
    quantised(fresh, z, given(node, 7), given(node, 8), given(node, 1), node.output[0])


def _bias(fresh: Fresh, bias: str, scales: tuple[str, str], factor: float, axis: int) -> str:
    """A bias held in the accumulators' integers: its scale is the product of the other two."""
    scale = fresh.add("Mul", *scales)
    if factor != 1.0:
        scale = fresh.add("Mul", scale, fresh.scalar("alpha", factor, scale))
    return dequantised(fresh, bias, scale, "", axis)


def _gemm(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of A, a_scale, a_zero_point, B, b_scale, b_zero_point, C, y_scale, y_zero_point."""
    transposed = integer(node, "transB", 0)
    alpha = number(node, "alpha", 1.0)
    operands = [
        dequantised(fresh, given(node, 0), given(node, 1), given(node, 2)),
        dequantised(fresh, given(node, 3), given(node, 4), given(node, 5), 0 if transposed else 1),
    ]
    if given(node, 6):
        scales = (given(node, 1), given(node, 4))
        operands.append(_bias(fresh, given(node, 6), scales, alpha, -1))
    attributes = stated(node, ("alpha", "transA", "transB"))
    if not given(node, 7):
        fresh.add("Gemm", *operands, to=node.output[0], stated=attributes)
        return
    y = fresh.add("Gemm", *operands, stated=attributes)
    quantised(fresh, y, given(node, 7), given(node, 8), given(node, 0), node.output[0])


def _convolution(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B."""
    last = bool(integer(node, "channels_last", 0))
    rank = rank_of(fresh, given(node, 3), default=4)
    x = dequantised(fresh, given(node, 0), given(node, 1), given(node, 2))
    operands = [
        planes(fresh, x, rank) if last else x,
        dequantised(fresh, given(node, 3), given(node, 4), given(node, 5), 0),
    ]
    if given(node, 8):
        scales = (given(node, 1), given(node, 4))
        operands.append(_bias(fresh, given(node, 8), scales, 1.0, 0))
    y = fresh.add("Conv", *operands, stated=stated(node, CONVOLUTION))
    y = restored(fresh, y, rank) if last else y
    quantised(fresh, y, given(node, 6), given(node, 7), given(node, 0), node.output[0])


def _standard(op: str) -> Rewrite:
    """The same operator in the standard domain; without `axis` there is one scale for all."""

    def rewrite(node: onnx.NodeProto, fresh: Fresh) -> None:
        scale = fresh.facts.element_type(given(node, 1))
        if scale != TensorProto.FLOAT and fresh.opset < 19:
            raise NoDefinitionError("scales are 32-bit floats before opset 19")
        fresh.add(op, *node.input, to=node.output[0], stated=stated(node, ("axis",)))

    return rewrite


QUANTISED: dict[str, Rewrite] = {
    "QuantizeLinear": _standard("QuantizeLinear"),
    "DequantizeLinear": _standard("DequantizeLinear"),
    "QLinearAdd": _binary("Add"),
    "QLinearMul": _binary("Mul"),
    "QLinearSigmoid": _unary(_sigmoid),
    "QLinearLeakyRelu": _unary(_leaky_relu),
    "QLinearSoftmax": _unary(_softmax),
    "QLinearReduceMean": _unary(_reduce_mean),
    "QLinearGlobalAveragePool": _unary(_global_average_pool),
    "QLinearAveragePool": _unary(_average_pool),
    "QLinearConcat": _concat,
    "QLinearWhere": _where,
    "QLinearConv": _convolution,
    "QGemm": _gemm,
}
