"""Scans and local functions entered, limits, and malformed bodies refused."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.bodies import writer as model_writer
from dataflow_sim.ingest.bodies.entering import BodyChoices, bodies_left, enter_bodies
from dataflow_sim.ingest.bodies.writer import MAXIMUM_UNROLLED_NODES
from tests.support.bodies import (
    NONE,
    Array,
    drawn,
    entered,
    folded,
    operators,
    parsed,
    run,
    same,
)
from tests.support.body_models import (
    BRANCHES,
    FUNCTIONS,
    LOOP,
    NESTED,
    SCAN,
    nested,
    scanned,
    with_trips,
)

SCANS: list[dict[str, list[int]]] = [
    {"scan_input_axes": [0, 1]},
    {"scan_input_axes": [-2, -1], "scan_input_directions": [1, 0]},
    {"scan_input_axes": [0, 1], "scan_input_directions": [0, 1], "scan_output_directions": [1, 0]},
    {"scan_input_axes": [0, 1], "scan_output_axes": [1, -1], "scan_output_directions": [0, 1]},
]


@pytest.mark.parametrize("given", SCANS)
@pytest.mark.parametrize("trips", [None, 2])
def test_a_scan_is_written_out(given: dict[str, list[int]], trips: int | None) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(SCAN)
    for name, values in given.items():
        model.graph.node[0].attribute.append(helper.make_attribute(name, values))
    for dim in (dim for value in model.graph.output for dim in value.type.tensor_type.shape.dim):
        dim.dim_param = "any"
    feeds = {
        name: drawn(*shape, seed=position)
        for position, (name, shape) in enumerate(
            {"h0": (3,), "x": (5, 3), "u": (2, 5), "w": (3,)}.items()
        )
    }
    choices = NONE if trips is None else BodyChoices(trips={"scan": trips})
    result, said = entered(model, choices)
    for one, other in zip(scanned(model, feeds, trips), run(result, feeds), strict=True):
        np.testing.assert_array_equal(one, other)
    source = "the extent of what it scans" if trips is None else "as --trips scan=2 says"
    assert said == [f"Scan 'scan': {trips or 5} trips, {source}"]


def test_a_scan_of_unknown_extent_is_assumed() -> None:
    result, said = enter_bodies(SCAN, "net", NONE, {}, {})
    assert said == (
        "Scan 'scan': its trips depend on data: 1 trip is assumed; give their number with "
        "--trips scan=N",
    )
    assert operators(result).count("Gather") == 2
    # from the back a row is found without the extent
    model = onnx.ModelProto()
    model.CopyFrom(SCAN)
    for name, values in (("scan_input_directions", [1, 1]), ("scan_input_axes", [0, 1])):
        model.graph.node[0].attribute.append(helper.make_attribute(name, values))
    for value in model.graph.output:
        value.type.tensor_type.shape.dim[0].dim_param = "any"
    feeds = {"h0": drawn(3), "x": drawn(5, 3), "u": drawn(2, 5), "w": drawn(3, seed=1)}
    result, _ = enter_bodies(model, "net", BodyChoices(trips={"scan": 3}), {}, {})
    for one, other in zip(scanned(model, feeds, 3), run(result, feeds), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_plain_scan_is_what_the_evaluator_gives() -> None:
    model = parsed("""
    main (float[2] s0, float[4, 2] x) => (float[2] s, float[4, 2] y) {
      [scan] s, y = Scan <num_scan_inputs = 1,
        body = step (float[2] s, float[2] row) => (float[2] t, float[2] row) {
          [add] t = Add(s, row) }> (s0, x)
    }""")
    same(model, {"s0": drawn(2), "x": drawn(4, 2, seed=1)})


def test_a_scan_of_what_a_branch_gives_waits_for_its_shape() -> None:
    model = parsed("""
    main (bool c, float[2] s0, float[4, 2] x) => (float[2] s) {
      [cond] v = If (c) <
        then_branch = t () => (float[N, 2] a) { [j] a = Concat <axis = 0> (x, x) },
        else_branch = e () => (float[N, 2] a) { [n] a = Neg(x) }>
      [scan] s = Scan <num_scan_inputs = 1,
        body = step (float[2] s, float[2] row) => (float[2] t) { [add] t = Add(s, row) }> (s0, v)
    }""")
    feeds = {"c": np.array(True), "s0": drawn(2), "x": drawn(4, 2, seed=1)}
    same(model, feeds)
    assert entered(model)[1][1] == "Scan 'scan': 8 trips, the extent of what it scans"
    choices = BodyChoices({"cond": "else"})
    same(model, {**feeds, "c": np.array(False)}, choices)
    assert entered(model, choices)[1][1] == "Scan 'scan': 4 trips, the extent of what it scans"


@pytest.mark.parametrize("branch", ["then", "else"])
def test_functions_are_inlined(branch: str) -> None:
    choices = BodyChoices({"one/cond": branch, "two/cond": branch})
    result, _ = entered(FUNCTIONS, choices)
    x = drawn(3, 3)
    expected: list[Array] = []
    for alpha in map(np.float32, (0.3, 0.5)):
        value = expected[-1] if expected else x
        product = alpha * (value @ value)
        expected.append(alpha * (value @ product) if branch == "then" else product - value)
    results = run(result, {"x": x, "c": np.array(branch == "then")})
    np.testing.assert_allclose(results, expected, rtol=1e-5)
    assert result.graph.node[0].name == "one/call/product"
    names = [node.name for node in result.graph.node if node.op_type == "Sub"]
    assert names == ([] if branch == "then" else ["one/cond/else/n/sub", "two/cond/else/n/sub"])


def test_an_inlined_function_is_what_the_evaluator_calls() -> None:
    model = parsed("""
    main (float[3, 3] x) => (float[3, 3] y) {
      [one] t = local.outer <alpha = 0.25> (x)
      [two] y = local.outer <alpha = 4.0> (t)
    }
    <domain: "local", opset_import: ["": 18]>
    inner (v, w) => (u) { [k] k = Constant <value_float = 2.0> () [s] s = Add(v, k)
                          [sub] u = Sub(s, w) }
    <domain: "local", opset_import: ["": 18, "local": 1]>
    outer <alpha> (v) => (w) {
      [product] t = Gemm <alpha: float = @alpha> (v, v)
      [call] u = local.inner (t, v)
      [again] w = local.inner (v, u)
    }
    """)
    same(model, {"x": drawn(3, 3)})


def test_an_input_that_a_call_leaves_out_stays_left_out() -> None:
    model = parsed("""
    main (float[4] x, float low) => (float[4] y) { [call] y = local.limit (x, low) }
    <domain: "local", opset_import: ["": 18]>
    limit (x, low, high) => (y) { [clip] y = Clip (x, low, high) }
    """)
    result, _ = entered(model)
    assert list(result.graph.node[0].input) == ["x", "low", ""]
    x = drawn(4)
    np.testing.assert_array_equal(
        run(result, {"x": x, "low": np.array(0.1, np.float32)})[0], np.maximum(x, np.float32(0.1))
    )


def test_a_function_called_in_a_body_that_stays_closed_is_kept() -> None:
    model = parsed("""
    main (float[4] x, bool c) => (float[4] y) {
      [outer] y = If (c) <
        then_branch = t () => (float[4] o) {
          [n] n = local.twice (x)
          [s] s = Shape(n)
          [k] k = Constant <value_int = 4> ()
          [e] e = Equal(s, k)
          [inner] o = If (e) <
            then_branch = tt () => (float[4] p) { [call] p = local.twice (n) },
            else_branch = te () => (float[4] p) { [r] p = Relu (n) }> },
        else_branch = e () => (float[4] o) { [i] o = Identity(x) }>
    }
    <domain: "local", opset_import: ["": 18]>
    twice (a) => (b) { [add] b = Add(a, a) }
    """)
    first, _ = enter_bodies(model, "net", NONE, *folded(model))
    assert [function.name for function in first.functions] == ["twice"]
    same(model, {"x": drawn(4), "c": np.array(True)})
    names = [node.name for node in entered(model)[0].graph.node]
    assert "outer/then/inner/then/call/add" in names


def conv_macs(model: onnx.ModelProto) -> dict[str, int]:
    """MACs of the convolutions of a main graph by name, by the definition."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    shapes.update((tensor.name, list(tensor.dims)) for tensor in graph.initializer)
    return {
        node.name: prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
        for node in graph.node
        if node.op_type == "Conv"
    }


