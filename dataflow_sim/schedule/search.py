"""Policies: how a whole network is scheduled within a local memory.

A policy is a function of one signature, found in one registry.

layerwise   every layer alone: it reads its input from DRAM and writes its output there,
            so the whole local memory is its own and layers are independent
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dataflow_sim.errors import DoesNotFitError, InputError
from dataflow_sim.graph.layer import Layer, LayerKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.estimate import TrafficHistory, layer_schedule
from dataflow_sim.schedule.frontier import (
    Choice,
    best_stream,
    best_tiling,
    least_local_bytes,
    least_stream_bytes,
)
from dataflow_sim.schedule.problem import LayerProblem, layer_problem, stream_problem
from dataflow_sim.schedule.types import MemoryOptions, Schedule

Progress = Callable[[int, int], None]
Policy = Callable[[NetworkGraph, MemoryOptions, Progress], Schedule]


def _no_progress(done: int, total: int) -> None:
    """Say nothing."""


def _choose(graph: NetworkGraph, layer: Layer, memory: MemoryOptions) -> Choice | None:
    if layer.kind is LayerKind.OPAQUE:
        return best_stream(stream_problem(graph, layer, memory), memory.capacity_bytes)
    return best_tiling(_problem(graph, layer, memory), memory.capacity_bytes)


def _problem(graph: NetworkGraph, layer: Layer, memory: MemoryOptions) -> LayerProblem:
    """The layer's problem, the same for every capacity, so that it is solved once."""
    options = MemoryOptions(0, memory.double_buffer, memory.accumulator_bits)
    return layer_problem(graph, layer, options)


def _least_bytes(graph: NetworkGraph, layer: Layer, memory: MemoryOptions) -> int:
    if layer.kind is LayerKind.OPAQUE:
        return least_stream_bytes(stream_problem(graph, layer, memory))
    return least_local_bytes(_problem(graph, layer, memory))


def layerwise(graph: NetworkGraph, memory: MemoryOptions, progress: Progress) -> Schedule:
    """Every layer alone, with the tiling that moves the fewest DRAM bits within the memory.

    Raises DoesNotFitError naming the most demanding layer when some layer has no tiling.
    """
    history = TrafficHistory(graph)
    layers = []
    for index, layer in enumerate(graph.layers):
        choice = _choose(graph, layer, memory)
        if choice is None:
            needs = [_least_bytes(graph, each, memory) for each in graph.layers]
            worst = needs.index(max(needs))
            raise DoesNotFitError(graph.layers[worst].name, needs[worst], memory.capacity_bytes)
        layers.append(layer_schedule(graph, layer, choice, memory, history))
        progress(index + 1, len(graph.layers))
    return Schedule(graph.name, "layerwise", memory, tuple(layers))


POLICIES: Mapping[str, Policy] = {"layerwise": layerwise}


def schedule_network(
    graph: NetworkGraph,
    memory: MemoryOptions,
    policy: str,
    progress: Progress = _no_progress,
) -> Schedule:
    """Schedule a network under a named policy.

    Raises InputError for an unknown policy or a memory of no bytes, DoesNotFitError when
    a layer does not fit.
    """
    if policy not in POLICIES:
        raise InputError(f"unknown policy '{policy}'; there are {', '.join(POLICIES)}")
    if memory.capacity_bytes < 1:
        raise InputError("local memory has 0 bytes; give at least 1 (local_memory.capacity)")
    return POLICIES[policy](graph, memory, progress)
