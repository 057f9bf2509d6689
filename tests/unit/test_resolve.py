"""Shapes and constants, against ONNX's inference of whole models and its reference evaluator."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.load import load_model
from dataflow_sim.ingest.shapes.evaluation import DIRECT_OPS, divided
from dataflow_sim.ingest.shapes.reader import resolve
from dataflow_sim.ingest.shapes.resolver import Resolver
from tests.support.decoder import Sizes, decoder
from tests.support.resolving import SHAPE, Array, model


def bindings(text: str) -> dict[str, int]:
    pairs = (each.split("=") for each in text.split(";") if each)
    return {name.strip(): int(value) for name, value in pairs}


def inferred(found: onnx.ModelProto, dims: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """The static shapes that ONNX infers of a whole model, its dimensions bound."""
    for value in found.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in dims:
                dim.dim_value = dims[dim.dim_param]
    if dims:
        del found.graph.value_info[:]
        for value in found.graph.output:
            value.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(found, data_prop=True).graph
    shapes = {}
    for value in (*graph.value_info, *graph.input, *graph.output):
        extents = value.type.tensor_type.shape.dim
        known = value.type.tensor_type.HasField("shape")
        if known and all(dim.HasField("dim_value") for dim in extents):
            shapes[value.name] = tuple(dim.dim_value for dim in extents)
    return shapes


def test_shapes_of_every_file_are_those_of_inference_of_the_whole(shared: Path) -> None:
    compared = 0
    with (shared / "models" / "expected.csv").open() as table:
        rows = list(csv.DictReader(table))
    for row in rows:
        dims = bindings(row["symbolic dims bound to"])
        found = load_model(shared / "models" / f"{row['model']}.onnx")
        try:
            network = resolve(found, row["model"], dims)
        except NetworkError:
            assert any(each.domain == "com.microsoft" for each in found.opset_import)
            continue
        expected = inferred(found, dims)
        differing = {
            name: (network.shapes.get(name), shape)
            for name, shape in expected.items()
            if network.shapes.get(name) != shape
        }
        assert not differing, row["model"]
        compared += len(expected)
        for node in network.nodes:
            assert set(node.outputs) <= set(network.shapes)
    assert compared > 10_000


SMALL = Sizes(width=16, heads=4, key_heads=2, hidden=24, vocabulary=11, positions=12)


def decoder_feeds(batch: int, sequence: int, past: int, layers: int) -> dict[str, Array]:
    generator = np.random.default_rng(0)
    positions = np.tile(np.arange(past, past + sequence), (batch, 1))
    feeds: dict[str, Array] = {
        "input_ids": generator.integers(0, SMALL.vocabulary, (batch, sequence)),
        "attention_mask": np.ones((batch, past + sequence), np.int64),
        "position_ids": positions,
    }
    for layer, what in product(range(layers), ("key", "value")):
        kept = (batch, SMALL.key_heads, past, SMALL.head)
        feeds[f"past.{layer}.{what}"] = generator.standard_normal(kept).astype(np.float32)
    return feeds


def test_every_shape_and_constant_of_a_decoder_is_what_running_it_gives() -> None:
    batch, sequence, past, layers = 2, 3, 4, 2
    found = decoder(layers, SMALL, seed=1)
    dims = {"batch": batch, "sequence": sequence, "past": past, "total": past + sequence}
    network = resolve(found, "decoder", dims)
    assert network.shapes["logits"] == (batch, sequence, SMALL.vocabulary)

    names = [name for node in found.graph.node for name in node.output]
    del found.graph.output[:]
    found.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    feeds = decoder_feeds(batch, sequence, past, layers)
    results = ReferenceEvaluator(found).run(None, feeds)
    computed = dict(zip(names, results, strict=True))
    assert {name: network.shapes[name] for name in names} == {
        name: np.shape(array) for name, array in computed.items()
    }
    folded = 0
    for name, constant in network.constants.items():
        if name in computed and constant.value is not None:
            np.testing.assert_array_equal(constant.value, computed[name], strict=True)
            folded += 1
    live = {name for node in network.nodes for name in node.outputs}
    assert folded == len(set(names) - live) > len(live)
    macs = sum(
        prod(network.shapes[node.outputs[0]]) * network.shapes[node.inputs[0]][-1]
        for node in network.nodes
        if node.op == "MatMul"
    )
    assert macs == SMALL.macs(layers, batch, sequence, past)


def test_the_large_decoder_is_legal_and_of_the_size_it_says() -> None:
    found = decoder()
    context = onnx.checker.C.CheckerContext()
    context.ir_version, context.opset_imports = found.ir_version, {"": 17}
    for node in found.graph.node:
        onnx.checker.check_node(node, context)
    assert len(found.graph.node) > 6000
    network = resolve(found, "decoder", {"batch": 1, "sequence": 8, "past": 5, "total": 13})
    sizes = Sizes()
    tokens = (1, 8)
    assert network.shapes["logits"] == (*tokens, sizes.vocabulary)
    assert network.shapes["present.31.value"] == (1, sizes.key_heads, 13, sizes.head)
    products = [node for node in network.nodes if node.op == "MatMul"]
    assert len(products) == 32 * 9 + 1
    macs = sum(
        prod(network.shapes[node.outputs[0]]) * network.shapes[node.inputs[0]][-1]
        for node in products
    )
    assert macs == sizes.macs(32, 1, 8, 5)
    assert network.bits["input_ids"] == 64
    assert network.inputs[:3] == ("input_ids", "attention_mask", "position_ids")


def test_long_chains_of_shape_arithmetic_take_one_inference_a_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What inference cannot follow by itself (Where) stands between every two reshapes."""
    nodes, value = [], "x"
    for link in range(300):
        names = [f"{what}{link}" for what in ("shape", "same", "chosen", "value")]
        shape, same, chosen, following = names
        nodes += [
            helper.make_node("Shape", [value], [shape]),
            helper.make_node("Equal", [shape, shape], [same]),
            helper.make_node("Where", [same, "turned" if link % 2 else "flat", shape], [chosen]),
            helper.make_node("Reshape", [value, chosen], [following]),
        ]
        value = following
    nodes.append(helper.make_node("Relu", [value], ["y"]))
    constants = {"flat": np.array([4, 1, 8, -1]), "turned": np.array([1, 4, -1, 8])}
    calls = []
    infer = onnx.shape_inference.infer_shapes

    def counted(*arguments: Any, **options: Any) -> onnx.ModelProto:
        calls.append(arguments)
        return infer(*arguments, **options)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", counted)
    network = resolve(model(nodes, constants), "chain", {})
    assert network.shapes["y"] == (1, 4, 8, 8)
    assert network.shapes["value298"] == (4, 1, 8, 8)
    assert len(calls) < 20  # links that differ in names only are inferred once


