"""Random integers for quantised networks, with scales that keep maps within their ranges.

A kernel of b bits is a sum of three integers between thirds of its range: to the ends of the type,
most often near its middle.  Its scales give its numbers a variance of 2 / (inputs and outputs of a
channel, averaged), all within a tenth of each other; a zero point lies in the middle of its type; a
bias is a few thousand units of the products that it is added to, or of a ten-thousandth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod, sqrt

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

Array = npt.NDArray[np.generic]

# of quantised data: where data, scale and zero point stand, -1 for data that is a result
_QUANTISED: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "DequantizeLinear": ((0, 1, 2),),
    "QuantizeLinear": ((-1, 1, 2),),
    **dict.fromkeys(
        ("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"),
        ((0, 1, 2), (3, 4, 5), (-1, 6, 7)),
    ),
    "QGemm": ((0, 1, 2), (3, 4, 5), (-1, 7, 8)),
}
_BIASES = {"QLinearConv": 8, "QGemm": 6}
_BIAS_SCALE = 1e-4
_LARGEST_BIAS = 3000


class QuantisedConstants:
    """Which constants of a model are integers that stand for numbers, scales, or zero points."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.known = {tensor.name: tensor for tensor in model.graph.initializer}
        self.data: set[str] = set()
        self.zeros: set[str] = set()
        self.scales: dict[str, str] = {}
        for data, scale, zero in _triples(model):
            self.data.add(data)
            self.zeros.add(zero)
            if scale not in self.scales or data in self.known:
                self.scales[scale] = data

    def drawn(self, tensor: TensorProto, generator: np.random.Generator) -> Array | None:
        """Values of a constant, None where it has no part in the network's being quantised."""
        kind, shape = tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims)
        if tensor.name in self.scales:
            typical = self._typical(self.known.get(self.scales[tensor.name]))
            return np.asarray(generator.integers(90, 111, shape) * (typical / 100), kind)
        if tensor.name in self.zeros:
            return np.full(shape, _middle(tensor), kind)
        if tensor.name not in self.data:
            return None
        if tensor.data_type == TensorProto.INT32:
            return generator.integers(-_LARGEST_BIAS, _LARGEST_BIAS + 1, shape).astype(kind)
        third = _reach(tensor) // 3
        thirds = (generator.integers(-third, third + 1, shape) for _ in range(3))
        return (sum(thirds, np.zeros(shape, np.int64)) + _middle(tensor)).astype(kind)

    @staticmethod
    def _typical(data: TensorProto | None) -> float:
        """A scale for a kernel's integers, or for a bias's."""
        if data is None or data.data_type == TensorProto.INT32 or len(data.dims) < 2:
            return _BIAS_SCALE
        channels = data.dims[0] + data.dims[1]
        return 3 * sqrt(4 / (prod(data.dims[2:]) * channels)) / _reach(data)


def _triples(model: onnx.ModelProto) -> Iterator[tuple[str, str, str]]:
    """Names of quantised data, of their scale and of their zero point, "" where there is none."""
    for node in model.graph.node:
        for places in _QUANTISED.get(node.op_type, ()):
            data, scale, zero = (
                node.input[place] if 0 <= place < len(node.input) else "" for place in places
            )
            yield data, scale, zero
        place = _BIASES.get(node.op_type, len(node.input))
        if place < len(node.input):
            yield node.input[place], "", ""


def _name(tensor: TensorProto) -> str:
    return str(TensorProto.DataType.Name(tensor.data_type))


def _reach(tensor: TensorProto) -> int:
    """How far the integers of a type go from their middle."""
    bits = int(_name(tensor).removeprefix("U").removeprefix("INT"))
    return int(2 ** (bits - 1)) - 1


def _middle(tensor: TensorProto) -> int:
    """The integer in the middle of a type."""
    return _reach(tensor) + 1 if _name(tensor).startswith("U") else 0
