"""Bodies entered: the model computes what it computed before, by onnx's own evaluator."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

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

BRANCHES = parsed("""
main (bool c, float[2, 3] x) => (float[2, 3] y, float[2, 3] z) {
  [scale] s = Mul(x, x)
  [cond] y, t = If (c) <
    then_branch = yes () => (float[2, 3] a, float[2, 3] b)
      <float[2, 3] w = {1, 2, 3, 4, 5, 6}> { [add] a = Add(s, w) [relu] b = Relu(a) },
    else_branch = no () => (float[2, 3] a, float[2, 3] s)
      { [k] k = Constant <value_float = 0.5> () [mul] a = Mul(x, k) }>
  [last] z = Sub(t, y)
}""")


@pytest.mark.parametrize("branch", ["then", "else"])
def test_a_chosen_branch_computes_the_same(branch: str) -> None:
    feeds = {"c": np.array(branch == "then"), "x": drawn(2, 3)}
    same(BRANCHES, feeds, BodyChoices({"cond": branch}))


def test_names_say_where_nodes_come_from() -> None:
    result, said = entered(BRANCHES)
    assert [node.name for node in result.graph.node] == [
        "scale",
        "cond/then/add",
        "cond/then/relu",
        "last",
    ]
    assert [list(node.output) for node in result.graph.node] == [["s"], ["y"], ["t"], ["z"]]
    assert [tensor.name for tensor in result.graph.initializer] == ["cond/then/w"]
    assert said == [
        "If 'cond': the then branch (2 nodes) is assumed, the else branch has 2; take the other "
        "with --branch cond=else"
    ]
    # the else branch gives an outer value, under a name that the outer graph has already
    result, said = entered(BRANCHES, BodyChoices({"cond": "else"}))
    assert operators(result) == ["Mul", "Mul", "Identity", "Sub"]
    assert said == [
        "If 'cond': the else branch (2 nodes) is taken, as --branch cond=else says; the then "
        "branch has 2"
    ]


@pytest.mark.parametrize("value", [False, True])
def test_a_constant_condition_decides(value: bool) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(BRANCHES)
    del model.graph.input[0]
    model.graph.initializer.append(numpy_helper.from_array(np.array(value), "c"))
    branch = "then" if value else "else"
    same(model, {"x": drawn(2, 3)})
    _, said = entered(model)
    assert said == [f"If 'cond': its condition is constant: the {branch} branch"]
    wrong = "else" if value else "then"
    _, said = entered(model, BodyChoices({"cond": wrong}))
    assert said == [
        f"If 'cond': its condition is constant: the {branch} branch; --branch cond={wrong} "
        "cannot change it"
    ]
    same(model, {"x": drawn(2, 3)}, BodyChoices({"cond": wrong}))


NESTED = parsed("""
main (bool c, bool d, float[4] x) => (float[4] y) {
  [outer] y = If (c) <
    then_branch = t () => (float[4] o) {
      [in] n = Neg(x)
      [inner] o = If (d) <
        then_branch = tt () => (float[4] p) { [a] p = Add(n, x) },
        else_branch = te () => (float[4] q)
          <float[4] w = {4, 3, 2, 1}> { [m] m = Mul(n, w) [b] q = Sub(m, n) }> },
    else_branch = e () => (float[4] o) {
      [in] n = Abs(x)
      [deep] o = If (c) <
        then_branch = et () => (float[4] p) { [r] p = Relu(n) },
        else_branch = ee () => (float[4] n) { [nop] unread = Exp(n) }> }>
}""")


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("inner", [False, True])
def test_nested_branches(outer: bool, inner: bool) -> None:
    words = {False: "else", True: "then"}
    choices = BodyChoices(
        {"outer": words[outer], "outer/then/inner": words[inner], "outer/else/deep": "else"}
    )
    feeds = {"c": np.array(outer), "d": np.array(inner), "x": drawn(4)}
    same(NESTED, feeds, choices)


def test_a_condition_computed_in_a_body_is_folded_before_it_decides() -> None:
    model = parsed("""
    main (float[2, 3] x, bool c) => (float[2, 3] y, float[2, 3] z) {
      [outer] y = If (c) <
        then_branch = t () => (float[2, 3] o) {
          [two] two = Constant <value_int = 2> ()
          [n] n = Relu(x)
          [shape] s = Shape <start = 0, end = 1> (n)
          [more] q = Greater(s, two)
          [inner] o = If (q) <
            then_branch = tt () => (float[2, 3] p) { [a] p = Add(n, x) },
            else_branch = te () => (float[2, 3] p) { [m] p = Mul(n, x) }> },
        else_branch = e () => (float[2, 3] o) { [e] o = Exp(x) }>
      [shape] t = Shape <start = 1> (y)
      [three] three = Constant <value_ints = [3]> ()
      [equal] last = Equal(t, three)
      [next] z = If (last) <
        then_branch = nt () => (float[2, 3] o) { [i] o = Identity(y) },
        else_branch = ne () => (float[2, 3] o) { [e] o = Exp(x) }>
    }""")
    same(model, {"x": drawn(2, 3), "c": np.array(True)})
    _, said = entered(model)
    assert said[0].startswith("If 'outer': the then branch (5 nodes) is assumed")
    assert sorted(said[1:]) == [
        "If 'next': its condition is constant: the then branch",
        "If 'outer/then/inner': its condition is constant: the else branch",
    ]


LOOP = parsed("""
main (float[3] x, float[3] s0) => (float[3] s, float[N, 3] r, float[3] z)
  <int64 M = {4}, bool on = {1}> {
  [pre] p = Neg(x)
  [loop] s, same, r = Loop (M, on, s0, p) <
    body = b (int64 i, bool go, float[3] s, float[3] f) =>
      (bool go, float[3] t, float[3] f, float[3] row) <float[3] w = {0.5, 2, 3}> {
        [cast] number = Cast <to = 1> (i)
        [k] k = Constant <value = float[3] {7, 8, 9}> ()
        [mul] m = Mul(s, w)
        [addk] mk = Add(m, k)
        [add] t = Add(mk, p)
        [row] row = Mul(t, number) }>
  [post] z = Mul(same, s)
}""")


def with_trips(model: onnx.ModelProto, trips: int) -> onnx.ModelProto:
    """The same model with another trip count in the file."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(trips), "M"))
    return copy


