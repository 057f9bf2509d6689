"""Products of dynamically quantised maps become products of the maps, near misses stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from dataflow_sim.ingest.contrib import standardised
from dataflow_sim.ingest.network import ResolvedNetwork
from dataflow_sim.ingest.passes.quantisation import DYNAMIC, QDQ
from tests.support.resolved_models import Array
from tests.unit.passes.chains import operators
from tests.unit.passes.quantised import (
    Net,
    assert_within,
    bounds,
    computed,
    draw,
    in_floats,
    resolved,
    valued,
)

FLOAT = TensorProto.FLOAT


def weights(*shape: int) -> tuple[Array, Array]:
    """Integers around 128, and their zero point."""
    return np.rint(draw(*shape) * 127 + 128).astype(np.uint8), np.array(128, np.uint8)


def step_of(x: Array) -> float:
    """The scale with which DynamicQuantizeLinear quantises a map."""
    return float((max(0.0, x.max()) - min(0.0, x.min())) / 255)


def ranged(net: Net, x: str) -> tuple[str, str, str]:
    """Append DynamicQuantizeLinear: result, scale, zero point."""
    q = net.add("DynamicQuantizeLinear", x, outputs=3)
    return q, f"{q}.1", f"{q}.2"


def product_of(
    net: Net, x: str, weight: str, scale: object, zero: object, op: str = "MatMulInteger"
) -> str:
    """Append what exporters write: a product of integers, a cast, and the scales."""
    q, step, point = ranged(net, x)
    total = net.add("Cast", net.add("MatMulInteger", q, weight, point, zero), to=FLOAT)
    return net.add("Mul", total, net.add("Mul", step, scale))


def only(network: ResolvedNetwork) -> Any:
    (node,) = network.nodes
    return node


SCALES: dict[str, Array] = {
    "one": np.array(0.004, np.float32),
    "one in a row": np.array([0.004], np.float32),
    "per column": np.linspace(0.002, 0.005, 5, dtype=np.float32),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("order", ["product first", "map first", "weights first", "swapped"])
def test_product(scale: str, order: str) -> None:
    net = Net(x=(2, 3, 8))
    integers, zero = weights(8, 5)
    weight, factor = net.constant(integers), SCALES[scale]
    q, step, point = ranged(net, "x")
    total = net.add("Cast", net.add("MatMulInteger", q, weight, point, zero), to=FLOAT)
    if order == "product first":
        y = net.add("Mul", total, net.add("Mul", step, factor))
    elif order == "swapped":
        y = net.add("Mul", net.add("Mul", factor, step), total)
    else:
        first, second = (step, factor) if order == "map first" else (factor, step)
        y = net.add("Mul", net.add("Mul", total, first), second)
    bias = draw(5)
    end = net.add("Add", y, bias)
    model = net.model(end)
    after, changed = DYNAMIC.rewrite(resolved(model))
    assert [(n.op, n.outputs[0]) for n in after.nodes] == [("MatMul", y), ("Add", end)]
    assert after.nodes[0].inputs == ("x", weight)
    assert (after.bits["x"], after.bits[weight]) == (8, 8)
    assert y not in after.bits
    assert len(changed) == len(set(changed))
    numbers = (integers.astype(np.float32) - 128) * factor
    feeds = {"x": draw(2, 3, 8)}
    after = valued(after, {weight: numbers.astype(np.float32)})
    assert_within(after, computed(model, feeds), feeds, {"x": step_of(feeds["x"])})


def test_product_that_is_an_output() -> None:
    net = Net(x=(4, 8))
    integers, zero = weights(8, 5)
    end = product_of(net, "x", net.constant(integers), 0.004, zero)
    after, _ = DYNAMIC.rewrite(resolved(net.model(end)))
    assert (only(after).op, only(after).outputs) == ("MatMul", (end,))


@pytest.mark.parametrize("per_channel", [False, True])
def test_convolution(per_channel: bool) -> None:
    net = Net(x=(1, 4, 6, 6))
    integers, zero = weights(6, 2, 3, 3)
    factor = np.linspace(0.002, 0.005, 6, dtype=np.float32).reshape(6, 1, 1)
    factor = factor if per_channel else np.array(0.003, np.float32)
    weight = net.constant(integers)
    q, step, point = ranged(net, "x")
    total = net.add("ConvInteger", q, weight, point, zero, group=2, pads=(1, 1, 1, 1))
    y = net.add("Mul", net.add("Cast", total, to=FLOAT), net.add("Mul", step, factor))
    end = net.add("Add", y, draw(6, 1, 1))
    model = net.model(end)
    after, _ = DYNAMIC.rewrite(resolved(model))
    conv = after.nodes[0]
    assert (conv.op, conv.inputs) == ("Conv", ("x", weight))
    assert conv.attributes == {"group": 2, "pads": (1, 1, 1, 1)}
    assert operators(after) == {"Conv": 1, "Add": 1}
    numbers = (integers.astype(np.float32) - 128) * factor.reshape((-1, 1, 1, 1))
    feeds = {"x": draw(1, 4, 6, 6)}
    after = valued(after, {weight: numbers.astype(np.float32)})
    assert_within(after, computed(model, feeds), feeds, {"x": step_of(feeds["x"])})


def test_one_range_for_several_products() -> None:
    """Query, key and value of one map: the map has 8 bits, each product its own weights."""
    net = Net(x=(4, 8))
    q, step, point = ranged(net, "x")
    ends = []
    for seed in range(3):
        integers, zero = weights(8, 5 + seed)
        total = net.add("Cast", net.add("MatMulInteger", q, integers, point, zero), to=FLOAT)
        ends.append(net.add("Mul", total, net.add("Mul", step, 0.004)))
    after, _ = DYNAMIC.rewrite(resolved(net.model(*ends)))
    assert operators(after) == {"MatMul": 3}
    assert [node.inputs[0] for node in after.nodes] == ["x"] * 3
    assert after.bits["x"] == 8


def test_a_map_read_in_floats_too_is_quantised_for_the_product() -> None:
    net = Net(x=(4, 8))
    integers, zero = weights(8, 8)
    weight = net.constant(integers)
    start = net.add("Relu", "x")
    end = net.add("Add", start, product_of(net, start, weight, 0.004, zero))
    model = net.model(end)
    after, _ = DYNAMIC.rewrite(resolved(model))
    assert [node.op for node in after.nodes] == ["Relu", "QuantizeLinear", "MatMul", "Add"]
    kept = after.nodes[1]
    assert (kept.inputs, len(kept.outputs)) == ((start,), 1)
    assert after.bits[kept.outputs[0]] == 8
    assert start not in after.bits
    assert after.nodes[2].inputs == (kept.outputs[0], weight)
    numbers = ((integers.astype(np.float32) - 128) * np.float32(0.004)).astype(np.float32)
    feeds = {"x": draw(4, 8)}
    step = step_of(np.maximum(feeds["x"], 0))
    after = valued(after, {weight: numbers})
    assert_within(after, computed(model, feeds), feeds, {kept.outputs[0]: step})


def test_product_of_two_maps() -> None:
    net = Net(a=(2, 3, 8), b=(2, 8, 5))
    left, right = ranged(net, "a"), ranged(net, "b")
    total = net.add("MatMulInteger", left[0], right[0], left[2], right[2])
    end = net.add("Mul", net.add("Cast", total, to=FLOAT), net.add("Mul", left[1], right[1]))
    model = net.model(end)
    after, _ = DYNAMIC.rewrite(resolved(model))
    assert (only(after).op, only(after).inputs) == ("MatMul", ("a", "b"))
    assert (after.bits["a"], after.bits["b"]) == (8, 8)
    feeds = {"a": draw(2, 3, 8), "b": draw(2, 8, 5)}
    halves = {name: step_of(x) / 2 for name, x in feeds.items()}
    bound = halves["b"] * np.abs(feeds["a"]).sum(-1, keepdims=True)
    bound = bound + halves["a"] * np.abs(feeds["b"]).sum(-2, keepdims=True)
    bound = bound + 8 * halves["a"] * halves["b"]
    difference = np.abs(in_floats(after, feeds)[end] - computed(model, feeds)[end])
    assert np.all(difference <= bound + 1e-4)
    assert bound.max() < 0.1


def test_a_square_needs_its_scale_twice() -> None:
    net = Net(x=(4, 4))
    q, step, point = ranged(net, "x")
    total = net.add("Cast", net.add("MatMulInteger", q, q, point, point), to=FLOAT)
    end = net.add("Mul", total, net.add("Mul", step, step))
    once = net.add(
        "Mul", net.add("Cast", net.add("MatMulInteger", q, q, point, point), to=FLOAT), step
    )
    after, _ = DYNAMIC.rewrite(resolved(net.model(end)))
    assert (only(after).op, only(after).inputs) == ("MatMul", ("x", "x"))
    after, changed = DYNAMIC.rewrite(resolved(net.model(once)))
    assert changed == ()
    assert operators(after)["MatMulInteger"] == 1


def test_the_factor_behind_the_scales_stays() -> None:
    """Once both scales are found, what is multiplied then belongs to the network."""
    net = Net(x=(4, 8))
    integers, zero = weights(8, 5)
    weight = net.constant(integers)
    scaled = product_of(net, "x", weight, 0.004, zero)
    end = net.add("Mul", scaled, draw(5))
    model = net.model(end)
    after, _ = DYNAMIC.rewrite(resolved(model))
    assert [node.op for node in after.nodes] == ["MatMul", "Mul"]
    numbers = ((integers.astype(np.float32) - 128) * np.float32(0.004)).astype(np.float32)
    after = valued(after, {weight: numbers})
    feeds = {"x": draw(4, 8)}
    expected, found = computed(model, feeds)[end], in_floats(after, feeds)[end]
    error = step_of(feeds["x"]) / 2 * np.abs(numbers).sum(0) * np.abs(draw(5))
    assert np.all(np.abs(expected - found) <= error + 1e-5)


def near_miss(change: str) -> tuple[Net, str, list[str]]:
    """A product of integers behind which something is not as it must be."""
    net = Net(x=(4, 8))
    integers, zero = weights(8, 5)
    q, step, point = ranged(net, "x")
    total = net.add("MatMulInteger", q, integers, point, zero)
    if change == "no cast":
        return net, total, []
    cast = net.add("Cast", total, to=TensorProto.INT32 if change == "cast to integers" else FLOAT)
    if change == "no scale":
        return net, cast, []
    if change == "cast read twice":
        return net, net.add("Mul", cast, net.add("Mul", step, 0.004)), [net.add("Neg", cast)]
    factor: Any = {
        "scale per row": np.full((4, 1), 0.004, np.float32),
        "scale of a map": net.add("ReduceMax", "x", keepdims=0),
        "two constants": net.add("Identity", step),
    }.get(change, 0.004)
    if change == "two constants":
        return net, net.add("Mul", net.add("Mul", cast, 0.5), net.add("Mul", 0.004, factor)), []
    if change == "product read twice":
        return net, net.add("Mul", cast, net.add("Mul", step, factor)), [net.add("Neg", total)]
    return net, net.add("Mul", cast, net.add("Mul", step, factor)), []


@pytest.mark.parametrize("change", [
    "no cast", "no scale", "cast read twice", "product read twice", "scale per row",
    "scale of a map", "two constants",
])  # fmt: skip
def test_near_misses(change: str) -> None:
    """The product stays one of integers, and nothing is lost."""
    net, end, others = near_miss(change)
    before = resolved(net.model(end, *others))
    after, changed = DYNAMIC.rewrite(before)
    assert changed == ()
    assert after.nodes == before.nodes
    assert after.bits == before.bits


def test_a_scale_that_others_read_keeps_the_range() -> None:
    net = Net(x=(4, 8))
    integers, zero = weights(8, 5)
    q, step, point = ranged(net, "x")
    total = net.add("Cast", net.add("MatMulInteger", q, integers, point, zero), to=FLOAT)
    end = net.add("Mul", total, net.add("Mul", step, 0.004))
    after, _ = DYNAMIC.rewrite(resolved(net.model(end, net.add("Neg", step))))
    assert operators(after) == {"DynamicQuantizeLinear": 1, "MatMul": 1, "Neg": 1}
    assert after.nodes[1].inputs[0] == q


def test_dynamic_product_of_another_domain() -> None:
    integers, zero = weights(8, 5)
    scales, bias = np.linspace(0.002, 0.005, 5, dtype=np.float32), draw(5)
    net = Net(x=(4, 8))
    end = net.add("DynamicQuantizeMatMul", "x", integers, scales, np.full(5, zero), bias)
    net.nodes[-1].domain = "com.microsoft"
    model, _ = standardised(net.model(end))
    after, _ = DYNAMIC.rewrite(resolved(model))
    assert [node.op for node in after.nodes] == ["MatMul", "Add"]
    assert after.nodes[0].inputs[0] == "x"
    assert after.bits["x"] == 8
    feeds = {"x": draw(4, 8)}
    assert_within(after, computed(model, feeds), feeds, {"x": step_of(feeds["x"])})
    after, _ = QDQ.rewrite(after)
    assert after.bits[after.nodes[0].inputs[1]] == 8


def test_integer_products_to_floats_of_one_range() -> None:
    """What ONNX Runtime makes of several products of one map."""
    net = Net(x=(4, 8))
    q, step, point = ranged(net, "x")
    ends = []
    for columns in (5, 6):
        integers, zero = weights(8, columns)
        end = net.add("MatMulIntegerToFloat", q, integers, step, 0.004, point, zero)
        net.nodes[-1].domain = "com.microsoft"
        ends.append(end)
    model, _ = standardised(net.model(*ends))
    after, _ = DYNAMIC.rewrite(resolved(model))
    assert operators(after) == {"MatMul": 2}
    assert after.bits["x"] == 8
    feeds = {"x": draw(4, 8)}
    steps = {"x": step_of(feeds["x"])}
    assert_within(after, computed(model, feeds), feeds, steps)
    assert set(bounds(after, steps)) == set(ends)


def test_other_pairs_are_left_to_their_own_pass() -> None:
    net = Net(x=(4, 8))
    integers, zero = weights(8, 5)
    seen = net.pair(net.add("Relu", "x"), 1.1)
    end = product_of(net, net.add("Neg", seen), net.constant(integers), 0.004, zero)
    after, _ = DYNAMIC.rewrite(resolved(net.model(end)))
    assert operators(after) == {
        "Relu": 1,
        "QuantizeLinear": 1,
        "DequantizeLinear": 1,
        "Neg": 1,
        "MatMul": 1,
    }
    pair = [node for node in after.nodes if "uantize" in node.op]
    assert [len(node.inputs) for node in pair] == [3, 3]
