"""Budget curves, computed once for each network and policy of a test run."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

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
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.search import POLICIES, Curve, budget_curve
from dataflow_sim.schedule.types import MemoryOptions
from tests.support.runs import buffering

_curves: dict[tuple[str, tuple[int, ...], str, bool, int], Curve] = {}


def curve(
    graph: NetworkGraph, policy: str, double_buffer: bool = False, alignment_bytes: int = 1
) -> Curve:
    """The budget curve of a graph, accumulators of 32 bits."""
    widths = tuple(tensor.bits for tensor in graph.tensors.values())
    key = (graph.name, widths, policy, double_buffer, alignment_bytes)
    if graph.name == "random" or key not in _curves:
        memory = MemoryOptions(0, buffering(double_buffer), 32, alignment_bytes=alignment_bytes)
        _curves[key] = budget_curve(graph, memory, policy)
    return _curves[key]


def moved_bytes(found: Curve, local_bytes: int) -> int:
    """DRAM bytes of a curve in a local memory."""
    heights = [point.local_bytes for point in found.points]
    return found.points[bisect_right(heights, local_bytes) - 1].dram_bytes


def policies_are_ordered(graph: NetworkGraph, double_buffer: bool = False) -> None:
    """At every breakpoint a larger space is never worse; every curve strictly descends."""
    found = [curve(graph, policy, double_buffer) for policy in POLICIES]
    for each in found:
        heights = [point.local_bytes for point in each.points]
        moved = [point.dram_bytes for point in each.points]
        assert heights == sorted(set(heights))
        assert moved == sorted(set(moved), reverse=True)
    first = [each.points[0].local_bytes for each in found]
    assert first == sorted(first, reverse=True)
    for smaller, larger in pairwise(found):
        breakpoints = {p.local_bytes for p in (*smaller.points, *larger.points)}
        for local in sorted(breakpoints):
            if local >= smaller.points[0].local_bytes:
                assert moved_bytes(larger, local) <= moved_bytes(smaller, local), local


def two_convolutions() -> NetworkGraph:
    """Two valid 3x3 convolutions, 36x36x16 -> 34x34x16 -> 32x32x16, 8 bit, no bias."""
    maps = {"x": (1, 16, 36, 36), "y": (1, 16, 34, 34), "z": (1, 16, 32, 32)}
    kinds = {"x": TensorKind.INPUT, "y": TensorKind.MAP, "z": TensorKind.OUTPUT}
    tensors = {name: Tensor(name, kinds[name], shape, 8) for name, shape in maps.items()}
    layers = []
    for name, source, target in (("first", "x", "y"), ("second", "y", "z")):
        weight = f"{name}.weight"
        tensors[weight] = Tensor(weight, TensorKind.WEIGHT, (16, 16, 3, 3), 8, WeightRole.KERNEL)
        layers.append(
            Layer(
                name=name,
                op="Conv",
                kind=LayerKind.CONVOLUTION,
                input=View((Segment(source, 0, 16),), maps[source]),
                output=target,
                body_shape=maps[target],
                output_shape=maps[target],
                window=Window(kernel=(3, 3)),
                weight=weight,
            )
        )
    return NetworkGraph("two_convolutions", tuple(layers), tensors, ("x",), ("z",), 4608)