def stacked(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """What the evaluator gives, its rows stacked as the standard says: it joins them instead."""
    results = run(model, feeds)
    return [results[0], results[1].reshape(-1, *feeds["x"].shape), *results[2:]]


def test_a_loop_is_written_out() -> None:
    feeds = {"x": drawn(3), "s0": drawn(3, seed=1)}
    result, said = entered(LOOP)
    for one, other in zip(stacked(LOOP, feeds), run(result, feeds), strict=True):
        np.testing.assert_array_equal(one, other)
    assert said == ["Loop 'loop': 4 trips, as the file states"]
    names = {tensor.name for tensor in result.graph.initializer}
    # weights once for all trips, beside the numbers of trips and that the loop goes on
    given = {"M", "on", "loop/w", "loop/k"}
    assert names == {*given, "axes", "true", *(f"loop/{trip}/i" for trip in range(4))}
    assert [node.name for node in result.graph.node if node.op_type == "Mul"][:2] == [
        "loop/0/mul",
        "loop/0/row",
    ]
    assert operators(result).count("Unsqueeze") == 4
    assert operators(result).count("Concat") == 1


@pytest.mark.parametrize("trips", [1, 2, 6])
def test_trips_override_the_file(trips: int) -> None:
    feeds = {"x": drawn(3), "s0": drawn(3, seed=1)}
    result, said = entered(LOOP, BodyChoices(trips={"loop": trips}))
    expected = stacked(with_trips(LOOP, trips), feeds)
    for one, other in zip(expected, run(result, feeds), strict=True):
        np.testing.assert_array_equal(one, other)
    unit = "trip" if trips == 1 else "trips"
    assert said == [f"Loop 'loop': {trips} {unit}, as --trips loop={trips} says"]


@pytest.mark.parametrize(
    ("trips", "condition", "said"),
    [
        (0, 1, "Loop 'loop': 0 trips, as the file states"),
        (4, 0, "Loop 'loop': its condition is false from the start: no trip"),
    ],
)
def test_a_loop_without_trips_gives_its_states_and_no_rows(
    trips: int, condition: int, said: str
) -> None:
    model = with_trips(LOOP, trips)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array(condition > 0), "on"))
    feeds = {"x": drawn(3), "s0": drawn(3, seed=1)}
    result, sentences = entered(model)
    state, rows, product = run(result, feeds)
    np.testing.assert_array_equal(state, feeds["s0"])
    assert rows.shape == (0, 3)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(product, -feeds["x"] * feeds["s0"])
    assert sentences == [said]


WHILE = """
main (float[3] x, LIMIT bool c) => (float[3] s) <int64 E = {9223372036854775807}> {
  [loop] s = Loop (M, c, x) <
    body = b (int64 i, bool go, float[3] s) => (bool next, float[3] t) {
      [k] half = Constant <value_float = 0.5> ()
      [mul] t = Mul(s, half)
      [sum] sum = ReduceSum <keepdims = 0> (t)
      [test] next = Greater(sum, half) }>
}"""


