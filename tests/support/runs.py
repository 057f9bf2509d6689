"""Schedules and programs of small networks, for tests that compare readers of a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from dataflow_sim.graph.layer import (
    Layer,
    LayerKind,
    Segment,
    Tensor,
    TensorKind,
    View,
    WeightRole,
    Window,
)
from dataflow_sim.graph.network import NetworkGraph, Placement
from dataflow_sim.graph.passes import Precision, assign_precision, drop_vectors
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks import build_network
from dataflow_sim.program.instructions import Memory, Program
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.alone import any_problem, frontier
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.frontier import layer_frontier
from dataflow_sim.schedule.problem import layer_problem
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.schedule.types import DOUBLE, SINGLE, Buffering, MemoryOptions, Schedule
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.occupancy import Occupancy, occupancy
from dataflow_sim.simulate.reference import evaluate_reference, random_inputs, with_weights
from tests.support.small import SMALL
from tests.support.tokens import TOKENS

# the networks that schedules are proved on at many budgets
CLASSIC = ("densenet121", "mobilenet_v1", "mobilenet_v2", "resnet50", "vgg16")

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """A small network with weights, inputs, and what ONNX's evaluator makes of them."""

    model: onnx.ModelProto
    graph: NetworkGraph
    inputs: Arrays
    expected: npt.NDArray[np.float32]


@lru_cache(maxsize=64)
def case(name: str, count_biases: bool = True, resolution: int | None = None) -> Case:
    """A network of `tests.support` at 32 bits, with everything needed to replay it.

    With a resolution it is a built-in one, whose values stay in range.
    """
    unit_gain = resolution is not None
    model = (
        build_network(f"{name}@resolution={resolution}")
        if resolution
        else {**SMALL, **TOKENS}[name]()
    )
    found = case_of(model, name, unit_gain)
    return found if count_biases else replace(found, graph=drop_vectors(found.graph))


def case_of(model: onnx.ModelProto, name: str, unit_gain: bool = False) -> Case:
    """A model with everything needed to replay it."""
    model = with_weights(model, seed=1, unit_gain=unit_gain)
    graph = assign_precision(graph_from_model(model, name), Precision(32, 32, 32))
    inputs = random_inputs({p.array: p.axes.shape for p in input_placements(graph)}, seed=2)
    (expected,) = evaluate_reference(model, dict(inputs)).values()
    return Case(model, graph, inputs, expected)


def input_placements(graph: NetworkGraph) -> list[Placement]:
    """Where the network's inputs lie."""
    return [place for place in graph.placements if place.array in graph.inputs]


def results_of(graph: NetworkGraph, dram: Arrays) -> dict[str, npt.NDArray[np.float32]]:
    """The network's outputs as the file sees them, by name."""
    found = {}
    for result in graph.results:
        parts = [dram[s.tensor][:, s.channel_start : s.channel_stop] for s in result.view.segments]
        found[result.name] = result.axes.from_map(np.concatenate(parts, axis=1)).astype(np.float32)
    return found


def outputs_of(graph: NetworkGraph, dram: Arrays, like: npt.NDArray[np.float32]) -> Arrays:
    """The network's one output as the file sees it, in the shape of `like`."""
    (found,) = results_of(graph, dram).values()
    assert found.shape == like.shape
    return {"output": found}


def buffering(double: bool) -> Buffering:
    """Double or single buffers for all."""
    return DOUBLE if double else SINGLE


def unpacked(graph: NetworkGraph, bits: int) -> NetworkGraph:
    """The graph with kernels of at least so many bits in local memory."""
    tensors = graph.tensors.values()
    kernels = [tensor for tensor in tensors if tensor.role is WeightRole.KERNEL]
    return graph.with_tensors([replace(t, unpacked_bits=max(bits, t.bits)) for t in kernels])


def least_budget(graph: NetworkGraph, double_buffer: bool) -> int:
    """The smallest local memory in which every layer has a tiling."""
    return least_of(graph, MemoryOptions(0, buffering(double_buffer), 32))


