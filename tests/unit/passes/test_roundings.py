"""What the reader keeps of scales and zero points, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dataflow_sim.graph.layer import WeightRole
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.ingest import graph_from_model, read_network
from dataflow_sim.ingest.network import ResolvedNetwork
from dataflow_sim.ingest.passes import run_passes
from dataflow_sim.ingest.passes.quantisation import DYNAMIC, QDQ, QLINEAR
from dataflow_sim.simulate.quantised import numbers
from tests.unit.passes.quantised import Net, draw, resolved, step_for, zero_of
from tests.unit.passes.test_quantisation import outside, small_network


def meaning(reach: float, kind: Any = np.int8) -> Quantisation:
    """What Net.pair and Net.quantise state."""
    bounds = np.iinfo(kind)
    scale = step_for(reach, kind).astype(np.float64)
    return Quantisation(scale, zero_of(kind).astype(np.int64), bounds.bits, bounds.min < 0)


def read(net: Net, *outputs: str) -> NetworkGraph:
    return graph_from_model(net.model(*outputs), "quantised")


def folded(net: Net, *outputs: str) -> ResolvedNetwork:
    """A network behind the three passes that fold quantisation."""
    network = resolved(net.model(*outputs))
    for each in (QLINEAR, QDQ, DYNAMIC):
        network, _ = each.rewrite(network)
    return network


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16])
def test_every_map_is_rounded_as_its_quantiser_says(kind: Any) -> None:
    net, end = small_network(kind)
    after = folded(net, end)
    assert after.unrounded == ()
    scales = dict(net.steps)
    *_, last = scales
    scales[end] = scales.pop(last)
    assert {name: float(each.scale or 0) for name, each in after.quantisations.items()} == scales
    zero, width = zero_of(kind), np.iinfo(kind).bits
    for each in after.quantisations.values():
        assert (each.zero_point, each.bits, each.signed) == (zero, width, np.iinfo(kind).min < 0)
        assert (each.axis, each.earlier) == (None, ())
    assert {name: after.bits[name] for name in scales} == dict.fromkeys(scales, width)


def test_a_quantiser_that_stays_keeps_its_meaning() -> None:
    net = Net(x=(1, 4, 8, 8))
    first = net.add("Conv", net.pair("x", 1.1), net.weight(4, 4, 1, 1))
    second = net.add("Conv", net.pair(first, 4.0), net.weight(4, 4, 1, 1))
    after = folded(net, net.add("Add", first, second))
    (kept,) = (node for node in after.nodes if node.op == "QuantizeLinear")
    assert after.quantisations == {"x": meaning(1.1), kept.outputs[0]: meaning(4.0)}
    assert after.unrounded == ()


def test_quantised_alike_is_quantised_once() -> None:
    net = Net(x=(1, 4, 8, 8))
    first = net.add("Relu", "x")
    sides = [net.pair(first, 1.1), net.pair(first, 1.1)]
    again = net.pair(sides[0], 1.1)
    after = folded(net, net.add("Add", net.add("Neg", again), net.add("Abs", sides[1])))
    assert after.quantisations == {first: meaning(1.1)}
    assert after.unrounded == ()


def test_one_behind_the_other_is_a_chain() -> None:
    net = Net(x=(2, 4))
    first = net.add("Relu", "x")
    end = net.add("Neg", net.pair(net.pair(first, 1.1, np.int16), 0.9, np.uint8))
    after = folded(net, end)
    chain = meaning(0.9, np.uint8).behind(meaning(1.1, np.int16))
    assert after.quantisations == {first: chain}
    net = Net(x=(2, 4))
    x = "x"
    for step in range(12):
        x = net.pair(x, 1.1 + step / 10)
    after = folded(net, net.add("Neg", x))
    assert len(after.quantisations["x"].earlier) <= 8
    (sentence,) = after.unrounded
    assert "'x' is quantised more than 8 times in a row" in sentence


def test_integers_that_the_network_is_given() -> None:
    net = Net(x=(2, 4))
    net.inputs[0].type.tensor_type.elem_type = TensorProto.UINT8
    end = net.add("Relu", net.add("DequantizeLinear", "x", 0.1, np.array(7, np.uint8)))
    after = folded(net, end)
    scale = np.array(0.1, np.float32).astype(np.float64)
    assert after.quantisations == {"x": Quantisation(scale, np.array(7), 8, False)}


def test_integers_that_go_through_an_operator_keep_their_meaning() -> None:
    """A maximum of integers, and a flattened one, dequantised behind it."""
    net = Net(x=(1, 4, 8, 8))
    conv = net.add("Conv", net.pair("x", 1.1), net.weight(4, 4, 3, 3))
    q, scale, zero = net.quantise(conv, 2.5)
    pooled = net.add("MaxPool", q, kernel_shape=(2, 2), strides=(2, 2))
    flat = net.add("DequantizeLinear", net.add("Flatten", pooled), scale, zero)
    graph = read(net, net.add("Gemm", flat, net.weight(5, 36), transB=1))
    assert graph.unrounded == ()
    first, last = graph.layers
    assert first.unpooled is not None
    assert first.unpooled.tensor.quantisation == meaning(2.5)
    (segment,) = last.input.segments
    assert graph.tensors[segment.tensor].quantisation == meaning(2.5)
    assert (graph.tensors[segment.tensor].bits, segment.rounded) == (8, None)


def test_a_map_that_is_renamed_keeps_its_width() -> None:
    net = Net(x=(1, 4, 4, 4))
    first = net.pair(net.add("Conv", net.pair("x", 1.1), net.weight(4, 4, 1, 1)), 2.5)
    graph = read(net, net.add("Gemm", net.add("Flatten", first), net.weight(5, 64), transB=1))
    (segment,) = graph.layers[1].input.segments
    found = graph.tensors[segment.tensor]
    assert (found.bits, found.quantised, found.quantisation) == (8, True, meaning(2.5))


# ---------------------------------------------------------------- what cannot be said


def test_what_cannot_be_said_is_told() -> None:
    scales, zeros = np.full(4, 0.1, np.float32), np.zeros(4, np.int8)

    def ways(net: Net, x: str) -> str:
        first = net.add("Relu", x)
        return net.add("Add", net.pair(first, 1.1), net.add("Neg", net.pair(first, 1.3)))

    def channels(net: Net, x: str) -> str:
        q = net.add("QuantizeLinear", net.add("Relu", x), scales, zeros)
        return net.add("Neg", net.add("DequantizeLinear", q, scales, zeros))

    def otherwise(net: Net, x: str) -> str:
        q, _, zero = net.quantise(net.add("Relu", x), 1.1)
        return net.add("Neg", net.add("DequantizeLinear", q, 0.7, zero))

    def nothing(net: Net, x: str) -> str:
        q = net.add("QuantizeLinear", net.add("Relu", x), 0.0, zero_of(np.int8))
        return net.add("Neg", net.add("DequantizeLinear", q, 0.0, zero_of(np.int8)))

    def floats(net: Net, x: str) -> str:
        name = "zero of eight"
        net.constants.append(helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, (), [0.0]))
        q = net.add("QuantizeLinear", net.add("Relu", x), 0.1, name)
        return net.add("Neg", net.add("DequantizeLinear", q, 0.1, name))

    def itself(net: Net, x: str) -> str:
        q = net.add("DynamicQuantizeLinear", net.add("Relu", x), outputs=3)
        return net.add("Neg", net.add("DequantizeLinear", q, f"{q}.1", f"{q}.2"))

    told = {
        ways: "'Relu0' is quantised in several ways",
        channels: "'Relu0' is quantised channel by channel",
        otherwise: "'Relu0' is read with another scale than it is written with",
        nothing: "'Relu0' has a scale or a zero point that its type does not allow",
        floats: "'Relu0' is quantised to floats",
        itself: "'Relu0' is quantised by its own range",
    }
    for build, sentence in told.items():
        net = Net(x=(2, 4))
        graph = read(net, build(net, "x"))
        assert graph.unrounded == (sentence,), build.__name__


def test_a_rounding_inside_an_operator_is_told() -> None:
    net = Net(x=(2, 3, 8))
    x = net.pair("x", 1.1)
    centred = net.add("Sub", x, net.add("ReduceMean", x, np.array([-1])))
    variance = net.add("ReduceMean", net.add("Mul", centred, centred), np.array([-1]))
    spread = net.pair(net.add("Sqrt", net.add("Add", variance, 1e-5)), 1.3)
    end = net.add("Mul", net.add("Div", centred, spread), draw(8))
    graph = read(net, net.add("Add", end, draw(8, seed=1)))
    assert [layer.op for layer in graph.layers] == ["LayerNormalization"]
    (sentence,) = graph.unrounded
    assert "is inside an operator that is taken as one" in sentence


# ---------------------------------------------------------------- other passes


def test_passes_that_leave_roundings_alone() -> None:
    """Nodes are not put together where something between them is rounded, else they are."""

    def product(rounded: bool) -> ResolvedNetwork:
        net = Net(x=(3, 8))
        made = net.add("MatMul", "x", draw(8, 5))
        return _passed(net, net.add("Add", net.pair(made, 2.0) if rounded else made, draw(5)))

    def gate(rounded: bool) -> ResolvedNetwork:
        net = Net(x=(3, 8))
        made = net.add("Sigmoid", "x")
        return _passed(net, net.add("Mul", "x", net.pair(made, 1.0) if rounded else made))

    def repeated(rounded: bool) -> ResolvedNetwork:
        net = Net(x=(3, 8))
        first = net.add("Relu", "x")
        made = net.add("Identity", first)
        made = net.pair(made, 1.0) if rounded else made
        return _passed(net, net.add("Add", net.add("Neg", made), net.add("Abs", first)))

    for build, ops in (
        (product, (["Gemm"], ["MatMul", "Add"])),
        (gate, (["Swish"], ["Sigmoid", "Mul"])),
        (repeated, (["Relu", "Neg", "Abs", "Add"], ["Relu", "Identity", "Neg", "Abs", "Add"])),
    ):
        assert [node.op for node in build(False).nodes] == ops[0]
        after = build(True)
        assert [node.op for node in after.nodes] == ops[1]
        (name,) = after.quantisations
        assert any(name in node.outputs for node in after.nodes)


def test_a_map_is_rounded_in_place_of_the_copy_that_nothing_else_reads() -> None:
    net = Net(x=(3, 8))
    first = net.add("Relu", "x")
    after = _passed(net, net.add("Neg", net.pair(net.add("Identity", first), 1.0)))
    assert [node.op for node in after.nodes] == ["Relu", "Neg"]
    assert after.quantisations == {first: meaning(1.0)}
    assert after.bits[first] == 8


def _passed(net: Net, *outputs: str) -> ResolvedNetwork:
    network, _ = run_passes(resolved(net.model(*outputs)))
    return network


# ---------------------------------------------------------------- constants


def scales_of(count: int) -> np.ndarray:
    return np.linspace(0.002, 0.004, count, dtype=np.float32)


def test_kernels_and_biases_say_what_their_integers_mean() -> None:
    """By the file's axes in the constant, output channels first in the tensor."""
    net = Net(x=(1, 4, 8, 8))
    x = net.add("Conv", net.pair("x", 1.1), net.weight(6, 4, 3, 3), net.bias(6))
    flat = net.add("Flatten", net.add("GlobalAveragePool", net.pair(x, 2.5)))
    x = net.add("Gemm", flat, net.weight(6, 5, axis=1))
    turned = net.add("Transpose", net.weight(7, 5), perm=(1, 0))
    graph = read(net, net.add("MatMul", x, turned))
    expected = {"Conv": (6, 0), "Gemm": (5, 1), "MatMul": (7, 1)}
    for layer in (layer for layer in graph.layers if layer.op in expected):
        count, axis = expected[layer.op]
        assert layer.weight_constant is not None
        assert layer.weight is not None
        constant = graph.constants[layer.weight_constant].quantisation
        kernel = graph.tensors[layer.weight].quantisation
        assert constant is not None
        assert kernel is not None
        assert (constant.axis, kernel.axis) == (axis, 0)
        np.testing.assert_array_equal(kernel.scale, scales_of(count))
        assert (kernel.bits, kernel.signed, kernel.known) == (8, True, True)
    (bias,) = (layer.bias_constant for layer in graph.layers if layer.bias_constant)
    found = graph.constants[bias].quantisation
    assert found is not None
    assert (found.bits, found.axis) == (32, None)
    vectors = [t for t in graph.tensors.values() if t.role is WeightRole.VECTOR]
    assert all(t.quantisation is None for t in vectors)