@pytest.mark.parametrize("limit", ["input", "endless", "missing"])
def test_an_open_trip_count_is_assumed(limit: str) -> None:
    names = {"input": "M", "endless": "E", "missing": ""}
    text = WHILE.replace("LIMIT", "int64 M," if limit == "input" else "")
    model = parsed(text)
    model.graph.node[0].input[0] = names[limit]
    feeds: dict[str, Array] = {"x": np.full(3, 8, np.float32), "c": np.array(True)}
    result, said = entered(model)
    assert said == [
        "Loop 'loop': its trips depend on data: 1 trip is assumed; give their number with "
        "--trips loop=N"
    ]
    # three trips, then the sum is 3: the evaluator makes as many as the choice says
    result, said = entered(model, BodyChoices(trips={"loop": 3}))
    assert said == [
        "Loop 'loop': 3 trips, as --trips loop=3 says; that is the most there can be, since "
        "leaving early is not modelled"
    ]
    if limit == "input":
        feeds["M"] = np.array(3)
        np.testing.assert_array_equal(run(result, feeds)[0], run(model, feeds)[0])
    np.testing.assert_array_equal(run(result, feeds)[0], np.full(3, 1, np.float32))


def test_a_constant_condition_ends_a_loop() -> None:
    model = parsed("""
    main (float[3] x) => (float[3] s) <int64 M = {9}, bool on = {1}> {
      [loop] s = Loop (M, on, x) <
        body = b (int64 i, bool go, float[3] s) => (bool next, float[3] t) <bool off = {0}> {
          [mul] t = Add(s, s)
          [end] next = Identity(off) }>
    }""")
    same(model, {"x": drawn(3)})
    assert entered(model)[1] == ["Loop 'loop': its condition ends it after 1 trip"]


def test_a_loop_in_a_branch_and_a_branch_in_a_loop() -> None:
    model = parsed("""
    main (bool c, bool d, float[3] x) => (float[3] y) <int64 M = {3}, bool on = {1}> {
      [cond] y = If (c) <
        then_branch = t () => (float[3] o) {
          [n] n = Neg(x)
          [loop] o = Loop (M, on, x) <
            body = b (int64 i, bool go, float[3] s) => (bool go2, float[3] u) {
              [go] go2 = Identity(go)
              [one] one = Constant <value_int = 1> ()
              [first] first = Less(i, one)
              [pick] u = If (first) <
                then_branch = bt () => (float[3] v) <float[3] w = {5, 6, 7}> { [a] v = Add(s, w) },
                else_branch = be () => (float[3] v) {
                  [m] m = Mul(s, n)
                  [data] v = If (d) <
                    then_branch = dt () => (float[3] q) { [abs] q = Abs(m) },
                    else_branch = de () => (float[3] q) <float[3] w = {1, 2, 3}>
                      { [sub] q = Sub(m, w) }> }> }> },
        else_branch = e () => (float[3] o) { [id] o = Identity(x) }>
    }""")
    same(model, {"c": np.array(True), "d": np.array(True), "x": drawn(3)})
    name = "cond/then/loop/pick/else/data"
    other = BodyChoices({name: "else"})
    same(model, {"c": np.array(True), "d": np.array(False), "x": drawn(3)}, other)
    result, said = entered(model, other)
    assert said[1:] == [
        "Loop 'cond/then/loop': 3 trips, as the file states",
        "If 'cond/then/loop/pick': its condition is constant: the then branch",
        "If 'cond/then/loop/pick': its condition is constant: the else branch (2 times)",
        f"If '{name}': the else branch (1 node) is taken, as --branch {name}=else says; the then "
        "branch has 1 (2 times)",
    ]
    weights = [t.name for t in result.graph.initializer if t.data_type == TensorProto.FLOAT]
    assert sorted(weights) == ["cond/then/loop/pick/else/data/else/w", "cond/then/loop/pick/then/w"]
    # one trip alone
    last = BodyChoices({"cond/then/loop/2/pick/else/data": "else"})
    assert operators(entered(model, last)[0]).count("Abs") == 1


