"""Convolutions and matrix products fused with what stands around them."""

from __future__ import annotations

from math import prod

import onnx
from onnx import TensorProto

from dataflow_sim.ingest.contrib.activations import activated
from dataflow_sim.ingest.contrib.fresh import (
    Fresh,
    NoDefinitionError,
    given,
    has,
    integer,
    number,
    numbers,
    stated,
    text,
)
from dataflow_sim.ingest.contrib.layouts import CONVOLUTION
from dataflow_sim.ingest.contrib.quantised import Rewrite, dequantised

_GEMM = ("alpha", "beta", "transA", "transB")


def _fused_convolution(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of X, W, B, Z: activation(convolution + Z)."""
    operands = [name for name in (given(node, i) for i in range(3)) if name]
    activation, z = text(node, "activation", ""), given(node, 3)
    end = node.output[0]
    window = stated(node, CONVOLUTION)
    y = fresh.add("Conv", *operands, to="" if z or activation else end, stated=window)
    if z:
        y = fresh.add("Add", y, z, to="" if activation else end)
    if activation:
        activated(fresh, y, activation, numbers(node, "activation_params"), end)


def _fused_gemm(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of A, B, C: activation(alpha A B + beta C)."""
    operands = [name for name in (given(node, i) for i in range(3)) if name]
    activation = text(node, "activation", "")
    end = node.output[0]
    y = fresh.add("Gemm", *operands, to="" if activation else end, stated=stated(node, _GEMM))
    if activation:
        names = ("leaky_relu_alpha", "activation_alpha", "activation_beta", "activation_gamma")
        parameters = tuple(number(node, name, 0.0) for name in names if has(node, name))
        activated(fresh, y, activation, parameters, end)


def _transposed(fresh: Fresh, x: str, matrix: bool, batch: bool) -> str:
    """A factor of FusedMatMul as MatMul takes it: (batch, ..., rows, columns).

    `matrix` swaps the last two axes; with `batch` the rows stand in front of the batch axes.
    Of a value that nothing is known of, Einsum swaps the last axes, however many there are.
    """
    if not (matrix or batch):
        return x
    rank = fresh.facts.rank(x)
    if rank is None:
        if batch:
            raise NoDefinitionError("the number of axes is unknown")
        return fresh.add("Einsum", x, equation="...ij->...ji")
    if rank < 2:
        return x
    axes = [*range(1, rank - 1), 0, rank - 1] if batch else list(range(rank))
    if matrix:
        axes[-2:] = axes[:-3:-1]
    return fresh.add("Transpose", x, perm=axes)


def _fused_matmul(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of A and B: alpha A B, either transposed before."""
    factors = [
        _transposed(
            fresh,
            node.input[position],
            bool(integer(node, f"trans{side}", 0)),
            bool(integer(node, f"transBatch{side}", 0)),
        )
        for position, side in enumerate("AB")
    ]
    alpha = number(node, "alpha", 1.0)
    end = node.output[0]
    y = fresh.add("MatMul", *factors, to=end if alpha == 1.0 else "")
    if alpha != 1.0:
        fresh.add("Mul", y, fresh.scalar("alpha", alpha, y), to=end)


def _with_bias(fresh: Fresh, a: str, b: str, bias: str, end: str) -> None:
    y = fresh.add("MatMul", a, b, to="" if bias else end)
    if bias:
        fresh.add("Add", y, bias, to=end)


def _integer_matmul_to_float(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias."""
    a = dequantised(fresh, given(node, 0), given(node, 2), given(node, 4), -1)
    b = dequantised(fresh, given(node, 1), given(node, 3), given(node, 5), -1)
    _with_bias(fresh, a, b, given(node, 6), node.output[0])


def _dynamic_matmul(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of A, B, b_scale, b_zero_point, bias: A is quantised by its own range first."""
    a, scale, zero = fresh.add_many("DynamicQuantizeLinear", (given(node, 0),), ("", "", ""))
    a = dequantised(fresh, a, scale, zero)
    b = dequantised(fresh, given(node, 1), given(node, 2), given(node, 3), -1)
    _with_bias(fresh, a, b, given(node, 4), node.output[0])


# elements of N bits as ONNX packs them: lowest bits first, as MatMulNBits does
_OF_WIDTH = {
    bits: int(getattr(TensorProto, name))
    for bits, name in ((2, "UINT2"), (4, "UINT4"), (8, "UINT8"))
    if hasattr(TensorProto, name)
}


def _check_packed(fresh: Fresh, name: str, bits: int, dims: tuple[int, ...]) -> None:
    """Raise NoDefinitionError unless an initialiser holds that many integers of `bits` bits."""
    tensor = fresh.facts.tensor(name)
    if tensor is None or tensor.data_type != TensorProto.UINT8:
        raise NoDefinitionError("packed integers that are no initialiser of bytes")
    if prod(tensor.dims) * 8 != prod(dims) * bits:
        raise NoDefinitionError("packed integers in another order")


def _narrow_matmul(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of A, B, scales, zero_points, g_idx, bias: a MatMul with a weight of `bits` bits.

    B's bytes are ONNX's own packing of unsigned integers of that width in the shape (outputs,
    blocks, block size), so B becomes an initialiser of that type, with its data where they
    are.  Cast, zero point and scale make floats of it; Cast lists the type from opset 21 on
    only, and nothing else could say the width.
    """
    a, packed, scales, zero_points = (given(node, i) for i in range(4))
    bits, size = integer(node, "bits", 4), integer(node, "block_size", 0)
    depth, outputs = integer(node, "K", 0), integer(node, "N", 0)
    if bits not in _OF_WIDTH or min(size, depth, outputs) < 1:
        raise NoDefinitionError("bits are 2, 4 or 8; K, N and block_size start at 1")
    if given(node, 4) or integer(node, "weight_prepacked", 0):
        raise NoDefinitionError("weights in another order")
    blocks = -(-depth // size)
    kind = fresh.facts.element_type(scales)
    dims = (outputs, blocks, size)
    zero_dims = (outputs, -(-blocks * bits // 8) * 8 // bits)
    zeros_are_packed = zero_points and fresh.facts.element_type(zero_points) == TensorProto.UINT8
    _check_packed(fresh, packed, bits, dims)
    if zeros_are_packed:
        _check_packed(fresh, zero_points, bits, zero_dims)
        zero = fresh.seen_as(zero_points, _OF_WIDTH[bits], zero_dims)
        zero = fresh.sliced(fresh.cast(zero, kind), 1, 0, blocks)
    else:
        zero = zero_points
    if zero:
        zero = fresh.reshaped(zero, outputs, blocks, 1)
    else:
        zero = fresh.constant("zero_point", 2 ** (bits - 1), kind)
    weight = fresh.cast(fresh.seen_as(packed, _OF_WIDTH[bits], dims), kind)
    weight = fresh.add("Sub", weight, zero)
    weight = fresh.add("Mul", weight, fresh.reshaped(scales, outputs, blocks, 1))
    weight = fresh.reshaped(weight, outputs, blocks * size)
    if blocks * size != depth:
        weight = fresh.sliced(weight, 1, 0, depth)
    weight = fresh.add("Transpose", weight, perm=[1, 0])
    _with_bias(fresh, a, weight, given(node, 5), node.output[0])


PRODUCTS: dict[str, Rewrite] = {
    "FusedConv": _fused_convolution,
    "FusedGemm": _fused_gemm,
    "FusedMatMul": _fused_matmul,
    "TransposeMatMul": _fused_matmul,
    "MatMulIntegerToFloat": _integer_matmul_to_float,
    "DynamicQuantizeMatMul": _dynamic_matmul,
    "MatMulNBits": _narrow_matmul,
}