def least_of(graph: NetworkGraph, memory: MemoryOptions) -> int:
    """The smallest local memory in which every layer has a tiling, all else given."""
    problems = (any_problem(graph, layer, memory) for layer in graph.layers)
    return max(int(frontier(problem).local_bytes[0]) for problem in problems)


def scheduled(
    graph: NetworkGraph,
    capacity_bytes: int,
    double_buffer: bool = False,
    accumulator: int = 32,
    policy: str = "layerwise",
) -> tuple[Schedule, Program]:
    """A checked schedule and its program."""
    memory = MemoryOptions(capacity_bytes, buffering(double_buffer), accumulator)
    schedule = schedule_network(graph, memory, policy)
    check_schedule(graph, schedule)
    return schedule, lower(graph, schedule)


def proved(graph: NetworkGraph, schedule: Schedule) -> Program:
    """Check a schedule, lower it, and hold every count of the ledger against the estimate."""
    check_schedule(graph, schedule)
    program = lower(graph, schedule)
    ledger = count(program)
    assert schedule.traffic_bytes() == ledger.traffic_bytes()
    for index, chosen in zip(schedule.order, schedule.layers, strict=True):
        assert chosen.macs_executed == ledger.macs_executed[index]
        assert chosen.tiling.steps == ledger.steps[index]
        moved = ledger.local_read_bits[index] + ledger.local_write_bits[index]
        assert chosen.local_bits == moved
        assert chosen.local_write_bits == ledger.local_write_bits[index]
    used = occupancy(program)
    assert used.peak_bytes == schedule.local_bytes
    assert used.accumulator_peak_bytes == schedule.accumulator_bytes
    assert used.live_bytes == largest_live_set(used) <= used.peak_bytes
    assert schedule.local_bytes <= schedule.memory.capacity_bytes
    return program


def largest_live_set(used: Occupancy) -> int:
    """The most bytes of local memory that are in use behind an instruction, by all the stays."""
    changes: Counter[int] = Counter()
    for stay in used.residencies:
        if stay.memory is Memory.LOCAL:
            changes[stay.start] += stay.size_bytes
            changes[stay.stop] -= stay.size_bytes
    return max(accumulate(changes[moment] for moment in sorted(changes)), default=0)


def built_in(name: str, bits: int = 8, biases: bool = False, accumulator: int = 32) -> NetworkGraph:
    """A built-in network at the given widths."""
    graph = graph_from_model(build_network(name), name)
    graph = assign_precision(graph, Precision(bits, bits, accumulator))
    return graph if biases else drop_vectors(graph)


def single_convolution(
    input_shape: tuple[int, int, int, int],
    channels: int,
    window: Window,
    groups: int = 1,
    bits: int = 8,
) -> NetworkGraph:
    """A network of one convolution without bias, for closed-form examples."""
    n, c, h, w = input_shape
    rows, columns = (
        (size + 2 * window.pad[axis] - window.extent(axis)) // window.stride[axis] + 1
        for axis, size in enumerate((h, w))
    )
    out = (n, channels, rows, columns)
    layer = Layer(
        name="conv",
        op="Conv",
        kind=LayerKind.CONVOLUTION,
        input=View((Segment("x", 0, c),), input_shape),
        output="y",
        body_shape=out,
        output_shape=out,
        groups=groups,
        window=window,
        weight="w",
    )
    tensors = {
        "x": Tensor("x", TensorKind.INPUT, input_shape, bits),
        "y": Tensor("y", TensorKind.OUTPUT, out, bits),
        "w": Tensor(
            "w",
            TensorKind.WEIGHT,
            (channels, c // groups, *window.kernel),
            bits,
            WeightRole.KERNEL,
        ),
    }
    return NetworkGraph("single", (layer,), tensors, ("x",), ("y",), tensors["w"].elements)


def layer_curve(
    graph: NetworkGraph, accumulator: int = 32
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(local bytes, DRAM bits) of the only layer of a graph, single buffers."""
    problem = layer_problem(graph, graph.layers[0], MemoryOptions(0, SINGLE, accumulator))
    found = layer_frontier(problem)
    return found.local_bytes, found.dram_bits
