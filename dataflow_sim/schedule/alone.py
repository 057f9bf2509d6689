"""A layer alone, of whatever kind: its problem as integers, and its frontier."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from dataflow_sim.graph.layer import Layer, LayerKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.footprints import tile_sizes
from dataflow_sim.schedule.frontier import Frontier, Ints, layer_frontier, plain_curve
from dataflow_sim.schedule.problem import (
    LayerProblem,
    StreamProblem,
    layer_problem,
    stream_problem,
)
from dataflow_sim.schedule.sweep import SweepProblem, sweep_problem
from dataflow_sim.schedule.sweep_frontier import sweep_frontier
from dataflow_sim.schedule.types import MemoryOptions

AnyProblem = LayerProblem | StreamProblem | SweepProblem


def any_problem(
    graph: NetworkGraph,
    layer: Layer,
    memory: MemoryOptions,
    resident: frozenset[str] = frozenset(),
    stored: frozenset[str] | None = None,
) -> AnyProblem:
    """The numbers of any layer, the same for every capacity, so that each is solved once.

    `resident` names the maps that are whole in local memory while it runs; of its outputs
    those in `stored` go to DRAM, or all of them.
    """
    anywhere = replace(memory, capacity_bytes=0)
    if layer.sweep is not None:
        return sweep_problem(graph, layer, layer.sweep, anywhere, resident, stored)
    if layer.kind is LayerKind.STREAMED:
        return stream_problem(graph, layer, anywhere, resident, stored)
    kept = stored is None or layer.output in stored
    return layer_problem(graph, layer, anywhere, resident, kept)


def plain_curve_of(problem: AnyProblem) -> tuple[Ints, Ints]:
    """Local bytes and DRAM bits of a layer with the tilings that there are whichever of its maps
    are resident, the Pareto points of them."""
    if isinstance(problem, LayerProblem):
        return plain_curve(problem)
    found = frontier(problem)
    return found.local_bytes, found.dram_bits


def stream_local_bytes(problem: StreamProblem, steps: int) -> int:
    """Local bytes of a streamed layer whose tensors are each cut into at most `steps` slices."""
    taken = problem.memory.bytes_taken
    return sum(
        taken(-(-tensor.extent // steps) * tensor.slice_elements * tensor.local_bits)
        * (2 if tensor.doubled and steps > 1 else 1)
        for tensor in problem.tensors
        if not tensor.resident
    )


@lru_cache(maxsize=1024)
def stream_frontier(problem: StreamProblem) -> Frontier:
    """The frontier of a streamed layer: the traffic is the same for all slices."""
    longest = max(tensor.extent for tensor in problem.tensors)
    bits = sum(t.extent * t.slice_elements * t.bits for t in problem.tensors if t.moved)
    rungs: list[list[int]] = []
    for steps in sorted({-(-longest // size) for size in tile_sizes(longest).tolist()}):
        local_bytes = stream_local_bytes(problem, steps)
        if not rungs or local_bytes < rungs[-1][0]:
            rungs.append([local_bytes, bits, 0, 0, 1, 1, 1, 1, 1, 1, steps, 0, 0])
    ladder = np.array(rungs[::-1], np.int64)
    return Frontier(ladder[:1, 0], ladder[:1, 1], ladder)


def frontier(problem: AnyProblem) -> Frontier:
    """The frontier of any layer."""
    if isinstance(problem, StreamProblem):
        return stream_frontier(problem)
    if isinstance(problem, SweepProblem):
        return sweep_frontier(problem)
    return layer_frontier(problem)
