"""Networks quantised by hand, and how far rounding may take their results from floats.

The float network that a pass leaves computes what the quantised one computes but for the
rounding of the maps.  How far that goes follows from the network itself: an error of half a
step enters with each quantised map and passes through a linear operator as through its
absolute weights, through Relu and MaxPool as through themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.graph.network import Constant
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.shapes.reader import resolve
from tests.support.resolved_models import Array, model_of
from tests.unit.passes.chains import Chain

OPSET = 21
_LINEAR = {"Conv": (1, 2), "Gemm": (1, 2), "MatMul": (1, 2), "Add": (9, 1)}


def draw(*shape: int, seed: int = 0) -> Array:
    """Numbers between -1 and 1."""
    return np.random.default_rng((seed, *shape)).uniform(-1, 1, shape).astype(np.float32)


def zero_of(kind: Any) -> Array:
    """A zero point in the middle of the type's range."""
    bounds = np.iinfo(kind)
    return np.array((int(bounds.max) + int(bounds.min) + 1) // 2, kind)


def step_for(reach: float, kind: Any) -> Array:
    """A scale with which the type reaches from -reach to reach."""
    return np.array(reach / (2 ** (np.iinfo(kind).bits - 1) - 1), np.float32)


class Net(Chain):
    """A chain that quantises maps and weights; `steps` holds the scale of each quantised map."""

    def __init__(self, **inputs: tuple[int, ...]) -> None:
        super().__init__(OPSET, **inputs)
        self.steps: dict[str, float] = {}

    def quantise(self, x: str, reach: float, kind: Any = np.int8) -> tuple[str, Array, Array]:
        """Append QuantizeLinear; returns the result, scale and zero point."""
        scale, zero = step_for(reach, kind), zero_of(kind)
        self.steps[x] = float(scale)
        return self.add("QuantizeLinear", x, scale, zero), scale, zero

    def pair(self, x: str, reach: float, kind: Any = np.int8) -> str:
        """Append QuantizeLinear and DequantizeLinear."""
        return self.add("DequantizeLinear", *self.quantise(x, reach, kind))

    def weight(self, *shape: int, axis: int = 0) -> str:
        """Append a constant of bytes, dequantised channel by channel."""
        scales = np.linspace(0.002, 0.004, shape[axis], dtype=np.float32)
        integers = np.rint(draw(*shape) * 127).astype(np.int8)
        zeros = np.zeros(shape[axis], np.int8)
        return self.add("DequantizeLinear", integers, scales, zeros, axis=axis)

    def bias(self, size: int) -> str:
        """Append a constant of 32-bit integers, dequantised."""
        return self.add("DequantizeLinear", np.arange(-9, size - 9, dtype=np.int32), 0.01)

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The model whose outputs these are."""
        graph = helper.make_graph(
            self.nodes,
            "quantised",
            self.inputs,
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])


def resolved(model: onnx.ModelProto) -> ResolvedNetwork:
    """A model resolved, without dimensions to bind."""
    return resolve(model, "quantised", {})


def computed(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What onnx's own evaluator says that a model computes, by output."""
    names = [value.name for value in model.graph.output]
    results = ReferenceEvaluator(model).run(names, dict(feeds))
    return {name: np.asarray(value) for name, value in zip(names, results, strict=True)}


def valued(network: ResolvedNetwork, values: Mapping[str, Array]) -> ResolvedNetwork:
    """The network with other values of some constants."""
    made = {name: Constant(name, value.shape, value) for name, value in values.items()}
    return replace(network, constants={**network.constants, **made})


def _as_copies(network: ResolvedNetwork) -> ResolvedNetwork:
    """Nodes that only quantise or dequantise, as Identity."""
    pairs = ("QuantizeLinear", "DequantizeLinear")
    nodes = tuple(
        replace(node, op="Identity") if node.op in pairs else node for node in network.nodes
    )
    return replace(network, nodes=nodes)


def in_floats(network: ResolvedNetwork, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What a network computes in floats, nothing rounded."""
    return computed(model_of(_as_copies(network)), feeds)


def bounds(network: ResolvedNetwork, steps: Mapping[str, float]) -> dict[str, Array]:
    """How far each output may be from the float one, if names have errors of half a step."""
    absolute: dict[str, Array] = {}
    nodes: list[Node] = []
    for node in _as_copies(network).nodes:
        for position, name in enumerate(node.inputs):
            constant = network.constants.get(name)
            if constant is not None and node.op in _LINEAR and constant.value is not None:
                weight = position == _LINEAR[node.op][0]
                absolute[name] = np.abs(constant.value) if weight else 0 * constant.value
        written = tuple(f"{name}~" if name in steps else name for name in node.outputs)
        nodes.append(replace(node, outputs=written))
        for name in node.outputs:
            if name in steps:
                absolute[f"{name} step"] = np.array(steps[name] / 2, np.float32)
                nodes.append(Node(f"{name}+", "Add", (f"{name}~", f"{name} step"), (name,), {}))
    errors = valued(replace(network, nodes=tuple(nodes)), absolute)
    feeds = {
        name: np.full(network.shapes[name], steps.get(name, 0) / 2, np.float32)
        for name in network.inputs
    }
    return computed(model_of(errors), feeds)


def assert_within(
    network: ResolvedNetwork,
    expected: Mapping[str, Array],
    feeds: Mapping[str, Array],
    steps: Mapping[str, float],
) -> None:
    """All outputs of a float network agree with those expected but for the rounding of maps."""
    actual, allowed = in_floats(network, feeds), bounds(network, steps)
    assert set(actual) == set(expected)
    for name, value in actual.items():
        slack = allowed[name] * 1.001 + 1e-4
        assert np.all(np.abs(value - expected[name]) <= slack), name
        # a bound that a result of zeros would keep says nothing
        assert np.any(np.abs(expected[name]) > slack)