def test_scales_along_what_is_no_output_channel() -> None:
    """A scale for each row of a matrix, and for each block of them: the constant's alone."""
    for block in (0, 2):
        net = Net(x=(3, 8))
        scales = np.full((4, 5) if block else 8, 0.1, np.float32)
        integers = np.rint(draw(8, 5) * 127).astype(np.int8)
        more = {"block_size": block} if block else {}
        zeros = np.zeros(scales.shape, np.int8)
        weight = net.add("DequantizeLinear", integers, scales, zeros, axis=0, **more)
        graph = read(net, net.add("MatMul", "x", weight))
        (layer,) = graph.layers
        assert layer.weight is not None
        assert graph.tensors[layer.weight].quantisation is None
        found = graph.constants[weight].quantisation
        assert found is not None
        assert (found.axis, found.block) == (0, block)


def qlinear(net: Net, x: tuple[str, Any, Any], bias: str, kind: Any = np.int8) -> str:
    """A convolution of integers whose weights have a scale for each channel."""
    weight = np.rint(draw(6, 4, 3, 3) * 127).astype(np.int8)
    scales, zeros = scales_of(6), np.zeros(6, np.int8)
    inputs = [*x, weight, scales, zeros, step_for(6.0, kind), zero_of(kind), bias]
    return net.add("QLinearConv", *inputs, pads=(1, 1, 1, 1))


