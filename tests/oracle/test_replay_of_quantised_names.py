"""Replays of networks that quantise what is no map in memory, twice, or otherwise than others do.

Every network is a few nodes; what it makes must be the integers that onnxruntime makes.  Scales
have no simple ratio: a number that lies exactly half-way between two integers is rounded by the
last bit of 32-bit floats there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from dataflow_sim.simulate.quantised import decode
from tests.support.quantised_networks import Case, case_of, steps_off
from tests.support.runs import least_budget, scheduled
from tests.unit.passes.quantised import Net, draw

SHAPE = (1, 3, 6, 5)
NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {}


def network(build: Callable[[Net, str], str]) -> Callable[[Net, str], str]:
    """Register a network: from the quantised input to the output."""

    def model() -> onnx.ModelProto:
        net = Net(x=SHAPE)
        return finished(net, build(net, net.pair("x", 1.137)))

    NETWORKS[build.__name__] = model
    return build


def finished(net: Net, *outputs: str) -> onnx.ModelProto:
    model = onnx.shape_inference.infer_shapes(net.model(*outputs))
    model.ir_version = 10
    return model


def convolved(net: Net, x: str, shape: tuple[int, int], kernel: int = 3, groups: int = 1) -> str:
    """A convolution that keeps the size, of kernels and a bias of integers."""
    outputs, inputs = shape
    weight, pad = net.weight(outputs, inputs // groups, kernel, kernel), kernel // 2
    return net.add("Conv", x, weight, net.bias(outputs), pads=(pad,) * 4, group=groups)


def sliced(net: Net, x: str, start: int, stop: int) -> str:
    return net.add("Slice", x, np.array([start]), np.array([stop]), np.array([1]))


@network
def another_scale_behind_a_flatten(net: Net, x: str) -> str:
    first = net.pair(convolved(net, x, (4, 3)), 1.513)
    flat = net.pair(net.add("Flatten", first), 1.119, np.uint8)
    return net.pair(net.add("Gemm", flat, net.weight(7, 120), net.bias(7), transB=1), 3.017)


@network
def another_scale_for_one_of_two_readers(net: Net, x: str) -> str:
    first = net.pair(convolved(net, x, (4, 3)), 1.513)
    flat = net.pair(net.add("Flatten", first), 1.119, np.uint8)
    product = net.add("Gemm", flat, net.weight(4, 120), net.bias(4), transB=1)
    second = net.pair(convolved(net, first, (4, 4)), 1.473)
    pooled = net.pair(net.add("GlobalAveragePool", second), 1.011)
    total = net.add("Add", net.pair(product, 3.017), net.add("Flatten", pooled))
    return net.pair(total, 3.149)


@network
def a_slice_of_a_concat(net: Net, x: str) -> str:
    first = net.pair(convolved(net, x, (4, 3)), 1.513)
    second = net.pair(convolved(net, x, (5, 3)), 1.211, np.uint8)
    joined = net.pair(net.add("Concat", first, second, axis=1), 1.317)
    part = net.pair(sliced(net, joined, 2, 7), 0.917, np.uint8)
    return net.pair(convolved(net, part, (6, 5)), 1.531)


@network
def an_activation_of_a_concat(net: Net, x: str) -> str:
    """Its readers apply it on their input."""
    first = net.pair(convolved(net, x, (4, 3)), 1.513)
    second = net.pair(convolved(net, first, (5, 4)), 1.211)
    joined = net.pair(net.add("Concat", first, second, axis=1), 1.379)
    active = net.pair(net.add("Relu", joined), 1.013, np.uint8)
    sides = [convolved(net, active, (6, 9), kernel) for kernel in (3, 1)]
    return net.pair(net.add("Add", *sides), 2.513)


@network
def channels_dealt_out_and_quantised_on_the_way(net: Net, x: str) -> str:
    """A copy in memory, of a map that is rounded four times before it is."""
    value = net.pair(convolved(net, x, (6, 3)), 1.513)
    value = net.pair(net.add("Reshape", value, np.array([1, 3, 2, 6, 5])), 1.487)
    value = net.pair(net.add("Transpose", value, perm=(0, 2, 1, 3, 4)), 1.459, np.uint8)
    value = net.pair(net.add("Reshape", value, np.array([1, 6, 6, 5])), 1.523)
    return net.pair(convolved(net, value, (6, 6), groups=3), 1.427)


@network
def quantised_behind_nothing(net: Net, x: str) -> str:
    first = net.pair(net.add("Identity", convolved(net, x, (4, 3))), 1.513)
    second = net.pair(convolved(net, first, (4, 4)), 1.427)
    return net.pair(net.add("Identity", second), 1.019)


@network
def twice_in_a_row(net: Net, x: str) -> str:
    narrow = net.pair(net.pair(convolved(net, x, (4, 3)), 1.513), 1.319, np.uint8)
    return net.pair(convolved(net, narrow, (4, 4)), 1.427)


@network
def part_of_a_map_as_output(net: Net, x: str) -> str:
    return net.pair(sliced(net, net.pair(convolved(net, x, (4, 3)), 1.513), 1, 3), 1.217)


@network
def integers_as_output(net: Net, x: str) -> str:
    return net.quantise(convolved(net, x, (4, 3)), 1.513, np.uint8)[0]


@network
def rounded_inside_a_gate(net: Net, x: str) -> str:
    """It would be a hard swish otherwise."""
    first = net.pair(convolved(net, x, (4, 3)), 1.513)
    gate = net.pair(net.add("HardSigmoid", first, alpha=1 / 6, beta=0.5), 1.007, np.uint8)
    return net.pair(net.add("Mul", first, gate), 0.713)


@network
def constants_of_integers(net: Net, x: str) -> str:
    """One as large as the map, one with a number for each channel."""
    first = net.pair(convolved(net, x, (4, 3)), 1.513)
    large, small = (
        net.add("DequantizeLinear", np.rint(draw(*shape) * 127).astype(np.int8), 0.0101)
        for shape in ((1, 4, 6, 5), (1, 4, 1, 1))
    )
    total = net.pair(net.add("Add", first, large), 2.017)
    return net.pair(net.add("Mul", total, small), 1.811)


@network
def padded_before(net: Net, x: str) -> str:
    wide = net.pair(net.add("Pad", x, np.array([0, 0, 1, 2, 0, 0, 1, 2])), 1.137)
    weight = net.weight(4, 3, 3, 3)
    return net.pair(net.add("Conv", wide, weight, net.bias(4)), 1.513)


@network
def one_channel_at_a_time(net: Net, x: str) -> str:
    first = net.pair(convolved(net, x, (3, 3), groups=3), 1.013)
    return net.pair(net.add("Relu", first), 0.817, np.uint8)


def product() -> onnx.ModelProto:
    """A product with a matrix, rounded before the bias is added."""
    net = Net(x=(3, 8))
    made = net.add("MatMul", net.pair("x", 1.137), net.weight(8, 5, axis=1))
    bias = net.add("DequantizeLinear", np.arange(5, dtype=np.int8) * 9 - 20, 0.0203)
    return finished(net, net.pair(net.add("Add", net.pair(made, 2.017), bias), 2.117))


def integers_as_input() -> onnx.ModelProto:
    net = Net(x=SHAPE)
    net.inputs[0].type.tensor_type.elem_type = TensorProto.UINT8
    x = net.add("DequantizeLinear", "x", np.float32(0.01), np.array(120, np.uint8))
    return finished(net, net.pair(convolved(net, x, (4, 3)), 1.513))


NETWORKS |= {"product": product, "integers_as_input": integers_as_input}


def inputs_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    (value,) = model.graph.input
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    if value.type.tensor_type.elem_type == TensorProto.UINT8:
        return {"x": np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)}
    return {"x": draw(*shape)}


def replayed(found: Case) -> np.ndarray:
    _, program = scheduled(found.graph, 10 * least_budget(found.graph, False))
    return np.abs(steps_off(found, program))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_element_is_that_of_onnxruntime(name: str) -> None:
    model = NETWORKS[name]()
    found = case_of(model, inputs_of(model), name)
    if found.expected.dtype.kind in "iu":
        numbers = decode(found.expected, found.meaning)
        found = Case(found.model, found.graph, found.inputs, numbers)
    assert len(np.unique(found.expected)) >= min(found.expected.size / 4, 30)
    assert replayed(found).max() < 0.01
