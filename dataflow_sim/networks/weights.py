"""Random weights for networks that are built without any: reproducible, and of a sane size.

A kernel is drawn so that a layer keeps the size of what it reads (He et al., arXiv:1502.01852, for
convolutions, whose results mostly lose their negative half; LeCun's rule for matrix products).
Normalisation is near the identity.  Every tensor has a generator of its own, of the seed and its
name, so that a tensor's values do not depend on the rest of the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod, sqrt
from zlib import crc32

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype

from dataflow_sim.networks.quantised_weights import QuantisedConstants

# (operator, place among its inputs) -> (centre, spread) of what is no kernel
_NEAR_ONE = (1.0, 0.1)
_NEAR_ZERO = (0.0, 0.1)
_PLAIN = {
    ("BatchNormalization", 1): _NEAR_ONE,
    ("InstanceNormalization", 1): _NEAR_ONE,
    ("LayerNormalization", 1): _NEAR_ONE,
    ("RMSNormalization", 1): _NEAR_ONE,
    ("Mul", 0): _NEAR_ONE,
    ("Mul", 1): _NEAR_ONE,
    ("PRelu", 1): (0.25, 0.05),
    ("Gather", 0): (0.0, 1.0),
}
_VARIANCE = ("BatchNormalization", 4)
_LEAST_VARIANCE = 0.5

Array = npt.NDArray[np.float32]


def is_left_out(tensor: TensorProto) -> bool:
    """Whether a constant is learned: its data is said to be elsewhere."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def filled(model: onnx.ModelProto, seed: int) -> tuple[onnx.ModelProto, int]:
    """A copy of any model in which constants that lie elsewhere are drawn, and how many they are.

    Real numbers are drawn as `random_weights` does; integers that stand for numbers, their scales
    and their zero points as `quantised_weights` says; other 8-bit integers over all of their
    range; a wider integer, which steers an operator, is 0.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    uses, quantised = _uses(copy), QuantisedConstants(copy)
    count = 0
    for tensor in copy.graph.initializer:
        if not is_left_out(tensor):
            continue
        count += 1
        generator = np.random.default_rng([seed, crc32(tensor.name.encode())])
        kind, shape = tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims)
        values: npt.NDArray[np.generic] | None = quantised.drawn(tensor, generator)
        if values is not None:
            pass
        elif np.issubdtype(kind, np.floating):
            node, place = uses.get(tensor.name, (onnx.NodeProto(), 0))
            values = _drawn(generator, shape, node, place).astype(kind)
        elif kind in (np.int8, np.uint8):
            values = generator.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, shape, kind)
        else:
            values = np.zeros(shape, kind)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return copy, count


def _uses(model: onnx.ModelProto) -> dict[str, tuple[onnx.NodeProto, int]]:
    """The first node that reads each value, and the place among its inputs."""
    uses: dict[str, tuple[onnx.NodeProto, int]] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            uses.setdefault(name, (node, place))
    return uses


def random_weights(model: onnx.ModelProto, seed: int) -> Iterator[tuple[TensorProto, Array]]:
    """Every learned constant of a model that `networks` built, with values drawn for it."""
    uses = _uses(model)
    for tensor in model.graph.initializer:
        if is_left_out(tensor):
            generator = np.random.default_rng([seed, crc32(tensor.name.encode())])
            yield tensor, _drawn(generator, tuple(tensor.dims), *uses[tensor.name])


def _drawn(
    generator: np.random.Generator, shape: tuple[int, ...], node: onnx.NodeProto, place: int
) -> Array:
    values = generator.standard_normal(shape, np.float32)
    if (node.op_type, place) == _VARIANCE:
        return np.square(values) * np.float32(1 - _LEAST_VARIANCE) + np.float32(_LEAST_VARIANCE)
    centre, spread = _PLAIN.get((node.op_type, place), _NEAR_ZERO)
    if place == 1:
        spread = _kernel_spread(node, shape) or spread
    values *= np.float32(spread)
    values += np.float32(centre)
    return values


def _kernel_spread(node: onnx.NodeProto, shape: tuple[int, ...]) -> float | None:
    """Standard deviation of a kernel from how many products a result sums; None for others."""
    if node.op_type == "Conv":
        return sqrt(2 / prod(shape[1:]))
    if node.op_type == "ConvTranspose":
        (strides,) = [list(a.ints) for a in node.attribute if a.name == "strides"] or [[1]]
        return sqrt(2 * prod(strides) / (shape[0] * prod(shape[2:])))
    if node.op_type == "MatMul":
        return sqrt(1 / shape[-2])
    if node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return sqrt(1 / shape[1 if transposed else 0])
    return None
