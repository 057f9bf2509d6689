"""Quantised operators of ONNX Runtime, for ONNX's own evaluator, which does not know them.

And those of the standard as they were in opsets that it does not know any longer.  Each
dequantises what it reads, computes in floats, and quantises what it writes.

Source: docs/ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx.reference.op_run import OpRun

Array = npt.NDArray[Any]


def _numbers(given: Sequence[Array | None], axis: int | None = None) -> Array:
    """The numbers of integers, their scale and zero point; several of these lie along an axis."""
    x, scale, zero = given
    assert x is not None
    assert scale is not None

    def spread(values: Array) -> Array:
        shape = [-1 if place == axis else 1 for place in range(x.ndim)]
        return values.reshape(shape if values.size > 1 else ())

    start = np.zeros(1) if zero is None else np.asarray(zero, np.float64)
    return (x - spread(start)) * spread(np.asarray(scale, np.float64))


def _integers(y: Array, scale: Array, zero: Array | None, like: Array) -> tuple[Array]:
    """Numbers as integers of the type of the zero point, else of another array."""
    kind = like.dtype if zero is None else zero.dtype
    bounds = np.iinfo(kind)
    steps = np.rint(y / np.float64(scale)) + (0 if zero is None else np.float64(zero))
    return (np.clip(steps, bounds.min, bounds.max).astype(kind),)


class _Contrib(OpRun):
    """An operator of ONNX Runtime's domain."""

    op_domain = "com.microsoft"


class QLinearAdd(_Contrib):
    """Of A, its scale and zero point, B, its scale and zero point, and those of the result."""

    def _run(self, *inputs: Array) -> tuple[Array]:
        a, b = _numbers(inputs[:3]), _numbers(inputs[3:6])
        return _integers(a + b, *_result(inputs, 6), inputs[0])


class QLinearMul(_Contrib):
    """As QLinearAdd."""

    def _run(self, *inputs: Array) -> tuple[Array]:
        a, b = _numbers(inputs[:3]), _numbers(inputs[3:6])
        return _integers(a * b, *_result(inputs, 6), inputs[0])


class QLinearSigmoid(_Contrib):
    """Of X, its scale and zero point, and those of the result."""

    def _run(self, *inputs: Array) -> tuple[Array]:
        return _integers(1 / (1 + np.exp(-_numbers(inputs[:3]))), *_result(inputs, 3), inputs[0])


class QLinearLeakyRelu(_Contrib):
    """As QLinearSigmoid."""

    def _run(self, *inputs: Array, alpha: float = 0.01) -> tuple[Array]:
        x = _numbers(inputs[:3])
        return _integers(np.where(x < 0, alpha * x, x), *_result(inputs, 3), inputs[0])


class QLinearGlobalAveragePool(_Contrib):
    """As QLinearSigmoid."""

    def _run(self, *inputs: Array, channels_last: int = 0) -> tuple[Array]:
        x = _numbers(inputs[:3])
        axes = tuple(range(1, x.ndim - 1) if channels_last else range(2, x.ndim))
        return _integers(x.mean(axis=axes, keepdims=True), *_result(inputs, 3), inputs[0])


class QLinearConcat(_Contrib):
    """Of scale and zero point of the result, and of each map with its own."""

    def _run(self, *inputs: Array, axis: int = 0) -> tuple[Array]:
        parts = [_numbers(inputs[i : i + 3]) for i in range(2, len(inputs), 3)]
        return _integers(np.concatenate(parts, axis), inputs[0], inputs[1], inputs[2])


class QGemm(_Contrib):
    """Of A and B with their scales and zero points, C, and scale and zero point of the result.

    C has the scale alpha times those of A and B; without a scale the result is numbers.
    """

    def _run(self, *inputs: Array, **attributes: Any) -> tuple[Array]:
        a, b = _numbers(inputs[:3]), _numbers(inputs[3:6], 0 if attributes.get("transB") else 1)
        a, b = (a.T if attributes.get("transA") else a), (b.T if attributes.get("transB") else b)
        alpha = attributes.get("alpha", 1.0)
        y = alpha * (a @ b)
        if len(inputs) > 6 and inputs[6] is not None:
            y = y + inputs[6] * (alpha * np.float64(inputs[1]) * np.float64(inputs[4]))
        if len(inputs) <= 7 or inputs[7] is None:
            return (y.astype(np.float32),)
        return _integers(y, *_result(inputs, 7), inputs[0])


def _result(inputs: tuple[Array, ...], place: int) -> tuple[Array, Array | None]:
    """Scale and zero point of the result, the scale at a place among the inputs."""
    return inputs[place], inputs[place + 1] if len(inputs) > place + 1 else None


class QuantizeLinear(OpRun):
    """The standard operator before opset 19, which ONNX's evaluator no longer has."""

    op_domain = ""

    def _run(self, x: Array, *meaning: Array, **attributes: Any) -> tuple[Array]:
        place = attributes["axis"] % max(x.ndim, 1)
        shape = [-1 if axis == place else 1 for axis in range(x.ndim)]
        each = [np.reshape(values, shape if values.size > 1 else ()) for values in meaning]
        return _integers(x, each[0], each[1] if len(each) > 1 else None, np.zeros((), np.uint8))


class DequantizeLinear(OpRun):
    """The standard operator before opset 19, which ONNX's evaluator no longer has."""

    op_domain = ""

    def _run(self, x: Array, *meaning: Array, **attributes: Any) -> tuple[Array]:
        scale, zero = (*meaning, None)[:2]
        return (_numbers((x, scale, zero), attributes["axis"] % max(x.ndim, 1)).astype(np.float32),)


UP_TO_18 = (QuantizeLinear, DequantizeLinear)
OPERATORS = (
    *(QLinearAdd, QLinearMul, QLinearSigmoid, QLinearLeakyRelu),
    *(QLinearGlobalAveragePool, QLinearConcat, QGemm),
)
