"""Quantised maps and weights become maps and weights of fewer bits, and nothing else changes."""

from __future__ import annotations

import csv
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from dataflow_sim.ingest.contrib import standardised
from dataflow_sim.ingest.file.load import load_model
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.quantisation import DYNAMIC, QDQ, QLINEAR
from dataflow_sim.ingest.shapes.reader import resolve
from tests.unit.passes.chains import operators
from tests.unit.passes.quantised import (
    Net,
    assert_within,
    computed,
    draw,
    in_floats,
    resolved,
    step_for,
    valued,
    zero_of,
)

PAIRS = ("QuantizeLinear", "DequantizeLinear")


def pairs_left(network: ResolvedNetwork) -> list[Node]:
    return [node for node in network.nodes if node.op in PAIRS]


def small_network(kind: Any) -> tuple[Net, str]:
    """Two convolutions, a residual sum, pooling and a product, every map quantised."""
    net = Net(x=(1, 4, 8, 8))
    x = net.pair("x", 1.1, kind)
    first = net.add("Conv", x, net.weight(6, 4, 3, 3), net.bias(6), pads=(1, 1, 1, 1))
    first = net.pair(net.add("Relu", first), 2.5, kind)
    second = net.add("Conv", first, net.weight(6, 6, 1, 1), net.bias(6))
    second = net.pair(second, 1.2, kind)
    total = net.pair(net.add("Relu", net.add("Add", first, second)), 3.2, kind)
    pooled = net.pair(net.add("GlobalAveragePool", total), 0.8, kind)
    flat = net.pair(net.add("Flatten", pooled), 0.8, kind)
    end = net.add("Gemm", flat, net.weight(5, 6), net.bias(5), transB=1)
    return net, net.pair(end, 0.3, kind)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16])
