"""The network's own answer: ONNX's reference evaluator on weights drawn from a seed.

Weights that the file does not carry are drawn as small integers, so that sums of products
are exact in float32 and a replay can be compared bit for bit where the operators allow.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference import ReferenceEvaluator

FloatArrays = dict[str, npt.NDArray[np.float32]]


def _variances(model: onnx.ModelProto) -> set[str]:
    return {
        node.input[4]
        for node in model.graph.node
        if node.op_type == "BatchNormalization" and len(node.input) > 4
    }


def with_weights(model: onnx.ModelProto, seed: int, unit_gain: bool = False) -> onnx.ModelProto:
    """A copy of the model in which every external float initialiser has values.

    Values are integers in [-2, 2], variances in [1, 2].  With `unit_gain` kernels are
    divided by the square root of what they reduce over, so that the values of a deep
    network stay in range.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    generator = np.random.default_rng(seed)
    variances = _variances(copy)
    for tensor in copy.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        low, high = (1, 3) if tensor.name in variances else (-2, 3)
        values = generator.integers(low, high, tuple(tensor.dims)).astype(np.float32)
        if unit_gain and values.ndim > 1:
            values /= np.sqrt(2 * values[0].size, dtype=np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return copy


def random_inputs(shapes: Mapping[str, tuple[int, ...]], seed: int) -> FloatArrays:
    """Small integer inputs of the given shapes, as float32."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.integers(-3, 4, shape).astype(np.float32)
        for name, shape in sorted(shapes.items())
    }


def drawn_inputs(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, npt.NDArray[np.generic]]:
    """Inputs of the given shapes: normal numbers, rows of the table that an input indexes, else 1.

    An input that the model does not name, as one of a part of it, is real.
    """
    kinds = {
        value.name: tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in model.graph.input
    }
    rows = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    tables = {
        node.input[1]: rows[node.input[0]]
        for node in model.graph.node
        if node.op_type == "Gather" and node.input[0] in rows
    }
    found: dict[str, npt.NDArray[np.generic]] = {}
    for place, (name, shape) in enumerate(sorted(shapes.items())):
        generator = np.random.default_rng([seed, place])
        kind = kinds.get(name, np.dtype(np.float32))
        if np.issubdtype(kind, np.floating):
            found[name] = generator.standard_normal(shape).astype(kind)
        elif name in tables:
            found[name] = generator.integers(0, tables[name], shape).astype(kind)
        else:
            found[name] = np.ones(shape, kind)
    return found


def evaluate_model(
    model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[np.generic]]
) -> tuple[str, dict[str, npt.NDArray[np.generic]]]:
    """Who evaluated the network, and its outputs by name."""
    results = ReferenceEvaluator(model).run(None, dict(inputs))
    names = [value.name for value in model.graph.output]
    found = {name: np.asarray(value) for name, value in zip(names, results, strict=True)}
    return "ONNX's reference evaluator", found


def evaluate_reference(model: onnx.ModelProto, inputs: FloatArrays) -> FloatArrays:
    """Outputs of the network by name, as ONNX's reference evaluator computes them."""
    results = ReferenceEvaluator(model).run(None, dict(inputs))
    names = [value.name for value in model.graph.output]
    return {name: np.asarray(value) for name, value in zip(names, results, strict=True)}
