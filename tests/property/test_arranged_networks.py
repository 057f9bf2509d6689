"""Generated networks of reshapes, transposes, products and norms: the program gives their answer.

Each network is drawn operator by operator; where the reader had to copy a map (a streamed
layer, which no replay executes) only its counts are checked.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
from hypothesis import event, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dataflow_sim.graph.layer import LayerKind
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.reference import evaluate_reference, random_inputs, with_weights
from dataflow_sim.simulate.replay import replay
from tests.support.runs import outputs_of, scheduled


class Drawn:
    """A network under construction: one value after the other, each with its shape."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        rank = draw(st.integers(2, 4))
        self.shape = tuple(draw(st.sampled_from([1, 2, 3, 4, 6])) for _ in range(rank))
        self.first = self.shape
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.value = "x"
        self.kept: list[tuple[str, tuple[int, ...]]] = []

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="absent.bin")
        self.weights.append(tensor)
        return name

    def steer(self, values: list[int]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def node(self, op: str, *inputs: str, shape: tuple[int, ...], **attributes: object) -> None:
        name = f"n{len(self.nodes)}"
        made = helper.make_node(op, [self.value, *inputs], [name], name=name)
        for key, value in attributes.items():
            made.attribute.append(helper.make_attribute(key, value))
        self.nodes.append(made)
        self.kept.append((self.value, self.shape))
        self.value, self.shape = name, shape

    def step(self) -> None:
        moves = [self.reshape, self.transpose, self.scale, self.activate, self.norm]
        moves += [self.product, self.shortcut, self.crop, self.join, self.pick, self.reduce]
        if len(self.shape) == 4:
            moves.append(self.convolve)
        self.draw(st.sampled_from(moves))()

    def reshape(self) -> None:
        left, wanted = prod(self.shape), []
        for _ in range(self.draw(st.integers(1, 4)) - 1):
            wanted.append(self.draw(st.sampled_from([d for d in (1, 2, 3, 4, 6) if not left % d])))
            left //= wanted[-1]
        self.node("Reshape", self.steer([*wanted, left]), shape=(*wanted, left))

    def transpose(self) -> None:
        order = self.draw(st.permutations(range(len(self.shape))))
        self.node("Transpose", shape=tuple(self.shape[a] for a in order), perm=list(order))

    def scale(self) -> None:
        axis = self.draw(st.integers(0, len(self.shape) - 1))
        ones = (1,) * (len(self.shape) - 1 - axis)
        self.node("Mul", self.weight(self.shape[axis], *ones), shape=self.shape)

    def activate(self) -> None:
        self.node("Sigmoid", shape=self.shape)

    def norm(self) -> None:
        if self.draw(st.booleans()):
            self.node("Softmax", shape=self.shape, axis=-1)
        else:
            scale = self.weight(self.shape[-1])
            # a large epsilon: small spreads would blow up the rounding of what came before
            self.node("LayerNormalization", scale, shape=self.shape, axis=-1, epsilon=1.0)

    def product(self) -> None:
        outputs = self.draw(st.sampled_from([1, 2, 4, 5]))
        name = self.weight(self.shape[-1], outputs)
        self.node("MatMul", name, shape=(*self.shape[:-1], outputs))

    def shortcut(self) -> None:
        fitting = [name for name, shape in self.kept if shape == self.shape]
        if fitting:
            self.node("Add", self.draw(st.sampled_from(fitting)), shape=self.shape)

    def crop(self) -> None:
        axis = self.draw(st.integers(0, len(self.shape) - 1))
        start = self.draw(st.integers(0, self.shape[axis] - 1))
        stop = self.draw(st.integers(start + 1, self.shape[axis]))
        bounds = [self.steer([number]) for number in (start, stop, axis)]
        cut = (*self.shape[:axis], stop - start, *self.shape[axis + 1 :])
        self.node("Slice", *bounds, shape=cut)

    def join(self) -> None:
        axis = self.draw(st.integers(0, len(self.shape) - 1))
        fitting = [name for name, shape in self.kept if shape == self.shape]
        if fitting and self.shape[axis] <= 6:
            longer = (*self.shape[:axis], 2 * self.shape[axis], *self.shape[axis + 1 :])
            self.node("Concat", self.draw(st.sampled_from(fitting)), shape=longer, axis=axis)

    def pick(self) -> None:
        axis = self.draw(st.integers(0, len(self.shape) - 1))
        name = f"w{len(self.weights)}"
        index = np.array(self.draw(st.integers(0, self.shape[axis] - 1)), np.int64)
        if len(self.shape) > 1:
            self.weights.append(numpy_helper.from_array(index, name))
            shape = (*self.shape[:axis], *self.shape[axis + 1 :])
            self.node("Gather", name, shape=shape, axis=axis)

    def reduce(self) -> None:
        axis = self.draw(st.integers(0, len(self.shape) - 1))
        op = self.draw(st.sampled_from(["ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2"]))
        shape = (*self.shape[:axis], 1, *self.shape[axis + 1 :])
        self.node(op, self.steer([axis]), shape=shape, keepdims=1)

    def convolve(self) -> None:
        outputs = self.draw(st.sampled_from([1, 3, 4]))
        name = self.weight(outputs, self.shape[1], 3, 3)
        shape = (self.shape[0], outputs, *self.shape[2:])
        self.node("Conv", name, shape=shape, pads=[1, 1, 1, 1])

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "drawn",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.first)],
            [helper.make_tensor_value_info(self.value, TensorProto.FLOAT, self.shape)],
            self.weights,
        )
        opsets = [helper.make_opsetid("", 20)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@st.composite
def networks(draw: st.DrawFn) -> onnx.ModelProto:
    drawn = Drawn(draw)
    for _ in range(draw(st.integers(1, 9))):
        drawn.step()
    if not drawn.nodes:
        drawn.activate()
    return drawn.model()


@settings(max_examples=300, deadline=None)
@given(networks())
def test_the_program_gives_the_networks_answer(bare: onnx.ModelProto) -> None:
    model = with_weights(bare, seed=3, unit_gain=True)
    graph = assign_precision(graph_from_model(model, "drawn"), Precision(32, 32, 32))
    schedule, program = scheduled(graph, 1 << 16)
    assert schedule.traffic_bytes() == count(program).traffic_bytes()
    if any(layer.kind is LayerKind.STREAMED for layer in graph.layers):
        event("copies a map")
        return
    event("replayed")
    shapes = {place.array: place.axes.shape for place in graph.placements if place.array == "x"}
    inputs = random_inputs(shapes, seed=5)
    (expected,) = evaluate_reference(model, dict(inputs)).values()
    found = outputs_of(graph, replay(program, graph, inputs).tensors, expected)["output"]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)
