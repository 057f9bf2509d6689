"""Bodies of If and Loop entered: the model computes what it computed before."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dataflow_sim.ingest.bodies.entering import BodyChoices, enter_bodies
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
from tests.support.body_models import BRANCHES, LOOP, NESTED, WHILE, stacked, with_trips


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
