"""Networks of streamed layers with numbers, their programs executed, and what they must give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import ReadRequest, graph_from_model
from dataflow_sim.program.instructions import Program
from dataflow_sim.schedule.alone import any_problem, frontier
from dataflow_sim.schedule.estimate import TrafficHistory, layer_schedule
from dataflow_sim.schedule.sweep import SweepProblem, tiling_costs
from dataflow_sim.schedule.sweep_nest import sweep_tiling
from dataflow_sim.schedule.types import Group, MemoryOptions, Packing, Schedule
from dataflow_sim.simulate.reference import evaluate_reference, with_derived_constants
from dataflow_sim.simulate.replay import Replayed, replay
from tests.support.runs import buffering, proved

Shape = tuple[int, ...]
Numbers = npt.NDArray[Any]
# everything 32 bits wide, token numbers too
WIDE = Precision(32, 32, 32, force_weights=True, force_activations=True)
# types of inputs that are no floats, and below what their numbers stay
_TYPES = {
    TensorProto.INT64: (np.int64, 50),
    TensorProto.UINT8: (np.uint8, 9),
    TensorProto.BOOL: (np.bool_, 2),
}


@dataclass(frozen=True)
class StreamCase:
    """A network at 32 bits with numbers, its inputs, and its outputs by name."""

    graph: NetworkGraph
    inputs: Mapping[str, Numbers]
    expected: Mapping[str, Numbers]


def one_node(
    op: str,
    inputs: Mapping[str, Shape],
    constants: Mapping[str, Shape | Numbers],
    *,
    outputs: Sequence[str] = ("y",),
    opset: int = 23,
    kinds: Mapping[str, int] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """A network of one node; constants are drawn, or given; `kinds` are other types of inputs."""
    generator = np.random.default_rng(len(op))
    held = [
        numpy_helper.from_array(
            each if isinstance(each, np.ndarray) else _drawn(generator, each), name
        )
        for name, each in constants.items()
    ]
    names = [*inputs, *constants]
    node = helper.make_node(op, sorted(names, key=_in_order), list(outputs), "node", **attributes)
    values = [
        helper.make_tensor_value_info(name, (kinds or {}).get(name, TensorProto.FLOAT), shape)
        for name, shape in inputs.items()
    ]
    made = TensorProto.INT32 if op.endswith("Integer") else TensorProto.FLOAT
    results = [helper.make_tensor_value_info(n, made, None) for n in outputs if n]
    graph = helper.make_graph([node], op, values, results, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def _in_order(name: str) -> int:
    """Names end with their place among the inputs."""
    return int(name[1:])


def _drawn(generator: np.random.Generator, shape: Sequence[int]) -> Numbers:
    """Multiples of an eighth between -1 and 1, exact in every width that is used here."""
    return (generator.integers(-8, 9, tuple(shape)) / 8).astype(np.float32)


def stream_case(
    model: onnx.ModelProto,
    name: str,
    dims: Mapping[str, int] | None = None,
    *,
    fast: bool = False,
    highest: int | None = None,
) -> StreamCase:
    """A model whose weights have values, read, with inputs and what an evaluator makes of them.

    That is ONNX's own, or onnxruntime where it is to be `fast`.  Whole numbers stay below
    `highest`.
    """
    graph = graph_from_model(model, name, ReadRequest(dims or {}))
    graph = with_derived_constants(assign_precision(graph, WIDE), model)
    generator = np.random.default_rng(7)
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    inputs: dict[str, Numbers] = {}
    for place in graph.placements:
        if place.array not in graph.inputs:
            continue
        shape, known = place.axes.shape, _TYPES.get(kinds[place.array])
        inputs[place.array] = _drawn(generator, shape)
        if known is not None:
            numbers = generator.integers(0, highest or known[1], shape)
            inputs[place.array] = numbers.astype(known[0])
    return StreamCase(graph, inputs, evaluated(model, inputs, fast))


def evaluated(
    model: onnx.ModelProto, inputs: Mapping[str, Numbers], fast: bool
) -> dict[str, Numbers]:
    """Outputs by name, of ONNX's evaluator; of onnxruntime where that knows only one direction."""
    directions = [helper.get_node_attr_value(n, "direction") for n in _with_directions(model)]
    if not fast and set(directions) <= {b"forward"}:
        return dict(evaluate_reference(model, dict(inputs)))
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in model.graph.output]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _with_directions(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for node in model.graph.node:
        if any(attribute.name == "direction" for attribute in node.attribute):
            yield node


def replayed(case: StreamCase, program: Program) -> Replayed:
    """Execute a program, and hold every output against what it must be."""
    found = replay(program, case.graph, case.inputs)
    for result in case.graph.results:
        parts = [
            found.tensors[each.tensor][:, each.channel_start : each.channel_stop]
            for each in result.view.segments
        ]
        output = result.axes.from_map(np.concatenate(parts, axis=1))
        expected = np.asarray(case.expected[result.name], np.float64)
        if output.size < expected.size:  # of a state that grows what the host does not have yet
            expected = expected[..., -output.shape[-2] :, :]
        scale = max(1.0, float(np.abs(expected).max()))
        made = np.asarray(output.reshape(expected.shape), np.float64)
        np.testing.assert_allclose(made, expected, rtol=2e-4, atol=2e-5 * scale)
    return found


def swept_layer(case: StreamCase) -> int:
    """The number of the only sweep of a network."""
    (index,) = (i for i, layer in enumerate(case.graph.layers) if layer.sweep is not None)
    return index


def program_of(
    case: StreamCase, order: str, sizes: tuple[int, int, int, int], double: bool
) -> Program:
    """The proved program of one tiling of a network of one sweep, in exactly what it needs.

    Other layers run before and behind it, each alone.
    """
    graph, chosen = case.graph, swept_layer(case)
    memory = MemoryOptions(0, buffering(double), 32)
    history = TrafficHistory(graph)
    nothing: frozenset[str] = frozenset()
    groups = []
    for index, layer in enumerate(graph.layers):
        problem = any_problem(graph, layer, memory)
        if index == chosen:
            assert isinstance(problem, SweepProblem)
            tiling = sweep_tiling(problem.sweep, order, sizes)
            local = int(tiling_costs(problem, order, sizes).local_bytes[0])
        else:
            best = frontier(problem).best(1 << 20)
            assert best is not None
            tiling, local = best.tiling, best.local_bytes
        stored = frozenset(layer.outputs)
        found = layer_schedule(graph, index, tiling, memory, history, nothing, stored, ())
        groups.append(
            Group((index,), False, Packing.RINGS, None, (found,), nothing, stored, (), 0, local)
        )
    memory = replace(memory, capacity_bytes=max(group.local_bytes for group in groups))
    return proved(graph, Schedule(graph.name, "layerwise", memory, tuple(groups)))