Kind = type[np.generic]


Case = tuple[str, list[Array | None], dict[str, Any], int]


GENERATOR = np.random.default_rng(7)


BROADCAST = [((), ()), ((3,), ()), ((2, 3), (3,)), ((2, 1, 4), (3, 1)), ((0,), (1,))]


INTEGERS: tuple[Kind, ...] = (np.int64, np.int32)


FLOATS: tuple[Kind, ...] = (np.float32, np.float64)


KINDS: tuple[Kind, ...] = (*INTEGERS, *FLOATS, np.float16, np.int8, np.uint8, np.bool_)


def drawn(shape: tuple[int, ...], kind: Kind, low: int = -9) -> Array:
    if issubclass(kind, np.bool_):
        return GENERATOR.integers(0, 2, shape).astype(bool)
    if issubclass(kind, np.floating):
        return np.asarray(GENERATOR.standard_normal(shape) * 5).astype(kind)
    values = np.asarray(GENERATOR.integers(max(low, 0 if kind is np.uint8 else low), 10, shape))
    return values.astype(kind)


def binary_cases() -> Iterator[Case]:
    numbers: tuple[Kind, ...] = (*INTEGERS, *FLOATS, np.uint8)
    for op, kind, (left, right) in product(
        ("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Less", "Equal", "Greater"),
        numbers,
        BROADCAST,
    ):
        first, second = drawn(left, kind), drawn(right, kind)
        if op in ("Div", "Mod") and not issubclass(kind, np.floating):
            second = np.where(second == 0, 3, second).astype(kind)
        if op == "Mod":
            yield op, [first, second], {"fmod": 1}, 17
        if op != "Mod" or not issubclass(kind, np.floating):
            yield op, [first, second], {}, 17
    large = np.array([2**62, -(2**62) - 1, 2**53 + 1, -7, 7, -1])
    for op, divisor in product(("Div", "Mod", "Mul"), (2, -2, 3, -3, 2**53 + 1)):
        yield op, [large, np.array(divisor)], {}, 17
    for op in ("GreaterOrEqual", "LessOrEqual"):
        yield op, [drawn((4, 5), np.int64), drawn((5,), np.int64)], {}, 17
    for op, (left, right) in product(("And", "Or", "Xor"), BROADCAST):
        yield op, [drawn(left, np.bool_), drawn(right, np.bool_)], {}, 17
    for op in ("Max", "Min"):
        yield op, [drawn((3,), np.int64), drawn((), np.int64), drawn((2, 1), np.int64)], {}, 17
        yield op, [drawn((3,), np.float32)], {}, 17


