"""Streamed layers that are not computed tile by tile: their operator's own results, and what the
replay still finds out about their programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import LayerKind
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.program.instructions import Load, Program, Stream
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.reference import evaluate_operator, with_derived_constants
from dataflow_sim.simulate.replay import replay
from tests.support.operator_cases import CASES, OperatorCase
from tests.support.runs import least_budget
from tests.support.streamed import StreamCase, one_node, replayed, stream_case

# no evaluator computes these, their inputs here make no sense, or passes took their scales away
UNKNOWN = frozenset(
    (
        *("GlobalLpPool", "MaxRoiPool", "Scatter", "RoiAlign", "STFT"),
        *("QuantizeLinear", "DequantizeLinear"),
    )
)


def given(op: OperatorCase) -> StreamCase:
    """The network of one operator with numbers: what steers is small and fits."""
    model = op.model()
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            values = np.linspace(-1, 1, int(np.prod(tensor.dims)), dtype=np.float32)
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(values.reshape(tuple(tensor.dims)), tensor.name)
            )
    return stream_case(model, op.op, highest=2)


def streams(op: OperatorCase) -> bool:
    """Whether an operator is taken in one pass, and some evaluator knows it."""
    layer = graph_from_model(op.model(), op.op).layers[-1]
    one_pass = layer.kind is LayerKind.STREAMED and layer.sweep is None
    return one_pass and op.op not in UNKNOWN


def in_time(op: OperatorCase) -> object:
    marks = [pytest.mark.slow] if op.op == "DeformConv" else []
    return pytest.param(op, id=op.op, marks=marks)


@pytest.mark.parametrize("op", [in_time(op) for op in CASES if streams(op)])
@pytest.mark.filterwarnings("ignore:.*encountered in log")
def test_operators(op: OperatorCase) -> None:
    found = given(op)
    (layer,) = found.graph.layers
    assert replayed(found, scheduled(found, 1)).whole == (layer.name,)


def scheduled(found: StreamCase, factor: int, policy: str = "layerwise") -> Program:
    """A program in so many times the least memory."""
    memory = MemoryOptions(least_budget(found.graph, False) * factor, SINGLE, 32)
    return lower(found.graph, schedule_network(found.graph, memory, policy))


def between_convolutions() -> StreamCase:
    """A convolution, a copy that turns rows and columns over, another convolution."""
    net = OnnxBuilder("turned", (1, 3, 6, 5))
    weights = {name: np.arange(27.0).reshape(3, 3, 3, 1) / 27 - 0.5 for name in ("a", "b")}
    a = net.node(
        "Conv",
        "a",
        ["input", net.constant("a.w", weights["a"])],
        kernel_shape=[3, 1],
        pads=[1, 0, 1, 0],
    )
    turned = net.transpose("turned", a, (0, 1, 3, 2))
    b = net.node("Conv", "b", [turned, net.constant("b.w", weights["b"])], kernel_shape=[3, 1])
    return stream_case(net.model(b), "turned")


@pytest.mark.parametrize("policy", ["layerwise", "resident", "merged"])
@pytest.mark.parametrize("factor", [1, 3, 100])
def test_a_copy_between_convolutions(factor: int, policy: str) -> None:
    """Its input comes from DRAM, or is in local memory as the convolution left it."""
    found = between_convolutions()
    (copy,) = [layer.name for layer in found.graph.layers if layer.kind is LayerKind.STREAMED]
    assert replayed(found, scheduled(found, factor, policy)).whole == (copy,)


def without(program: Program, index: int) -> Program:
    """The program without an instruction."""
    instructions = (*program.instructions[:index], *program.instructions[index + 1 :])
    return replace(program, instructions=instructions)


def transposition() -> StreamCase:
    """A reshape that cuts across the axes of its map."""
    return stream_case(one_node("Reshape", {"x0": (1, 4, 6)}, {"s1": np.array([1, 6, 4])}), "cut")


def test_what_such_a_layer_does_not_read_is_found() -> None:
    found = transposition()
    program = scheduled(found, 1)
    loads = [n for n, each in enumerate(program.instructions) if isinstance(each, Load)]
    steps = [n for n, each in enumerate(program.instructions) if isinstance(each, Stream)]
    assert len(steps) > 2
    for index in (loads[0], loads[-1]):
        with pytest.raises(ProgramError, match=r"missing or stale|no box"):
            replayed(found, without(program, index))
    last = program.instructions[steps[-1]]
    assert isinstance(last, Stream)
    instructions = list(program.instructions)
    instructions[steps[-1]] = last._replace(inputs=())
    less = replace(program, instructions=tuple(instructions))
    with pytest.raises(ProgramError, match=r"layer 'node' read \d+ of 24 elements of 'x0'"):
        replayed(found, less)


def test_an_operator_that_nobody_knows_is_named() -> None:
    node = helper.make_node("Riddle", ["x"], ["y"], "riddle", domain="elsewhere")
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 3)) for n in "xy"]
    graph = helper.make_graph([node], "riddle", info[:1], info[1:])
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("elsewhere", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    read = graph_from_model(model, "riddle")
    found = StreamCase(read, {"x": np.zeros((1, 3), np.float32)}, {})
    with pytest.raises(ProgramError, match=r"'riddle' \(elsewhere::Riddle\) has no definition"):
        replay(scheduled(found, 1), read, found.inputs)


@pytest.mark.parametrize(
    ("op", "message"),
    [("Bernoulli", "drawn by chance"), ("GlobalLpPool", "cannot be replayed: No registered")],
)
def test_what_no_evaluator_computes_is_told(op: str, message: str) -> None:
    with pytest.raises(ProgramError, match=f"layer 'n' {message}|layer 'n' is {message}"):
        evaluate_operator("layer 'n'", op, 18, {}, [np.zeros((1, 2, 3, 3), np.float32)], (0,))


def test_constants_that_nodes_compute_have_values_for_a_replay() -> None:
    """A kernel turned over in the file, too large for the reader to evaluate."""
    net = OnnxBuilder("derived", (1, 80, 1, 3))
    weight = np.arange(6400, dtype=np.float32).reshape(80, 80) % 7 - 3
    turned = net.transpose("turned", net.constant("w", weight), (1, 0))
    rows = net.transpose("rows", "input", (0, 2, 3, 1))
    model = net.model(net.node("MatMul", "y", [rows, turned]))
    graph = graph_from_model(model, "derived")
    assert graph.constants["turned"].value is None
    value = with_derived_constants(graph, model).constants["turned"].value
    np.testing.assert_array_equal(value, weight.T)
    found = stream_case(model, "derived")
    replayed(found, scheduled(found, 100))
