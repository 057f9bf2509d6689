"""Models with bodies, written as text, and what they compute."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.support.bodies import (
    Array,
    parsed,
    run,
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


WHILE = """
main (float[3] x, LIMIT bool c) => (float[3] s) <int64 E = {9223372036854775807}> {
  [loop] s = Loop (M, c, x) <
    body = b (int64 i, bool go, float[3] s) => (bool next, float[3] t) {
      [k] half = Constant <value_float = 0.5> ()
      [mul] t = Mul(s, half)
      [sum] sum = ReduceSum <keepdims = 0> (t)
      [test] next = Greater(sum, half) }>
}"""


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