def unary_cases() -> Iterator[Case]:
    for op, kind in product(("Abs", "Neg"), (*INTEGERS, np.float32)):
        yield op, [drawn((2, 3), kind)], {}, 17
    for op, kind in product(("Ceil", "Floor", "Sqrt"), FLOATS):
        yield op, [drawn((2, 3), kind)], {}, 17
        yield op, [drawn((), kind)], {}, 17
    yield "Not", [drawn((5,), np.bool_)], {}, 17
    yield "Identity", [drawn((2, 2), np.int64)], {}, 17
    for source, target in product(KINDS, KINDS):
        to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
        yield "Cast", [np.abs(drawn((3, 2), source))], {"to": to}, 17


def movement_cases() -> Iterator[Case]:
    array = drawn((2, 3, 4), np.int64)
    for axis in (0, 1, 2, -1, -3):
        yield "Concat", [array, drawn((2, 3, 4), np.int64)], {"axis": axis}, 17
        yield "Gather", [array, np.array([[1, 0], [-1, -2]])], {"axis": axis}, 17
        yield "Gather", [array, np.array(1, np.int32)], {"axis": axis}, 17
        indices = GENERATOR.integers(-2, 2, (2, 3, 4))
        yield "GatherElements", [array, indices], {"axis": axis}, 17
        yield "Unsqueeze", [array, np.array([axis])], {}, 17
        yield "Unsqueeze", [array], {"axes": [abs(axis)]}, 11
    yield "Unsqueeze", [array, np.array([0, -1, 2])], {}, 17
    thin = drawn((1, 3, 1, 2), np.float32)
    yield "Squeeze", [thin], {}, 17
    for axes in ([0], [2], [-2], [0, 2]):
        yield "Squeeze", [thin, np.array(axes)], {}, 17
        yield "Squeeze", [thin], {"axes": [axis % 4 for axis in axes]}, 11
    for shape in ([6, -1], [0, 12], [0, 0, -1], [-1], [2, 3, 2, 2]):
        yield "Reshape", [array, np.array(shape)], {}, 17
    yield "Reshape", [drawn((0, 3), np.int64), np.array([0, 5])], {"allowzero": 1}, 17
    for perm in ([2, 0, 1], [1, 0, 2]):
        yield "Transpose", [array], {"perm": perm}, 17
    yield "Transpose", [array], {}, 17
    for shape in ([3, 4], [1], [5, 1, 1, 1], [2, 3, 4]):
        yield "Expand", [array, np.array(shape)], {}, 17
    yield "Expand", [drawn((3, 1), np.float32), np.array([2, 1, 6])], {}, 17
    for kind in KINDS:
        choices: list[Array | None] = [drawn((3,), np.bool_), drawn((2, 3), kind), drawn((), kind)]
        yield "Where", choices, {}, 17
    whole = 2**63 - 1
    for start, end, step in (
        (0, whole, 1),
        (-2, whole, 1),
        (-1, -whole, -1),
        (3, 0, -2),
        (1, 1, 1),
    ):
        bounds: list[Array | None] = [np.array([start]), np.array([end])]
        yield "Slice", [array, *bounds, np.array([2]), np.array([step])], {}, 17
        yield "Slice", [array, *bounds, np.array([-1]), np.array([step])], {}, 17
        if step == 1:
            yield "Slice", [array, *bounds], {}, 17
            yield "Slice", [array], {"starts": [start], "ends": [end], "axes": [1]}, 9
    ends: list[Array | None] = [np.array([0, 1]), np.array([1, 9])]
    yield "Slice", [array, *ends, np.array([0, 2]), None], {}, 17


def counting_cases() -> Iterator[Case]:
    for start, limit, delta in ((0, 5, 1), (5, 0, -2), (3, 3, 1), (0, 7, 3), (2, -9, 1)):
        for kind in (*INTEGERS, np.float32):
            yield "Range", [np.array(each, kind) for each in (start, limit, delta)], {}, 17
    yield "Range", [np.array(each, np.float32) for each in (0.1, 1.0, 0.3)], {}, 17
    ops = ("ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum")
    for op, kind, keep in product(ops, (*INTEGERS, np.float32), (0, 1)):
        array = drawn((2, 3, 4), kind)
        yield op, [array], {"keepdims": keep}, 18
        yield op, [array, np.array([-1, 0])], {"keepdims": keep}, 18
        yield op, [array], {"keepdims": keep, "axes": [1]}, 11
        yield op, [array, np.array([], np.int64)], {"noop_with_empty_axes": 1}, 18
    yield "ReduceProd", [np.array([1, 4, 8, 8])], {"keepdims": 0}, 13