def test_an_old_file_lists_its_constants_as_inputs() -> None:
    """Version 3 of the format, where Unsqueeze has its axes as an attribute."""
    model = onnx.ModelProto()
    model.CopyFrom(LOOP)
    model.ir_version = 3
    model.opset_import[0].version = 11
    for graph in (model.graph, helper.get_node_attr_value(model.graph.node[1], "body")):
        for tensor in graph.initializer:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    feeds = {"x": drawn(3), "s0": drawn(3, seed=1)}
    result, _ = entered(model)
    assert result.ir_version == 4
    for one, other in zip(stacked(LOOP, feeds), run(result, feeds), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_of_many_trips_are_joined_in_steps() -> None:
    model = parsed("""
    main (float[2] x) => (float[2] s, float[N, 2] r) <int64 M = {9000}, bool on = {1}> {
      [loop] s, r = Loop (M, on, x) <
        body = b (int64 i, bool go, float[2] s) => (bool go, float[2] t, float[2] t) {
          [add] t = Add(s, x) }>
    }""")
    result, _ = enter_bodies(model, "net", NONE, *folded(model))
    most = max(len(node.input) for node in result.graph.node)
    assert most < 5_000
    x = np.array([1, -2], np.float32)
    state, rows = run(result, {"x": x})
    np.testing.assert_array_equal(rows, np.arange(2, 9_002)[:, None] * x)
    np.testing.assert_array_equal(state, rows[-1])


def test_shapes_that_other_trips_would_have_are_forgotten() -> None:
    model = parsed("""
    main (float[3] x) => (float[4, 3] r, float[3] z)
      <int64 M = {4}, bool on = {1}, int64[1] first = {0}, float[4, 3] n, float[3] p> {
      [pre] p = Neg(x)
      [loop] s, r = Loop (M, on, p) <
        body = b (int64 i, bool go, float[3] s) => (bool go, float[3] t, float[3] t) {
          [add] t = Add(s, x) }>
      [post] n = Neg(r)
      [sum] z = ReduceSum <keepdims = 0> (n, first)
    }""")
    kept = {value.name for value in entered(model)[0].graph.value_info}
    assert kept == {"n", "p"}
    result, _ = entered(model, BodyChoices(trips={"loop": 2}))
    assert [value.name for value in result.graph.value_info] == ["p"]
    assert run(result, {"x": drawn(3)})[0].shape == (2, 3)


def test_the_shape_of_the_branch_taken_is_stated() -> None:
    model = parsed("""
    main (bool c, float[2, 3] x) => (float[2, 3] z) <float[2, 3] y, float[2, 3] n> {
      [cond] y = If (c) <
        then_branch = t () => (float[2, 3] a) <float[2, 3] e>
          { [exp] e = Exp(x) [neg] a = Neg(e) },
        else_branch = e () => (float[3, 2] a) { [turn] a = Transpose(x) }>
      [post] n = Relu(y)
      [last] z = Neg(n)
    }""")
    stated = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in entered(model)[0].graph.value_info
    }
    assert stated == {"y": [2, 3], "n": [2, 3], "cond/then/e": [2, 3]}
    result, _ = enter_bodies(model, "net", BodyChoices({"cond": "else"}), {}, {})
    (value,) = result.graph.value_info
    assert value.name == "y"
    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [3, 2]
    onnx.shape_inference.infer_shapes(result, strict_mode=True, data_prop=True)


def test_names_stay_unique() -> None:
    model = parsed("""
    main (bool c, float[2] x) => (float[2] z) {
      [cond] y = If (c) <
        then_branch = t () => (float[2] a) <float[2] w = {1, 2}>
          { [add] v = Add(x, w) [neg] a = Neg(v) },
        else_branch = e () => (float[2] x) {}>
      [cond] u = If (c) <
        then_branch = t () => (float[2] a) <float[2] w = {3, 4}>
          { [add] v = Mul(y, w) [neg] a = Neg(v) },
        else_branch = e () => (float[2] x) {}>
      ["cond/then/neg"] "cond/then/v" = Exp(u)
      [last] z = Identity("cond/then/v")
    }""")
    same(model, {"c": np.array(True), "x": drawn(2)})
    result, _ = entered(model)
    assert [tensor.name for tensor in result.graph.initializer] == ["cond/then/w", "cond/then/w~2"]


SCAN = parsed("""
main (float[3] h0, float[5, 3] x, float[2, 5] u, float[3] w)
  => (float[3] h, float[5, 3] a, float[5, 2] b) {
  [scan] h, a, b = Scan <num_scan_inputs = 2,
    body = step (float[3] s, float[3] row, float[2] v) =>
      (float[3] t, float[3] p, float[2] q) <float[3] k = {1, -1, 2}> {
        [mul] m = Mul(s, w)
        [add] n = Add(m, row)
        [keep] t = Mul(n, k)
        [sum] e = ReduceSum <keepdims = 1> (v)
        [out] p = Add(t, e)
        [scale] q = Mul(v, e) }> (h0, x, u)
}""")