def test_macs_of_the_branch_taken_are_counted(shared: Path) -> None:
    model = onnx.load(shared / "models" / "torch_cond_if.onnx", load_external_data=False)
    main = {"node_conv2d": 64 * 64 * 16 * 3 * 9}
    assert conv_macs(model) == main
    assert sum(main.values()) == 1_769_472
    result, said = enter_bodies(model, "net", NONE, {}, {})
    assert conv_macs(result) == {
        **main,
        "node_cond__0/then/node_conv2d_2": 64 * 64 * 16 * 16 * 9,
    }
    assert said == (
        "If 'node_cond__0': the then branch (2 nodes) is assumed, the else branch has 2; take "
        "the other with --branch node_cond__0=else",
    )
    result, _ = enter_bodies(model, "net", BodyChoices({"node_cond__0": "else"}), {}, {})
    assert conv_macs(result) == {**main, "node_cond__0/else/node_conv2d_3": 64 * 64 * 16 * 16}


def body_operators(model: onnx.ModelProto, branch: str) -> list[str]:
    node = next(node for node in model.graph.node if node.op_type == "If")
    graph = helper.get_node_attr_value(node, f"{branch}_branch")
    return [each.op_type for each in graph.node]


def test_the_branch_of_a_detector_is_entered(shared: Path) -> None:
    path = shared / "models" / "tv_ssdlite320_script17.onnx"
    model = onnx.load(path, load_external_data=False)
    before = [name for name in operators(model) if name != "If"]
    for branch, nodes in (("then", 1), ("else", 30)):
        choices = BodyChoices({"If_4329": branch})
        result, said = enter_bodies(model, "net", choices, {}, {})
        assert not bodies_left(result)
        assert f"the {branch} branch ({nodes} node" in said[0]
        # constants became initialisers; the constant that the then branch gives, an Identity
        inside = [name for name in body_operators(model, branch) if name != "Constant"]
        assert sorted(operators(result)) == sorted([*before, *(inside or ["Identity"])])
        onnx.shape_inference.infer_shapes(result, strict_mode=True, data_prop=True)