def test_convolutions_of_integers() -> None:
    net = Net(x=(1, 4, 8, 8))
    source = net.quantise("x", 1.1)
    bias = net.constant(np.arange(6, dtype=np.int32))
    end = qlinear(net, source, bias)
    graph = read(net, end)
    (layer,) = graph.layers
    assert graph.unrounded == ()
    (segment,) = layer.input.segments
    assert graph.tensors[segment.tensor].quantisation == meaning(1.1)
    assert graph.tensors[layer.output].quantisation == meaning(6.0)
    assert layer.weight is not None
    kernel = graph.tensors[layer.weight].quantisation
    assert kernel is not None
    np.testing.assert_array_equal(kernel.scale, scales_of(6))
    found = graph.constants[bias].quantisation
    assert found is not None
    assert found.scale is not None
    assert (found.bits, found.axis) == (32, 0)
    np.testing.assert_array_equal(found.scale, np.float64(source[1]) * scales_of(6))
    assert graph.constants[bias].value is not None


def test_convolutions_of_integers_that_disagree() -> None:
    """A bias for two scales, and a map that is read with another one than it is written with."""
    net = Net(x=(1, 4, 8, 8))
    q, scale, zero = net.quantise("x", 1.1)
    bias = net.constant(np.arange(6, dtype=np.int32))
    sides = [qlinear(net, (q, each, zero), bias) for each in (scale, scale * np.float32(2))]
    ends = [net.add("DequantizeLinear", side, step_for(6.0, np.int8)) for side in sides]
    graph = read(net, net.add("Add", *ends))
    assert any("constant" in told and "another scale" in told for told in graph.unrounded)
    assert any(q in told and "another scale" in told for told in graph.unrounded)