def test_pairs_vanish_into_the_maps(kind: Any) -> None:
    net, end = small_network(kind)
    model = net.model(end)
    before = resolved(model)
    after, changed = QDQ.rewrite(before)
    ops = ["Conv", "Relu", "Conv", "Add", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert [node.op for node in after.nodes] == ops
    assert after.outputs == before.outputs == (end,)
    assert after.nodes[-1].outputs == (end,)
    assert changed == tuple(node.name for node in before.nodes if node.op in PAIRS)
    width = np.iinfo(kind).bits
    maps = {name for node in after.nodes for name in node.inputs if name not in after.constants}
    before_relu = {after.nodes[i].inputs[0] for i in (1, 4)}  # nothing is quantised there
    assert {name for name in maps if after.bits.get(name) != width} == before_relu
    assert before_relu.isdisjoint(after.bits)
    assert after.bits[end] == width
    last = list(net.steps)[-1]
    steps = {end if name == last else name: step for name, step in net.steps.items()}
    feeds = {"x": draw(1, 4, 8, 8)}
    assert_within(after, computed(model, feeds), feeds, steps)


def test_constants_keep_sources_and_get_their_widths() -> None:
    net, end = small_network(np.int8)
    before = resolved(net.model(end))
    after, _ = QDQ.rewrite(before)
    assert after.sources == before.sources
    assert {name: c.shape for name, c in after.constants.items()} == {
        name: c.shape for name, c in before.constants.items()
    }
    for node in after.nodes:
        if node.op in ("Conv", "Gemm"):
            weight, bias = node.inputs[1:]
            assert after.bits[weight] == 8
            assert after.sources[weight] in after.constants
            assert after.bits[after.sources[weight]] == 8
            assert bias not in after.bits
            assert after.constants[bias].real


def test_a_map_read_in_floats_too_keeps_its_quantiser() -> None:
    net = Net(x=(1, 4, 8, 8))
    first = net.add("Conv", net.pair("x", 1.1), net.weight(4, 4, 1, 1))
    seen = net.pair(first, 4.0)
    second = net.add("Conv", seen, net.weight(4, 4, 1, 1))
    end = net.add("Add", first, second)
    model = net.model(end)
    after, _ = QDQ.rewrite(resolved(model))
    assert operators(after) == {"Conv": 2, "QuantizeLinear": 1, "Add": 1}
    (kept,) = pairs_left(after)
    assert kept.inputs == (first,)
    assert after.bits[kept.outputs[0]] == 8
    assert first not in after.bits
    assert after.bits["x"] == 8
    readers = [node for node in after.nodes if kept.outputs[0] in node.inputs]
    assert [node.outputs[0] for node in readers] == [second]
    feeds = {"x": draw(1, 4, 8, 8)}
    steps = {"x": net.steps["x"], kept.outputs[0]: net.steps[first]}
    assert_within(after, computed(model, feeds), feeds, steps)


def test_several_quantisers_of_one_map() -> None:
    for second, left in ((np.uint8, 0), (np.int16, 2)):
        net = Net(x=(1, 4, 8, 8))
        first = net.add("Relu", "x")
        sides = [net.pair(first, 1.1), net.pair(first, 1.3, second)]
        end = net.add("Add", *(net.add("Conv", s, net.weight(4, 4, 1, 1)) for s in sides))
        model = net.model(end)
        after, _ = QDQ.rewrite(resolved(model))
        assert len(pairs_left(after)) == left
        assert after.bits.get(first) == (None if left else 8)
        feeds = {"x": draw(1, 4, 8, 8)}
        steps = {first: net.steps[first]} if not left else {
            node.outputs[0]: float(step_for(1.3, np.int8)) for node in pairs_left(after)
        }  # fmt: skip
        assert_within(after, computed(model, feeds), feeds, steps)


def test_quantisers_that_stay_are_one_where_they_do_the_same() -> None:
    net = Net(x=(2, 4))
    scale, zero = net.constant(step_for(1.1, np.int8)), net.constant(zero_of(np.int8))
    sides = [net.add("QuantizeLinear", "x", scale, zero) for _ in range(2)]
    numbers = [net.add("DequantizeLinear", side, scale, zero) for side in sides]
    ends = [net.add("Relu", numbers[0]), net.add("Neg", numbers[1]), net.add("Abs", "x")]
    after, _ = QDQ.rewrite(resolved(net.model(*ends)))
    assert operators(after) == {"QuantizeLinear": 1, "Relu": 1, "Neg": 1, "Abs": 1}
    assert [node.inputs for node in after.nodes] == [("x",), (sides[0],), (sides[0],), ("x",)]


def test_requantised_maps() -> None:
    """Again to the same width, to more bits, and to fewer: the narrowest is what is held."""
    for second, bits in ((np.uint8, 8), (np.int16, 8), (np.int8, 8)):
        net = Net(x=(2, 4))
        first = net.add("Relu", "x")
        start = np.int16 if second is np.int8 else np.int8
        seen = net.pair(net.pair(first, 1.1, start), 1.1, second)
        end = net.add("Neg", seen)
        after, _ = QDQ.rewrite(resolved(net.model(end)))
        assert operators(after) == {"Relu": 1, "Neg": 1}
        assert after.bits[first] == bits


def test_quantised_inputs() -> None:
    """An input of bytes is read as it is; what dequantises it vanishes."""
    net = Net(x=(2, 4))
    net.inputs[0].type.tensor_type.elem_type = TensorProto.UINT8
    end = net.add("Relu", net.add("DequantizeLinear", "x", 0.1))
    model = net.model(end)
    after, _ = QDQ.rewrite(resolved(model))
    assert [(node.op, node.inputs) for node in after.nodes] == [("Relu", ("x",))]
    assert after.bits["x"] == 8
    feeds = {"x": np.arange(8, dtype=np.uint8).reshape(2, 4)}
    number = {"x": feeds["x"].astype(np.float32) * np.float32(0.1)}
    np.testing.assert_allclose(in_floats(after, number)[end], computed(model, feeds)[end])


# ---------------------------------------------------------------- outputs


def test_an_output_behind_a_quantiser_keeps_its_name() -> None:
    net = Net(x=(2, 4))
    result = net.add("Relu", "x")
    end, _, _ = net.quantise(result, 1.1)
    after, _ = QDQ.rewrite(resolved(net.model(end)))
    assert [(node.op, node.outputs) for node in after.nodes] == [("Relu", (end,))]
    assert after.bits[end] == 8
    assert result not in after.bits


def test_two_outputs_of_one_map() -> None:
    """The first is written by the map's own node, the other by a dequantiser that stays."""
    net = Net(x=(2, 4))
    q, scale, zero = net.quantise(net.add("Relu", "x"), 1.1)
    y = net.add("DequantizeLinear", q, scale, zero)
    end = net.add("Neg", y)
    for outputs, written in (((q, y, end), q), ((y, q, end), y)):
        after, _ = QDQ.rewrite(resolved(net.model(*outputs)))
        assert after.outputs == outputs
        first, kept, last = after.nodes
        assert (first.op, first.outputs, last.op) == ("Relu", (written,), "Neg")
        other = q if written == y else y
        assert (kept.inputs, kept.outputs) == ((written,), (other,))
        assert kept.op == ("DequantizeLinear" if other == y else "QuantizeLinear")
        assert after.bits.get(other) == (8 if other == q else None)
        assert last.inputs[0] in (q, y)


def test_an_output_that_is_also_wanted_in_floats() -> None:
    net = Net(x=(2, 4))
    result = net.add("Relu", "x")
    end = net.pair(result, 1.1)
    after, _ = QDQ.rewrite(resolved(net.model(result, end)))
    assert [(n.op, n.inputs, n.outputs) for n in after.nodes] == [
        ("Relu", ("x",), (result,)),
        ("QuantizeLinear", (result,), (end,)),
    ]
    assert after.bits == {end: 8} | {n: b for n, b in after.bits.items() if n in after.constants}


def test_an_input_that_is_an_output() -> None:
    """Nothing can write the output instead: the node before it stays."""
    net = Net(x=(2, 4))
    end = net.pair("x", 1.1)
    after, _ = QDQ.rewrite(resolved(net.model(end)))
    assert [(n.op, n.inputs, n.outputs) for n in after.nodes] == [
        ("DequantizeLinear", ("x",), (end,))
    ]
    assert after.bits["x"] == 8
    assert end not in after.bits
    net = Net(x=(2, 4))
    end, _, _ = net.quantise("x", 1.1)
    after, _ = QDQ.rewrite(resolved(net.model(end)))
    assert [(n.op, n.inputs, n.outputs) for n in after.nodes] == [
        ("QuantizeLinear", ("x",), (end,))
    ]
    assert after.bits[end] == 8


def test_what_stays_stays_again() -> None:
    net = Net(x=(2, 4))
    result = net.add("Relu", "x")
    end = net.pair(result, 1.1)
    once, _ = QDQ.rewrite(resolved(net.model(result, end, net.add("Neg", end))))
    twice, changed = QDQ.rewrite(once)
    assert changed == ()
    assert twice == once


# ---------------------------------------------------------------- constants


def outside(name: str, kind: int, *shape: int) -> TensorProto:
    """An initialiser whose data are not in the file."""
    tensor = TensorProto(name=name, data_type=kind, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights_not_included.bin")
    return tensor


@pytest.mark.parametrize(("kind", "bits"), [
    (TensorProto.INT8, 8), (TensorProto.UINT4, 4), (TensorProto.UINT16, 16),
])  # fmt: skip
def test_weights_outside_the_file(kind: int, bits: int) -> None:
    net = Net(x=(2, 64))
    net.constants.append(outside("w", kind, 64, 32))
    net.constants.append(outside("s", TensorProto.FLOAT, 2, 32))
    weight = net.add("DequantizeLinear", "w", "s", axis=0, block_size=32)
    end = net.add("MatMul", "x", net.add("Transpose", net.add("Transpose", weight)))
    after, changed = QDQ.rewrite(resolved(net.model(end)))
    (node,) = after.nodes
    assert changed == ()
    assert after.sources[node.inputs[1]] == "w"
    assert after.bits[node.inputs[1]] == after.bits["w"] == bits
    assert "x" not in after.bits


def test_float_weights_trained_for_quantisation() -> None:
    """Weights held in floats, quantised and dequantised on the way: they are integers."""
    net = Net(x=(2, 64))
    net.constants.append(outside("w", TensorProto.FLOAT, 64, 32))
    scale, zero = np.full(32, 0.1, np.float32), np.zeros(32, np.int8)
    q = net.add("QuantizeLinear", "w", scale, zero, axis=1)
    weight = net.add("DequantizeLinear", q, scale, zero, axis=1)
    end = net.add("MatMul", net.pair("x", 1.1), net.add("Identity", weight))
    after, _ = QDQ.rewrite(resolved(net.model(end)))
    (node,) = after.nodes
    assert after.sources[node.inputs[1]] == "w"
    assert after.bits[node.inputs[1]] == 8
    assert "w" not in after.bits


def test_masks_are_no_narrow_weights() -> None:
    """A choice made by truth values is a float tensor, in a quantised network too."""
    net = Net(x=(8, 8))
    keep = net.add("Greater", draw(8, 8), 0.0)
    mask = net.add("Where", keep, 0.0, -1000.0)
    given = net.add("Where", draw(8, 8) > 0, draw(8, 8), draw(8, 8, seed=1))
    end = net.add("Add", net.add("Add", net.pair("x", 1.1), mask), given)
    after, _ = QDQ.rewrite(resolved(net.model(end)))
    assert operators(after) == {"Add": 2}
    assert mask not in after.bits
    assert given not in after.bits


def test_an_empty_output_list_of_changes_for_float_networks(shared: Path) -> None:
    for name in ("tv_mobilenet_v3_large", "hf_bert_base_128"):
        network = resolve(load_model(shared / "models" / f"{name}.onnx"), name, {})
        for each in (QLINEAR, QDQ, DYNAMIC):
            after, changed = each.rewrite(network)
            assert changed == ()
            assert after == network


# ---------------------------------------------------------------- operators of integers


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantised_convolution(kind: Any, groups: int, bias: bool, per_channel: bool) -> None:
    net = Net(x=(1, 4, 8, 8))
    q, scale, zero = net.quantise("x", 1.1, kind)
    integers = np.rint(draw(6, 4 // groups, 3, 3) * 127).astype(np.int8)
    steps = np.linspace(0.002, 0.004, 6, dtype=np.float32) if per_channel else np.float32(0.003)
    zeros = np.zeros(6, np.int8) if per_channel else np.array(0, np.int8)
    weight, shift = net.constant(integers), net.constant(np.arange(-90, 90, 30, dtype=np.int32))
    result, end = step_for(6.0, kind), zero_of(kind)
    inputs = [q, scale, zero, weight, steps, zeros, result, end, *([shift] if bias else [])]
    y = net.add("QLinearConv", *inputs, group=groups, pads=(1, 1, 1, 1), strides=(2, 2))
    model = net.model(y)
    before = resolved(model)
    after, changed = QLINEAR.rewrite(before)
    conv = after.nodes[-1]
    assert changed == (conv.name,)
    assert (conv.op, conv.inputs) == ("Conv", (q, weight, *([shift] if bias else [])))
    assert conv.attributes == {"group": groups, "pads": (1, 1, 1, 1), "strides": (2, 2)}
    assert after.bits[y] == 8
    assert after.bits[weight] == 8
    assert shift not in after.bits or not bias
    assert after.constants[shift].real or not bias
    wide = np.broadcast_to(steps, (6,)).astype(np.float32)
    values = {weight: integers * wide.reshape(-1, 1, 1, 1)}
    if bias:
        values[shift] = np.arange(-90, 90, 30) * (scale * wide)
    after, _ = QDQ.rewrite(valued(after, {k: v.astype(np.float32) for k, v in values.items()}))
    assert operators(after) == {"Conv": 1}
    feeds = {"x": draw(1, 4, 8, 8)}
    number = (computed(model, feeds)[y].astype(np.float32) - end.astype(np.float32)) * result
    assert_within(after, {y: number}, feeds, {"x": net.steps["x"], y: float(result)})


@pytest.mark.parametrize("constant", [False, True])
def test_quantised_matmul(constant: bool) -> None:
    inputs: dict[str, tuple[int, ...]] = {"a": (2, 3, 8)} | ({} if constant else {"b": (8, 5)})
    net = Net(**inputs)
    a, a_scale, a_zero = net.quantise("a", 1.1)
    integers = np.rint(draw(8, 5) * 127).astype(np.int8)
    b_scale, b_zero = step_for(1.1, np.int8), zero_of(np.int8)
    b = net.constant(integers) if constant else net.quantise("b", 1.1)[0]
    scale, zero = step_for(8.0, np.uint8), zero_of(np.uint8)
    y = net.add("QLinearMatMul", a, a_scale, a_zero, b, b_scale, b_zero, scale, zero)
    model = net.model(y)
    after, _ = QLINEAR.rewrite(resolved(model))
    assert (after.nodes[-1].op, after.nodes[-1].inputs) == ("MatMul", (a, b))
    after = valued(after, {b: (integers * b_scale).astype(np.float32)}) if constant else after
    after, _ = QDQ.rewrite(after)
    assert after.nodes[-1].inputs == ("a", b if constant else "b")
    assert [after.bits[name] for name in after.nodes[-1].inputs] == [8, 8]
    feeds = {name: draw(*shape) for name, shape in inputs.items()}
    number = (computed(model, feeds)[y].astype(np.float32) - zero.astype(np.float32)) * scale
    if constant:
        assert_within(after, {y: number}, feeds, {"a": net.steps["a"], y: float(scale)})
        return
    half = net.steps["a"] / 2  # of |a b| the error is |a| e + |b| e + e²
    bound = half * (
        np.abs(feeds["a"]).sum(-1, keepdims=True) + np.abs(feeds["b"]).sum(0) + 8 * half
    )
    difference = np.abs(in_floats(after, feeds)[y] - number)
    assert np.all(difference <= bound + scale / 2 + 1e-4)


def test_widths_follow_the_zero_point_where_nothing_is_stated() -> None:
    net = Net(x=(2, 4))
    net.quantise("x", 1.1, np.int16)
    end = net.add("Relu", net.add("DequantizeLinear", "QuantizeLinear0", "constant0", "constant1"))
    before = replace(resolved(net.model(end)), bits={})
    assert QDQ.rewrite(before)[0].bits["x"] == 16


# ---------------------------------------------------------------- files


def macs_of(network: ResolvedNetwork) -> int:
    """MACs of convolutions and products by constants, by the definition."""
    total = 0
    for node in network.nodes:
        if node.op in ("Conv", "Gemm", "MatMul"):
            weight = network.constants[node.inputs[1]].shape
            places = network.shapes[node.outputs[0]]
            depth = prod(weight[1:]) if node.op == "Conv" else prod(weight) // places[-1]
            total += prod(places) * depth
    return total


@pytest.mark.parametrize(("name", "parameters"), [
    ("ort_qdq_mobilenet_v2", "tv_mobilenet_v2_dynBHW_script17"),
    ("ort_qlinear_resnet50", "tv_resnet50_script17"),
])  # fmt: skip
def test_files(name: str, parameters: str, shared: Path) -> None:
    """MACs of the table, as many learned constants as the float network, 8 bits throughout."""
    with (shared / "models" / "expected.csv").open() as table:
        rows = {row["model"]: row for row in csv.DictReader(table)}
    model, _ = standardised(load_model(shared / "models" / f"{name}.onnx"))
    network = resolve(model, name, {})
    for each in (QLINEAR, QDQ, DYNAMIC):
        network, _ = each.rewrite(network)
    assert pairs_left(network) == []
    assert not [node for node in network.nodes if "QLinear" in node.op or "::" in node.op]
    assert macs_of(network) == int(rows[name]["macs"])
    learned = {
        network.sources[name]
        for node in network.nodes
        for name in node.inputs
        if name in network.constants and network.constants[name].real
    }
    elements = sum(prod(network.constants[name].shape) for name in learned)
    assert elements == int(rows[parameters]["constant elements"])
    for node in network.nodes:
        if node.op in ("Conv", "Gemm"):
            x, weight, bias = node.inputs
            assert (network.bits[x], network.bits[weight]) == (8, 8)
            assert bias not in network.bits
            assert network.bits[node.outputs[0]] == 8
    assert all(network.bits[name] == 8 for name in (*network.inputs, *network.outputs))


def test_no_names_are_made_up() -> None:
    """What a pass leaves reads and writes names of the file only."""
    net, end = small_network(np.int8)
    model = net.model(end)
    known = {name for node in model.graph.node for name in (*node.input, *node.output)}
    after, _ = QDQ.rewrite(resolved(model))
    assert {name for node in after.nodes for name in (*node.inputs, *node.outputs)} <= known