@pytest.mark.parametrize("choices", [NONE, BodyChoices({"top": "then"})])
def test_deep_nesting_is_walked(choices: BodyChoices) -> None:
    levels = 2_000
    model = nested(levels)
    result, said = enter_bodies(model, "net", choices, {}, {})
    assert len(said) == levels
    assert operators(result) == ["Add"] * levels + ["Relu"]
    assert max(len(node.name) for node in result.graph.node) < 300
    x = drawn(4)
    total = np.zeros(4, np.float32) + x
    for _ in range(levels):
        total = x + total
    np.testing.assert_array_equal(
        run(result, {"c": np.array(True), "x": x})[0], np.maximum(total, 0)
    )


def test_deep_nesting_stays_closed_in_linear_time() -> None:
    """The outermost condition may still be folded: everything is copied, nothing entered."""
    levels = 2_000
    model = nested(levels)
    first = parsed("""
    main (bool c, float[4] x) => (bool f) {
      [f] f = If (c) <then_branch = t () => (bool a) { [s] s = Shape(x) [a] a = Cast <to = 9> (s) },
                      else_branch = e () => (bool c) {}>
    }""").graph.node[0]
    model.graph.node.insert(0, first)
    model.graph.node[1].input[0] = "f"
    result, said = enter_bodies(model, "net", NONE, {}, {})
    assert len(said) == 1
    result, said = enter_bodies(result, "net", NONE, {"f": np.array(True)}, {})
    assert len(said) == levels
    assert operators(result) == ["Shape", "Cast"] + ["Add"] * levels + ["Relu"]


def test_loops_have_a_limit() -> None:
    body_nodes, rows = 5, 1  # the constant of the body is shared
    per_trip = body_nodes + rows
    most = MAXIMUM_UNROLLED_NODES // per_trip
    feeds = folded(LOOP)
    result, _ = enter_bodies(LOOP, "net", BodyChoices(trips={"loop": most}), *feeds)
    assert len(result.graph.node) <= MAXIMUM_UNROLLED_NODES + 10
    with pytest.raises(NetworkError) as caught:
        enter_bodies(LOOP, "net", BodyChoices(trips={"loop": most + 1}), *feeds)
    assert str(caught.value) == (
        f"net: node 'loop' (Loop), {most + 1:,} trips of {per_trip} nodes, would take "
        f"{(most + 1) * per_trip:,} nodes; all loops together may become 50,000 nodes: give fewer "
        "trips with --trips loop=N"
    )
    with pytest.raises(NetworkError, match="1,000,000,000 trips"):
        enter_bodies(with_trips(LOOP, 10**9), "net", NONE, *folded(with_trips(LOOP, 10**9)))


def test_loops_in_loops_have_one_limit() -> None:
    model = parsed("""
    main (float[3] x) => (float[3] s) <int64 M = {300}, bool on = {1}> {
      [outer] s = Loop (M, on, x) <
        body = b (int64 i, bool go, float[3] s) => (bool go, float[3] t) {
          [inner] t = Loop (M, on, s) <
            body = c (int64 j, bool go2, float[3] u) => (bool go2, float[3] v) {
              [neg] v = Neg(u) }> }>
    }""")
    with pytest.raises(NetworkError, match=r"'outer/166/inner' \(Loop\), 300 trips of 1 node"):
        enter_bodies(model, "net", NONE, *folded(model))
    result, said = entered(model, BodyChoices(trips={"outer/inner": 2, "outer": 3}))
    assert operators(result) == ["Neg"] * 6
    assert said == [
        "Loop 'outer': 3 trips, as --trips outer=3 says",
        "Loop 'outer/inner': 2 trips, as --trips outer/inner=2 says (3 times)",
    ]


