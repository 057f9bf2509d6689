"""What files state of types and widths, and static parts before data-dependent tails."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.load import load_model
from dataflow_sim.ingest.network import ResolvedNetwork
from dataflow_sim.ingest.shapes.reader import resolve
from dataflow_sim.ingest.shapes.tails import DATA_DEPENDENT
from tests.support.resolving import Array, model


def value_info(name: str, shape: Sequence[int | str] | None, kind: int = 1) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


FOREIGN = helper.make_node("Odd", ["x"], ["m"], name="odd", domain="own")


RELU = helper.make_node("Relu", ["m"], ["y"], name="relu")


def test_stated_shapes_complete_what_cannot_be_inferred() -> None:
    found = resolve(model([FOREIGN, RELU], stated=[value_info("m", (2, 3))]), "s", {})
    assert found.shapes["y"] == (2, 3)
    assert found.nodes[0].op == "own::Odd"
    with pytest.raises(NetworkError, match=r"no shape can be inferred for 'm'.*'odd' \(Odd\)"):
        resolve(model([FOREIGN, RELU]), "s", {})
    partly = model(
        [
            helper.make_node("Odd", ["x"], ["k"], domain="own"),
            helper.make_node("Reshape", ["x", "k"], ["m"]),
            RELU,
        ],
        stated=[value_info("k", (2,), 7), value_info("m", ("n", 8))],
    )
    partly.graph.value_info[1].type.tensor_type.shape.dim[0].dim_value = 32
    assert resolve(partly, "s", {}).shapes["y"] == (32, 8)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (value_info("m", (1, 4, 8, 9)), "'m' of node 'n'.*differ in dimension 3"),
        (value_info("m", (1, 4, 64)), "'m' of node 'n'.*differ in the number of axes"),
        (value_info("m", None, 7), "'m' of node 'n'.*type FLOAT, the file states INT64"),
        (value_info("m", None, 999), "'m' of node 'n'.*type FLOAT, the file states 999"),
    ],
)
def test_stated_types_that_contradict_inference(stated: onnx.ValueInfoProto, message: str) -> None:
    nodes = [helper.make_node("Abs", ["x"], ["m"], name="n"), RELU]
    with pytest.raises(NetworkError, match=message):
        resolve(model(nodes, stated=[stated]), "s", {})


WIDTHS = {
    "FLOAT16": 16,
    "BFLOAT16": 16,
    "INT8": 8,
    "UINT8": 8,
    "FLOAT8E4M3FN": 8,
    "FLOAT8E5M2FNUZ": 8,
    "INT4": 4,
    "UINT4": 4,
    "FLOAT4E2M1": 4,
    "INT2": 2,
    "UINT2": 2,
    "INT16": 16,
    "UINT16": 16,
    "INT32": 32,
    "UINT32": 32,
    "INT64": 64,
    "UINT64": 64,
    "BOOL": 8,
    "COMPLEX64": 64,
    "COMPLEX128": 128,
}


@pytest.mark.parametrize("name", [*WIDTHS, "FLOAT", "DOUBLE", "STRING"])
def test_every_element_type_has_its_width(name: str) -> None:
    kind = TensorProto.DataType.Value(name)
    weight = TensorProto(name="w", dims=[3], data_type=kind)
    weight.data_location = TensorProto.EXTERNAL
    nodes = [
        helper.make_node("Cast", ["x"], ["m"], to=kind),
        helper.make_node("Cast", ["m"], ["y"], to=1),
        helper.make_node("Identity", ["w"], ["z"]),
    ]
    version = onnx.defs.onnx_opset_version()
    found = model(nodes, outputs=["y", "z"], version=version)
    found.graph.initializer.append(weight)
    bits = resolve(found, "widths", {}).bits
    expected = WIDTHS.get(name)
    assert bits == ({} if expected is None else dict.fromkeys(("w", "m", "z"), expected))


def test_widths_of_constants_nodes_inputs_and_of_quantised_maps() -> None:
    nodes = [
        helper.make_node("Constant", [], ["k"], value_ints=[1, 256]),
        helper.make_node("QuantizeLinear", ["x", "s", "o"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "o"], ["d"]),
        helper.make_node("Reshape", ["d", "k"], ["r"]),
        helper.make_node("Greater", ["r", "s"], ["y"]),
        FOREIGN,
    ]
    constants: dict[str, Array] = {"s": np.array(0.1, np.float32), "o": np.array(3, np.int8)}
    found = model(nodes, constants, stated=[value_info("m", (1,), TensorProto.FLOAT16)])
    network = resolve(found, "widths", {})
    assert network.bits == {"o": 8, "k": 64, "q": 8, "y": 8, "m": 16}


def conv_then(*nodes: onnx.NodeProto, outputs: Sequence[str] = ("y",)) -> ResolvedNetwork:
    """A convolution c, its activation a, and a tail."""
    constants = {
        "w": np.ones((4, 4, 3, 3), np.float32),
        "one": np.array([1]),
        "zero": np.array(0),
        "unit": np.array(1),
        "half": np.array([0.5], np.float32),
    }
    head = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["a"], name="relu"),
    ]
    return resolve(model([*head, *nodes], constants, outputs), "tail", {})


def best(name: str = "count") -> list[onnx.NodeProto]:
    """An integer computed from the maps."""
    return [
        helper.make_node("ReduceMax", ["c"], ["m"], name="max", keepdims=0),
        helper.make_node("Cast", ["m"], [f"{name}0"], name="cast", to=7),
        helper.make_node("Reshape", [f"{name}0", "one"], [name], name="vector"),
    ]


def computed_shape(op: str) -> list[onnx.NodeProto]:
    """A node of this operator whose shape an integer from the maps decides."""
    inputs = {
        "Range": ["zero", "count0", "unit"],
        "Slice": ["a", "count", "count"],
        "ConstantOfShape": ["count"],
        "Expand": ["count", "count"],
    }
    return [*best(), helper.make_node(op, inputs.get(op, ["a", "count"]), ["y"], name="it")]


@pytest.mark.parametrize(
    "op", ["Range", "TopK", "Slice", "Reshape", "Expand", "Tile", "ConstantOfShape", "ReduceSum"]
)
def test_computed_shapes_are_cut_off(op: str) -> None:
    tail = computed_shape(op)
    if op == "TopK":
        tail[-1].output.append("indices")
    found = conv_then(*tail)
    assert found.left_out == (("it", op),)
    names = [node.name for node in found.nodes]
    assert names == [n for n in ("conv", "relu", "max", "cast", "vector") if n in names]
    assert ("relu" in names) == ("a" in tail[-1].input)
    handed_over = {"count0"} if op == "Range" else {"count"}
    handed_over |= {"a"} & set(tail[-1].input)
    assert set(found.outputs) == handed_over
    assert op in DATA_DEPENDENT


def test_everything_behind_a_cut_is_cut_and_what_it_reads_is_an_output() -> None:
    found = conv_then(
        helper.make_node("NonZero", ["a"], ["places"], name="places"),
        helper.make_node("Sigmoid", ["c"], ["s"], name="s"),
        helper.make_node("Transpose", ["places"], ["t"], name="t"),
        helper.make_node("GatherND", ["s", "t"], ["g"], name="g"),
        helper.make_node("ReduceMax", ["g"], ["known"], name="known", keepdims=1),
        helper.make_node("Mul", ["known", "s"], ["y"], name="y"),
        helper.make_node("Tanh", ["c"], ["z"], name="z"),
        outputs=["y", "z", "c"],
    )
    assert found.shapes["known"] == (1,)  # known, and yet of nothing that is computed
    names = [("places", "NonZero"), ("t", "Transpose"), ("g", "GatherND")]
    assert found.left_out == (*names, ("known", "ReduceMax"), ("y", "Mul"))
    assert found.outputs == ("z", "c", "a", "s")
    assert [node.name for node in found.nodes] == ["conv", "relu", "s", "z"]
    assert found.inputs == ("x",)


@pytest.mark.parametrize("op", ["NonZero", "Unique", "Compress", "Loop", "Scan"])
def test_operators_that_always_depend_on_data_are_cut_off(op: str) -> None:
    flat = helper.make_node("Reshape", ["a", "minus"], ["flat"], name="flat")
    minus = helper.make_node("Constant", [], ["minus"], value_ints=[-1])
    yes = helper.make_node("Cast", ["flat"], ["yes"], name="yes", to=9)
    on = helper.make_node("Cast", ["unit"], ["on"], name="on", to=9)
    inputs = {"Compress": ["flat", "yes"], "Loop": ["unit", "on"]}.get(op, ["flat"])
    tail = helper.make_node(op, inputs, ["y"], name="it")
    if op in ("Loop", "Scan"):
        empty = helper.make_empty_tensor_value_info
        step = {"Loop": ["number", "on"], "Scan": ["held"]}[op]
        inner = [
            helper.make_node("NonZero", ["flat" if op == "Loop" else "held"], ["places"]),
            helper.make_node("Identity", ["on"], ["still"]),
        ]
        kinds = {"number": TensorProto.INT64, "on": TensorProto.BOOL, "held": TensorProto.FLOAT}
        results = {"Loop": ["still", "places"], "Scan": ["places"]}[op]
        body = helper.make_graph(
            inner if op == "Loop" else inner[:1],
            "body",
            [value_info(name, None if name == "held" else (), kinds[name]) for name in step],
            [empty(name) for name in results],
        )
        tail.attribute.append(helper.make_attribute("body", body))
        if op == "Scan":
            tail.attribute.append(helper.make_attribute("num_scan_inputs", 1))
    found = conv_then(minus, flat, yes, on, tail)
    assert found.left_out == (("it", op),)
    assert found.outputs == (("flat", "yes") if op == "Compress" else ("flat",))


def test_the_table_names_operators_and_inputs_of_the_standard() -> None:
    schemas: dict[str, list[onnx.defs.OpSchema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            schemas.setdefault(schema.name, []).append(schema)
    for op, positions in DATA_DEPENDENT.items():
        most = max(len(schema.inputs) for schema in schemas[op])
        assert all(position < most for position in positions), op


def test_static_operators_of_the_table_are_kept() -> None:
    found = conv_then(
        helper.make_node("TopK", ["a", "one"], ["y", "i"], name="top"),
        helper.make_node("Reshape", ["y", "one"], ["z"], name="bad"),
        outputs=["y", "i"],
    )
    assert (found.left_out, found.outputs) == ((), ("y", "i"))
    assert found.shapes["y"] == (1, 4, 8, 1)


def test_a_branch_of_unknown_shape_is_cut_off() -> None:
    branches: list[tuple[str, str, dict[str, Any]]] = [
        ("then", "Relu", {}),
        ("else", "Flatten", {"axis": 1}),
    ]
    bodies = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["a"], ["out"], **attributes)],
            name,
            [],
            [helper.make_empty_tensor_value_info("out")],
        )
        for name, op, attributes in branches
    }
    found = conv_then(
        helper.make_node("ReduceMax", ["c"], ["m"], keepdims=0, name="max"),
        helper.make_node("Cast", ["m"], ["yes"], to=9, name="yes"),
        helper.make_node("If", ["yes"], ["y"], name="branch", **bodies),
    )
    assert found.left_out == (("branch", "If"),)
    assert found.outputs == ("a", "yes")


def test_a_constant_condition_makes_no_constant_of_maps() -> None:
    body = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["out"])],
        "b",
        [],
        [helper.make_empty_tensor_value_info("out")],
    )
    found = conv_then(
        helper.make_node("Cast", ["one"], ["yes"], to=9),
        helper.make_node("If", ["yes"], ["y"], name="branch", then_branch=body, else_branch=body),
    )
    assert "y" not in found.constants
    assert found.nodes[-1].inputs == ("yes", "a")
    assert found.shapes["y"] == (1, 4, 8, 8)


def test_unknown_shapes_that_depend_on_nothing_are_errors_still() -> None:
    odd = helper.make_node("Odd", ["a"], ["y"], name="odd", domain="own")
    with pytest.raises(NetworkError, match=r"no shape can be inferred for 'y'.*'odd'"):
        conv_then(odd)
    late = helper.make_node("Odd", ["a"], ["z"], name="odd", domain="own")
    with pytest.raises(NetworkError, match=r"no shape can be inferred for 'z'.*'odd'"):
        conv_then(helper.make_node("NonZero", ["a"], ["y"]), late, outputs=["y", "z"])


def test_a_network_of_nothing_static_is_refused() -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("NonZero", ["f"], ["y"], name="places"),
    ]
    with pytest.raises(NetworkError, match=r"'places' \(NonZero\) depend on data.*no static part"):
        resolve(model(nodes), "none", {})


def test_the_static_part_of_a_detector_has_its_published_macs(shared: Path) -> None:
    path = shared / "models" / "tv_ssdlite320_script17.onnx"
    found = resolve(load_model(path), "ssdlite", {})
    macs = sum(
        prod(found.shapes[node.outputs[0]]) * prod(found.shapes[node.inputs[1]][1:])
        for node in found.nodes
        if node.op == "Conv"
    )
    assert macs == 583_171_904
    assert {op for _, op in found.left_out} >= {"NonZero", "GatherND", "TopK"}
    names = {node.name for node in found.nodes}
    assert not names & {name for name, _ in found.left_out}
    assert all(name in found.shapes for name in found.outputs)
    written = {name for node in found.nodes for name in node.outputs}
    assert set(found.outputs) <= written