def test_values_outside_the_file() -> None:
    """What is known of the type stays, the rest is not there."""
    net = Net(x=(1, 4, 8, 8))
    x = net.pair("x", 1.1)
    net.constants.append(outside("w", TensorProto.INT8, 6, 4, 3, 3))
    net.constants.append(outside("s", TensorProto.FLOAT, 6))
    weight = net.add("DequantizeLinear", "w", "s", np.zeros(6, np.int8), axis=0)
    graph = read(net, net.add("Conv", x, weight))
    (layer,) = graph.layers
    assert layer.weight is not None
    found = graph.tensors[layer.weight].quantisation
    assert found is not None
    assert (found.scale, found.bits, found.axis, found.known) == (None, 8, 0, False)
    assert graph.constants[weight].value is None


def test_integers_stand_for_numbers_that_were_too_many_to_evaluate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dataflow_sim.ingest.shapes.resolver._LARGEST_TOTAL_BYTES", 0)
    net = Net(x=(1, 4, 8, 8))
    end = net.add("Conv", net.pair("x", 1.1), net.weight(6, 4, 3, 3))
    end = net.add("Conv", end, net.weight(6, 6, 3, 3))
    graph = read(net, end)
    values = [graph.constants[str(layer.weight_constant)].value for layer in graph.layers]
    assert all(value is not None for value in values)
    assert [value.dtype.kind for value in values if value is not None] == ["f", "i"]