def test_what_bodies_become_has_a_limit_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = entered(LOOP)
    part = sum(node.ByteSize() for node in result.graph.node if node.name.startswith("loop/"))
    monkeypatch.setattr(model_writer, "_MAXIMUM_BYTES", 2 * part)
    entered(LOOP)
    monkeypatch.setattr(model_writer, "_MAXIMUM_BYTES", part // 2)
    with pytest.raises(NetworkError, match=r"^net: node 'loop' \(Loop\) would take more than"):
        enter_bodies(LOOP, "net", NONE, *folded(LOOP))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (BodyChoices({"nothing": "then"}), "--branch nothing=..: no If has that name; there are "
         "'outer', 'outer/then/inner', 'outer/else/deep'"),
        (BodyChoices({"inner": "then"}), "no If has that name"),
        (BodyChoices(trips={"outer": 2}), "--trips outer=..: the network has no Loop or Scan"),
        (BodyChoices({"outer": "both"}), "--branch outer=both: a branch is then or else"),
    ],
)  # fmt: skip
def test_choices_must_name_a_node(choices: BodyChoices, message: str) -> None:
    with pytest.raises(NetworkError) as caught:
        enter_bodies(NESTED, "net", choices, {}, {})
    assert str(caught.value).startswith("net: ")
    assert message in str(caught.value)


def _drop_output(node: onnx.NodeProto) -> None:
    del node.attribute[0].g.output[-1]


def _unknown_name(node: onnx.NodeProto) -> None:
    node.attribute[0].g.node[-1].input[0] = "nowhere"


def _written_twice(node: onnx.NodeProto) -> None:
    graph = node.attribute[0].g
    graph.node[0].output[0] = graph.node[-1].output[0]


def _cyclic(node: onnx.NodeProto) -> None:
    graph = node.attribute[0].g
    graph.node[0].input[0] = graph.node[-1].output[0]


def _no_graph(node: onnx.NodeProto) -> None:
    node.attribute[0].ClearField("g")


def _unknown_result(node: onnx.NodeProto) -> None:
    node.attribute[0].g.output[-1].name = "nowhere"


def _extra_input(node: onnx.NodeProto) -> None:
    node.attribute[0].g.input.add().name = "extra"


BREAKS: list[Callable[[onnx.NodeProto], None]] = [
    *(_drop_output, _unknown_name, _written_twice, _cyclic, _no_graph, _unknown_result),
    _extra_input,
]


@pytest.mark.parametrize("model", [BRANCHES, LOOP, SCAN], ids=["If", "Loop", "Scan"])
@pytest.mark.parametrize("damage", BREAKS)
def test_malformed_bodies_are_refused(
    model: onnx.ModelProto, damage: Callable[[onnx.NodeProto], None]
) -> None:
    known, shapes = folded(model)
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    node = next(node for node in broken.graph.node if node.attribute)
    graphs = [a for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    others = [a for a in node.attribute if a.type != onnx.AttributeProto.GRAPH]
    ordered = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in (*graphs, *others)]
    del node.attribute[:]
    node.attribute.extend(ordered)
    damage(node)
    with pytest.raises(NetworkError, match=f"^net: node '{node.name}"):
        enter_bodies(broken, "net", NONE, known, shapes)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("scan_input_axes", [0, 2], "scans axis 2 of 'u', whose shape is (2, 5)"),
        ("scan_input_axes", [0, 0], "scans 5 rows of 'x' and 2 of 'u'; they must be as many"),
        ("scan_input_axes", [0], "has scan_input_axes=[0]; it needs 2 integers"),
        ("scan_output_axes", [2**40, 0], "it needs 2 integers from -64 to 64"),
        ("scan_input_directions", [0, 3], "it needs 2 integers from 0 to 1"),
    ],
)
def test_impossible_scans_are_refused(name: str, values: list[int], message: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(SCAN)
    given = {"scan_input_axes": [0, 1], name: values}
    for key, listed in given.items():
        model.graph.node[0].attribute.append(helper.make_attribute(key, listed))
    shapes = {"x": (5, 3), "u": (2, 5)}
    with pytest.raises(NetworkError) as caught:
        enter_bodies(model, "net", NONE, {}, shapes)
    assert str(caught.value).startswith("net: node 'scan' (Scan) ")
    assert message in str(caught.value)


def test_a_loop_runs_no_negative_number_of_times() -> None:
    with pytest.raises(NetworkError, match="--trips loop=-1: a loop runs 0 times or more"):
        enter_bodies(LOOP, "net", BodyChoices(trips={"loop": -1}), *folded(LOOP))


def test_a_scan_makes_no_more_trips_than_it_has_rows() -> None:
    with pytest.raises(NetworkError, match="scans 5 rows; --trips scan=6 is more"):
        enter_bodies(SCAN, "net", BodyChoices(trips={"scan": 6}), {}, {"x": (5, 3)})