CASES = [*binary_cases(), *unary_cases(), *movement_cases(), *counting_cases()]


def of_constants(case: Case) -> tuple[onnx.ModelProto, dict[str, Array]]:
    op, operands, attributes, version = case
    feeds = {f"c{i}": array for i, array in enumerate(operands) if array is not None}
    names = [f"c{i}" if array is not None else "" for i, array in enumerate(operands)]
    node = helper.make_node(op, names, ["y"], **attributes)
    return model([node], feeds, version=version), feeds


@pytest.mark.parametrize("op", DIRECT_OPS)
def test_folded_values_are_those_of_the_reference_evaluator(op: str) -> None:
    cases = [case for case in CASES if case[0] == op]
    assert cases
    for case in cases:
        found, _ = of_constants(case)
        with np.errstate(all="ignore"):
            (expected,) = ReferenceEvaluator(found).run(None, {"x": np.zeros(SHAPE, np.float32)})
        resolver = Resolver(found, "case")
        resolver.run()
        value = resolver.values["y"]
        np.testing.assert_array_equal(value, expected, err_msg=str(case))
        assert value.dtype == np.asarray(expected).dtype, case
        assert resolver.shapes["y"] == np.shape(expected)


def test_shape_and_size_are_known_of_maps() -> None:
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [1, 4, 8, 8]),
        ({"start": 1}, [4, 8, 8]),
        ({"start": -2, "end": -1}, [8]),
        ({"end": 99}, [1, 4, 8, 8]),
        ({"start": 3, "end": 1}, []),
    ]
    for attributes, expected in cases:
        found = model([helper.make_node("Shape", ["x"], ["y"], **attributes)])
        resolver = Resolver(found, "shape")
        resolver.run()
        (reference,) = ReferenceEvaluator(found).run(None, {"x": np.zeros(SHAPE, np.float32)})
        assert resolver.values["y"].tolist() == expected == np.asarray(reference).tolist()
    size = Resolver(model([helper.make_node("Size", ["x"], ["y"])]), "size")
    size.run()
    assert size.values["y"] == 256
    assert size.constants["y"] == "y"


def test_elements_are_gathered_where_indices_are_fewer_than_data() -> None:
    """Element by element, as the standard defines it; the reference evaluator refuses these."""
    data = drawn((3, 4, 2), np.int64)
    indices = np.array([[[0, -1], [2, 1]], [[1, -3], [0, 0]]])
    for axis in range(3):
        source = np.moveaxis(data, 0, axis)  # three elements along the axis
        node = helper.make_node("GatherElements", ["d", "i"], ["y"], axis=axis)
        resolver = Resolver(model([node], {"d": source, "i": indices}), "gather")
        resolver.run()
        for place in np.ndindex(2, 2, 2):
            chosen = list(place)
            chosen[axis] = indices[place]
            assert resolver.values["y"][place] == source[tuple(chosen)]


def test_integers_are_divided_towards_zero() -> None:
    numbers = [-(2**62) - 1, -9, -8, -1, 0, 1, 7, 2**53 + 1, 2**62]
    divisors = [-(2**53), -3, -2, -1, 1, 2, 3, 2**40]
    left, right = np.array(numbers)[:, None], np.array(divisors)
    exact = [
        [abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) for b in divisors] for a in numbers
    ]
    assert divided(left, right).tolist() == exact
    unsigned = divided(np.array([7, 200], np.uint8), np.array(3, np.uint8))
    assert unsigned.tolist() == [2, 66]
    assert unsigned.dtype == np.dtype(np.uint8)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Div", ["i", "zero"], ["c"]),
        helper.make_node("Mod", ["i", "zero"], ["c"]),
        helper.make_node("RandomUniform", [], ["c"], shape=[3]),
        helper.make_node("RandomNormalLike", ["f"], ["c"]),
        helper.make_node("Bernoulli", ["f"], ["c"]),
        helper.make_node("Expand", ["f", "large"], ["c"]),
        helper.make_node("Conv", ["f3", "f3"], ["c"]),
    ],
    ids=lambda node: node.op_type,
)
def test_what_has_no_value_or_too_large_a_one_stays_a_constant_without(
    node: onnx.NodeProto,
) -> None:
    constants = {
        "i": np.array([1, 2, 3]),
        "zero": np.array(0),
        "f": np.ones(3, np.float32),
        "f3": np.ones((1, 1, 3), np.float32),
        "large": np.array([2**21, 3]),
    }
    resolver = Resolver(model([node], constants, outputs=["c"]), "none")
    resolver.run()
    assert "c" in resolver.constants
    assert "c" not in resolver.values
    assert "c" in resolver.shapes
