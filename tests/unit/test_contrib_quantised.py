"""Quantised operators of com.microsoft against numpy, from their documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.support.contrib import (
    assert_close,
    checked,
    convolved,
    evaluated,
    floats,
    integers,
    product,
    single,
)

Array = npt.NDArray[Any]


def scale(value: float) -> Array:
    return np.array(value, np.float32)


def zero(value: int, kind: Any = np.uint8) -> Array:
    return np.array(value, kind)


def real(x: Array, factor: Array, zero_point: Array | None) -> Array:
    """The numbers that a quantised array stands for."""
    shift = 0 if zero_point is None else zero_point.astype(np.float32)
    return ((x.astype(np.float32) - shift) * factor).astype(np.float32)


def stored(y: Array, factor: Array, zero_point: Array) -> Array:
    """Numbers as a quantised array: rounded to even, saturated."""
    bounds = np.iinfo(zero_point.dtype)
    shifted = np.rint(y / factor) + zero_point.astype(np.float32)
    return np.asarray(np.clip(shifted, bounds.min, bounds.max), zero_point.dtype)


def assert_stored(actual: Array, expected: Array) -> None:
    """Equal but for ties that float rounding decides: one step, of few elements."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    difference = np.abs(actual.astype(int) - expected.astype(int))
    assert difference.max(initial=0) <= 1
    assert np.count_nonzero(difference) <= max(1, difference.size // 50)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize(("op", "compute"), [("QLinearAdd", np.add), ("QLinearMul", np.multiply)])
@pytest.mark.parametrize("shapes", [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((1, 3), (2, 1))])
def test_binary(
    op: str,
    compute: Callable[[Array, Array], Array],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    kind: Any,
) -> None:
    a, b = (integers(kind, *shape, seed=i) for i, shape in enumerate(shapes))
    scales = [scale(0.05), scale(0.11), scale(0.3)]
    zeros = [zero(3, kind), zero(100, kind), zero(7, kind)]
    (y,) = evaluated(op, [a, scales[0], zeros[0], b, scales[1], zeros[1], scales[2], zeros[2]])
    expected = compute(real(a, scales[0], zeros[0]), real(b, scales[1], zeros[1]))
    assert_stored(y, stored(expected, scales[2], zeros[2]))


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_zero_points_left_out_are_zero(kind: Any) -> None:
    a, b = integers(kind, 3, 5), integers(kind, 3, 5, seed=1)
    scales = [scale(0.05), scale(0.11), scale(0.2)]
    (y,) = evaluated("QLinearAdd", [a, scales[0], None, b, scales[1], None, scales[2]])
    expected = real(a, scales[0], None) + real(b, scales[1], None)
    assert_stored(y, stored(expected, scales[2], zero(0, kind)))


def softmax(x: Array, axis: int | tuple[int, ...]) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    result: Array = e / e.sum(axis, keepdims=True)
    return result


UNARY: dict[str, tuple[str, dict[str, Any], Callable[[Array], Array]]] = {
    "sigmoid": ("QLinearSigmoid", {}, lambda x: 1 / (1 + np.exp(-x))),
    "leaky": ("QLinearLeakyRelu", {"alpha": 0.3}, lambda x: np.where(x < 0, 0.3 * x, x)),
    "leaky_default": ("QLinearLeakyRelu", {}, lambda x: np.where(x < 0, 0.01 * x, x)),
    "softmax": ("QLinearSoftmax", {"axis": 1, "opset": 13}, lambda x: softmax(x, 1)),
    "softmax_last": ("QLinearSoftmax", {"opset": 11}, lambda x: softmax(x, -1)),
    "softmax_old": ("QLinearSoftmax", {"axis": 2, "opset": 11}, lambda x: softmax(x, (2, 3))),
    "mean": (
        "QLinearReduceMean",
        {"axes": [2, 3], "keepdims": 1},
        lambda x: x.mean((2, 3), keepdims=True),
    ),
    "mean_flat": ("QLinearReduceMean", {"axes": [1], "keepdims": 0}, lambda x: x.mean(1)),
    "global": (
        "QLinearGlobalAveragePool",
        {"channels_last": 0},
        lambda x: x.mean((2, 3), keepdims=True),
    ),
    "global_last": (
        "QLinearGlobalAveragePool",
        {"channels_last": 1},
        lambda x: x.mean((1, 2), keepdims=True),
    ),
}


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("case", UNARY)
def test_unary(case: str, kind: Any) -> None:
    op, attributes, compute = UNARY[case]
    x = integers(kind, 2, 3, 4, 5)
    inputs = [x, scale(0.04), zero(9, kind), scale(0.013), zero(20, kind)]
    (y,) = evaluated(op, inputs, attributes)
    expected = compute(real(x, inputs[1], inputs[2]))
    assert_stored(y, stored(expected, inputs[3], inputs[4]))


def averages(x: Array, size: int, stride: int, pad: int, count_pad: bool) -> Array:
    """Average pooling of (n, c, h, w), window by window."""
    n, c, h, w = x.shape
    extents = [(extent + 2 * pad - size) // stride + 1 for extent in (h, w)]
    y = np.zeros((n, c, *extents), np.float32)
    for row in range(extents[0]):
        for column in range(extents[1]):
            top, left = row * stride - pad, column * stride - pad
            part = x[:, :, max(0, top) : top + size, max(0, left) : left + size]
            elements = size * size if count_pad else part.shape[2] * part.shape[3]
            y[:, :, row, column] = part.sum((2, 3)) / elements
    return y


@pytest.mark.parametrize("channels_last", [0, 1])
@pytest.mark.parametrize("count_pad", [0, 1])
def test_average_pool(channels_last: int, count_pad: int) -> None:
    x = integers(np.uint8, 2, 3, 7, 7)
    inputs = [x, scale(0.02), zero(128), scale(0.015), zero(100)]
    if channels_last:
        inputs[0] = x.transpose(0, 2, 3, 1).copy()
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    attributes = {**window, "count_include_pad": count_pad, "channels_last": channels_last}
    (y,) = evaluated("QLinearAveragePool", inputs, attributes)
    expected = averages(real(x, inputs[1], inputs[2]), 3, 2, 1, bool(count_pad))
    expected = expected.transpose(0, 2, 3, 1) if channels_last else expected
    assert_stored(y, stored(expected, inputs[3], inputs[4]))


def test_concat() -> None:
    parts = [integers(np.uint8, 2, c, 3, seed=c) for c in (1, 2, 4)]
    scales, zeros = [scale(s) for s in (0.1, 0.02, 0.05)], [zero(z) for z in (0, 128, 255)]
    triples = [a for triple in zip(parts, scales, zeros, strict=True) for a in triple]
    (y,) = evaluated("QLinearConcat", [scale(0.08), zero(60), *triples], {"axis": 1})
    numbers = [real(*t) for t in zip(parts, scales, zeros, strict=True)]
    assert_stored(y, stored(np.concatenate(numbers, 1), scale(0.08), zero(60)))


def test_where() -> None:
    condition = integers(np.uint8, 4, 1) > 100
    x, y = integers(np.int8, 4, 5), integers(np.int8, 5, seed=1)
    sides = [x, scale(0.1), zero(3, np.int8), y, scale(0.05), zero(-8, np.int8)]
    (z,) = evaluated("QLinearWhere", [condition, *sides, scale(0.07), zero(1, np.int8)])
    expected = np.where(condition, real(x, sides[1], sides[2]), real(y, sides[4], sides[5]))
    assert_stored(z, stored(expected, scale(0.07), zero(1, np.int8)))


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("quantised_result", [False, True])
def test_gemm(transposed: int, per_column: bool, bias: bool, quantised_result: bool) -> None:
    a, b = integers(np.uint8, 4, 6), integers(np.int8, 6, 5)
    b_scale = np.linspace(0.01, 0.05, 5, dtype=np.float32) if per_column else scale(0.02)
    b_zero = np.arange(5, dtype=np.int8) if per_column else zero(3, np.int8)
    c = np.arange(-2000, 3000, 1000, dtype=np.int32) if bias else None
    inputs = [a, scale(0.03), zero(7), b.T.copy() if transposed else b, b_scale, b_zero, c]
    if quantised_result:
        inputs += [scale(0.9), zero(120)]
    attributes = {"alpha": 0.5, "transB": transposed}
    (y,) = evaluated("QGemm", inputs, attributes, constants=[i for i in (3, 6) if i != 6 or bias])
    expected = 0.5 * product(real(a, scale(0.03), zero(7)), real(b, b_scale, b_zero))
    if c is not None:
        expected = expected + c * (0.5 * 0.03 * b_scale.astype(np.float64))
    if quantised_result:
        assert_stored(y, stored(expected, scale(0.9), zero(120)))
    else:
        assert_close(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels_last", [0, 1])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_quantised_convolution(channels_last: int, groups: int, bias: bool) -> None:
    x, w = integers(np.uint8, 1, 4, 6, 6), integers(np.int8, 6, 4 // groups, 3, 3)
    w_scale = np.linspace(0.005, 0.01, 6, dtype=np.float32)
    w_zero = np.zeros(6, np.int8)
    b = np.arange(-30000, 30000, 10000, dtype=np.int32) if bias else None
    shown = x.transpose(0, 2, 3, 1).copy() if channels_last else x
    ends = [scale(0.05), zero(100, np.uint8)]
    inputs = [shown, scale(0.02), zero(128), w, w_scale, w_zero, *ends, b]
    window = {"strides": [2, 2], "pads": [1, 1, 1, 1], "kernel_shape": [3, 3], "group": groups}
    (y,) = evaluated("QLinearConv", inputs, {**window, "channels_last": channels_last})
    numbers = real(x, scale(0.02), zero(128))
    wide = w_scale.reshape(-1, 1, 1, 1)
    expected = convolved(numbers, real(w, wide, w_zero.reshape(-1, 1, 1, 1)), 2, 1, groups)
    if b is not None:
        expected += (b * (0.02 * w_scale.astype(np.float64))).reshape(1, -1, 1, 1)
    expected = expected.transpose(0, 2, 3, 1) if channels_last else expected
    assert_stored(y, stored(expected, *ends))


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("axis", [None, 1])
def test_quantise_and_dequantise(kind: Any, axis: int | None) -> None:
    x = floats(3, 4, 2)
    factors = scale(0.02) if axis is None else np.array([0.1, 0.02, 0.3, 0.04], np.float32)
    zeros = zero(5, kind) if axis is None else np.array([1, 2, 3, 4], kind)
    attributes = {} if axis is None else {"axis": axis}
    (q,) = evaluated("QuantizeLinear", [x, factors, zeros], attributes)
    wide = factors if axis is None else factors.reshape(-1, 1)
    wide_zeros = zeros if axis is None else zeros.reshape(-1, 1)
    assert_stored(q, stored(x, wide, wide_zeros))
    (y,) = evaluated("DequantizeLinear", [q, factors, zeros], attributes)
    assert_close(y, real(q, wide, wide_zeros))


# ---------------------------------------------------------------- products of integers


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("per_column", [False, True])
def test_integer_matmul_to_float(bias: bool, per_column: bool) -> None:
    a, b = integers(np.uint8, 2, 4, 6), integers(np.int8, 6, 5)
    b_scale = np.linspace(0.01, 0.05, 5, dtype=np.float32) if per_column else scale(0.02)
    b_zero = np.arange(5, dtype=np.int8) if per_column else zero(3, np.int8)
    c = floats(5) if bias else None
    (y,) = evaluated(
        "MatMulIntegerToFloat", [a, b, scale(0.1), b_scale, zero(100), b_zero, c], constants=[1]
    )
    expected = product(real(a, scale(0.1), zero(100)), real(b, b_scale, b_zero))
    assert_close(y, expected + (0 if c is None else c), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [False, True])
def test_dynamically_quantised_matmul(bias: bool) -> None:
    a, b = floats(2, 4, 6), integers(np.uint8, 6, 5)
    b_scale, b_zero = np.linspace(0.01, 0.05, 5, dtype=np.float32), zero(128)
    c = floats(5, seed=1) if bias else None
    (y,) = evaluated("DynamicQuantizeMatMul", [a, b, b_scale, np.full(5, b_zero), c], constants=[1])
    low, high = min(0.0, a.min()), max(0.0, a.max())
    step = scale((high - low) / 255)
    shift = np.array(np.clip(np.rint(-low / step), 0, 255), np.uint8)
    seen = real(stored(a, step, shift), step, shift)
    expected = product(seen, real(b, b_scale, b_zero)) + (0 if c is None else c)
    assert_close(y, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("opset", [13, 18])
def test_quantised_definitions_are_legal_in_old_opsets(opset: int) -> None:
    """The evaluator knows DequantizeLinear from opset 19 on only; its checker knows all."""
    x = integers(np.uint8, 1, 4, 6, 6)
    inputs = [x, scale(0.1), zero(0), scale(0.1), zero(0)]
    for case, (op, attributes, _) in UNARY.items():
        checked(single(op, inputs, attributes, opset))
        assert case
