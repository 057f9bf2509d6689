"""Quantised networks with their inputs, and how far a replay is from what onnxruntime computes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.program.instructions import Program
from dataflow_sim.replaying import results_of
from dataflow_sim.simulate.file_integers import FileIntegers
from dataflow_sim.simulate.reference import Arrays, evaluate_model
from dataflow_sim.simulate.replay import replay_quantised
from dataflow_sim.simulate.whole import evaluate_layers
from tests.support.quantiser import Style, quantised, trained
from tests.support.small import SMALL

# the file's widths, and 32 bits for what it leaves real
WIDTHS = Precision(32, 32, 32)
STYLES = {
    "pairs": Style(),
    "pairs on every map": Style(every=True),
    "signed, one scale a kernel, saturating": Style(
        maps=TensorProto.INT8, per_channel=False, reach=0.8
    ),
    "integers": Style(qlinear=True, every=True),
    "signed integers": Style(qlinear=True, maps=TensorProto.INT8, per_channel=False),
    "maps of 16 bits, kernels of 4": Style(maps=TensorProto.UINT16, weights=TensorProto.INT4),
    "maps of 4 bits": Style(maps=TensorProto.UINT4, every=True),
}


def mixed() -> onnx.ModelProto:
    """Convolution, depthwise, residual add, both poolings, concat, a gate through a product."""
    net = OnnxBuilder("mixed", (1, 3, 8, 6))
    first = net.activation("a.relu", net.convolution("a", "input", 4, 3, bias=True))
    deep = net.convolution("dw", first, 4, 3, groups=4, bias=True)
    deep = net.convolution("pw", net.activation("dw.relu6", deep, "Relu6"), 4, 1)
    total = net.activation("add.relu", net.add("add", deep, first))
    left = net.activation("b.sigmoid", net.convolution("b", total, 3, 3, stride=2), "Sigmoid")
    down = net.pool("MaxPool", "down", total, 3, 2, 1)
    value = net.convolution("c", net.concat("cat", [left, down]), 6, 3, bias=True)
    value = net.pool("AveragePool", "c.pool", net.activation("c.relu", value), 3, 1, 1)
    gate = net.fully_connected("excite", net.global_average_pool("squeeze", value), 6)
    gate = net.reshape("gate.map", net.activation("gate", gate, "Sigmoid"), [1, 6, 1, 1])
    return net.model(net.convolution("d", net.multiply("gated", value, gate), 6, 1))


def pooled() -> onnx.ModelProto:
    """Both poolings, each behind one convolution and in front of another."""
    net = OnnxBuilder("pooled", (1, 3, 13, 11))
    value = net.activation("a.relu", net.convolution("a", "input", 4, 3, bias=True))
    value = net.convolution("b", net.pool("AveragePool", "a.pool", value, 3, 2, 1), 6, 3)
    value = net.pool("MaxPool", "b.pool", net.activation("b.relu", value), 2, 2)
    return net.model(net.convolution("c", value, 8, 3, bias=True))


_OWN = {"mixed": mixed, "pooled": pooled}


@dataclass(frozen=True)
class Case:
    """A quantised network, its graph, inputs, and what onnxruntime computes."""

    model: onnx.ModelProto
    graph: NetworkGraph
    inputs: Arrays
    expected: npt.NDArray[Any]

    @property
    def meaning(self) -> Quantisation:
        """What the integers of the output mean."""
        (result,) = self.graph.results
        found = self.graph.tensors[result.view.segments[0].tensor].quantisation
        assert found is not None
        return found


def case_of(model: onnx.ModelProto, inputs: Arrays, name: str) -> Case:
    """A quantised model with its graph and its answer."""
    graph = assign_precision(graph_from_model(model, name), WIDTHS)
    assert graph.unrounded == ()
    who, answer = evaluate_model(model, inputs)
    assert who == "onnxruntime"
    (expected,) = answer.values()
    return Case(model, graph, inputs, expected)


@lru_cache(maxsize=16)
def float_case(name: str) -> tuple[onnx.ModelProto, Arrays]:
    """A small network with weights, and inputs for it."""
    model = trained((_OWN[name] if name in _OWN else SMALL[name])(), seed=3)
    (given,) = model.graph.input
    shape = [dim.dim_value for dim in given.type.tensor_type.shape.dim]
    drawn = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    return model, {given.name: drawn}


@lru_cache(maxsize=16)
def quantised_case(name: str, style: str) -> Case:
    """A small network quantised in one of the styles."""
    model, inputs = float_case(name)
    return case_of(quantised(model, inputs, STYLES[style]), inputs, name)


def steps_off(
    found: Case, program: Program, graph: NetworkGraph | None = None, exact: bool = True
) -> npt.NDArray[np.float64]:
    """By how many steps of its scale each element of a replayed output is off."""
    graph = found.graph if graph is None else graph
    actual = result_of(FileIntegers(graph), program, found.inputs, exact)
    scale, _ = found.meaning.parameters(actual.shape)
    return np.asarray((actual.reshape(found.expected.shape) - found.expected) / scale)


def result_of(
    integers: FileIntegers, program: Program, inputs: Arrays, exact: bool = True
) -> npt.NDArray[np.float64]:
    """The network's one output as the file sees it, replayed.

    All sums are integers, and all maps that were stored are those of whole layers, to the bit.
    """
    replayed = replay_quantised(program, integers, inputs)
    assert integers.is_exact or not exact
    whole = evaluate_layers(integers.graph, integers, integers.image(inputs))
    for name, expected in whole.items():
        values = replayed.tensors[name]
        there = ~np.isnan(values)
        np.testing.assert_array_equal(values[there], expected[there])
    (found,) = results_of(integers.graph, replayed, integers).values()
    return np.asarray(found, np.float64)


def unrounded(graph: NetworkGraph, what: str) -> NetworkGraph:
    """The graph without one of the ways in which it says that something is rounded."""
    layers = list(graph.layers)
    for place, layer in enumerate(layers):
        if what == "bodies":
            layer = replace(layer, rounded=None)
        elif what == "pooled on the way out" and layer.unpooled is not None:
            plain = replace(layer.unpooled.tensor, quantisation=None)
            layer = replace(layer, unpooled=replace(layer.unpooled, tensor=plain))
        elif what == "pooled on the way in":
            layer = replace(layer, pooled_rounded=None)
        elif what == "steps":
            programs = [
                replace(each, steps=tuple(replace(step, rounded=None) for step in each.steps))
                for each in (layer.pre, layer.post)
            ]
            layer = replace(layer, pre=programs[0], post=programs[1])
        elif what == "segments":
            layer = replace(
                layer,
                input=replace(
                    layer.input,
                    segments=tuple(replace(s, rounded=None) for s in layer.input.segments),
                ),
            )
        layers[place] = layer
    return replace(graph, layers=tuple(layers))