def test_large_matrices_that_are_turned_keep_their_integers() -> None:
    """More than the reader evaluates; of 4 bits too."""
    for kind, one in ((TensorProto.INT8, 127), (TensorProto.UINT4, 15)):
        net = Net(x=(3, 80))
        integers = np.abs(np.rint(draw(90, 80) * one)).astype(np.int64)
        name = f"w{kind}"
        net.constants.append(helper.make_tensor(name, kind, (90, 80), integers.ravel().tolist()))
        zeros = helper.make_tensor(f"z{kind}", kind, (90,), [3] * 90)
        net.constants.append(zeros)
        weight = net.add("DequantizeLinear", name, scales_of(90), f"z{kind}", axis=0)
        turned = net.add("Transpose", net.add("Identity", weight))
        graph = read(net, net.add("MatMul", "x", turned))
        (layer,) = graph.layers
        assert layer.weight is not None
        constant, kernel = graph.constants[turned], graph.tensors[layer.weight].quantisation
        assert kernel is not None
        assert kernel.axis == 0
        expected = (integers.T - 3) * scales_of(90).astype(np.float64)
        np.testing.assert_array_equal(numbers(constant), expected)


def test_weights_of_products_by_their_own_range() -> None:
    net = Net(x=(3, 8))
    q = net.add("DynamicQuantizeLinear", "x", outputs=3)
    integers = np.rint(draw(8, 5) * 127).astype(np.int8)
    made = net.add("MatMulInteger", q, integers, f"{q}.2", np.array(3, np.int8))
    scale = net.add("Mul", f"{q}.1", np.full(5, 0.02, np.float32))
    end = net.add("Mul", net.add("Cast", made, to=1), scale)
    graph = read(net, end)
    (layer,) = graph.layers
    assert graph.unrounded == ("'x' is quantised by its own range",)
    assert layer.weight is not None
    found = graph.tensors[layer.weight].quantisation
    assert found is not None
    assert (found.axis, found.bits) == (0, 8)
    np.testing.assert_array_equal(found.scale, np.full(5, 0.02, np.float32))
    np.testing.assert_array_equal(found.zero_point, 3)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["ort_qdq_mobilenet_v2", "ort_qlinear_resnet50"])
def test_files_leave_nothing_unsaid(name: str, shared: Path) -> None:
    graph = read_network(shared / "models" / f"{name}.onnx")
    assert graph.unrounded == ()
    maps = [t for t in graph.tensors.values() if t.role is not WeightRole.VECTOR]
    assert all(t.quantisation is not None and t.quantisation.bits == 8 for t in maps)
    operands = [layer for layer in graph.layers if layer.operands]
    assert all(layer.rounded is not None for layer in operands if layer.weight)


def test_float_networks_have_no_integers(light_models: Path) -> None:
    model = onnx.load(light_models / "light_squeezenet.onnx")
    graph = graph_from_model(model, "squeezenet")
    assert graph.unrounded == ()
    assert all(t.quantisation is None for t in graph.tensors.values())
    assert all(c.quantisation is None for c in graph.constants.values())