def scanned(
    model: onnx.ModelProto, feeds: Mapping[str, Array], trips: int | None = None
) -> list[Array]:
    """What the standard says a Scan of one state, two inputs and two outputs gives.

    The evaluator runs the body, but it knows neither axes nor directions.
    """
    node = model.graph.node[0]
    given = {a.name: list(a.ints) for a in node.attribute if a.type == onnx.AttributeProto.INTS}
    body = helper.get_node_attr_value(node, "body")
    captured = helper.make_tensor_value_info("w", TensorProto.FLOAT, [3])
    graph = helper.make_graph(
        body.node, "step", [*body.input, captured], body.output, body.initializer
    )
    step = ReferenceEvaluator(helper.make_model(graph, opset_imports=model.opset_import))
    sources = [
        np.moveaxis(feeds[name], axis, 0)[:: -1 if back else 1]
        for name, axis, back in zip(
            ("x", "u"),
            given.get("scan_input_axes", [0, 0]),
            given.get("scan_input_directions", [0, 0]),
            strict=True,
        )
    ]
    state, rows = feeds["h0"], []
    for row, v in list(zip(*sources, strict=True))[:trips]:
        given_back = step.run(None, {"s": state, "row": row, "v": v, "w": feeds["w"]})
        state, *outputs = map(np.asarray, given_back)
        rows.append(outputs)
    results = [
        np.stack(values[:: -1 if back else 1], axis)
        for values, axis, back in zip(
            zip(*rows, strict=True),
            given.get("scan_output_axes", [0, 0]),
            given.get("scan_output_directions", [0, 0]),
            strict=True,
        )
    ]
    return [state, *results]


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


FUNCTIONS = parsed("""
main (float[3, 3] x, bool c) => (float[3, 3] y, float[3, 3] z) {
  [one] y = local.outer <alpha = 0.3> (x, c)
  [two] z = local.outer (y, c)
}
<domain: "local", opset_import: ["": 18]>
inner <beta> (v) => (w, v) { [product] w = Gemm <alpha: float = @beta> (v, v) }
<domain: "local", opset_import: ["": 18]>
last (a, b) => (c) { [sub] c = Sub(a, b) }
<domain: "local", opset_import: ["": 18, "local": 1]>
outer <alpha: float = 0.5> (v, c) => (w) {
  [call] t, u = local.inner <beta: float = @alpha> (v)
  [cond] w = If (c) <
    then_branch = yes () => (float[3, 3] o) { [a] o = Gemm <alpha: float = @alpha> (u, t) },
    else_branch = no () => (float[3, 3] o) { [n] o = local.last (t, u) }>
}
""")


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


# ---------------------------------------------------------------- files


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


# ---------------------------------------------------------------- limits and malformed files


def nested(levels: int) -> onnx.ModelProto:
    """An If in an If in an If .., built in place."""
    model = parsed("main (bool c, float[4] x) => (float[4] y) { [top] y = If (c) }")
    node = model.graph.node[0]
    for level in range(levels):
        then, other = node.attribute.add(), node.attribute.add()
        then.name, other.name = "then_branch", "else_branch"
        then.type = other.type = onnx.AttributeProto.GRAPH
        other.g.output.add().name = "x"
        then.g.output.add().name = f"y{level}"
        add = then.g.node.add()
        add.name, add.op_type = "add", "Add"
        add.input.extend(("x", "x" if level == 0 else f"a{level - 1}"))
        add.output.append(f"a{level}")
        node = then.g.node.add()
        node.name, node.output[:] = f"n{level}", [f"y{level}"]
        last = level + 1 == levels
        node.op_type = "Relu" if last else "If"
        node.input.append(f"a{level}" if last else "c")
    return model


@pytest.mark.parametrize("choices", [NONE, BodyChoices({"top": "then"})])
def test_deep_nesting_is_walked_in_linear_time(choices: BodyChoices) -> None:
    levels = 2_000
    model = nested(levels)
    start = time.perf_counter()
    result, said = enter_bodies(model, "net", choices, {}, {})
    assert time.perf_counter() - start < 2
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
    start = time.perf_counter()
    result, said = enter_bodies(model, "net", NONE, {}, {})
    assert time.perf_counter() - start < 2
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


def test_a_scan_makes_no_more_trips_than_it_has_rows() -> None:
    with pytest.raises(NetworkError, match="scans 5 rows; --trips scan=6 is more"):
        enter_bodies(SCAN, "net", BodyChoices(trips={"scan": 6}), {}, {"x": (5, 3)})
