"""Whole networks, small enough to be replayed, and what holds of every program of theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision, drop_vectors
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks import build_network
from dataflow_sim.networks.language.llama import Sizes, decode
from dataflow_sim.networks.weights import filled
from dataflow_sim.program.instructions import Program
from dataflow_sim.schedule.demands import Demand
from dataflow_sim.schedule.search import Curve, budget_curve
from dataflow_sim.schedule.tile_regions import tile_obstacle
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import SINGLE, Halo, MemoryOptions, PlaneTile, Schedule
from dataflow_sim.simulate.integers import Integers
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.reference import drawn_inputs, evaluate_model, with_derived_constants
from dataflow_sim.simulate.replay import Replayed, replay, replay_integers
from dataflow_sim.simulate.whole import evaluate_layers
from tests.support.runs import proved

MEMORY = MemoryOptions(0, SINGLE, 32)
BUDGETS = 5
SEED = 1
TOLERANCE = 1e-4
_BLOCK = Sizes(width=32, layers=1, heads=4, groups=2, hidden=80, vocabulary=96, context=64)

NETWORKS: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "mobilenet_v1": partial(build_network, "mobilenet_v1@width=0.25-resolution=128"),
    "mobilenet_v2": partial(build_network, "mobilenet_v2@width=0.35-resolution=96"),
    "resnet18": partial(build_network, "resnet18@resolution=64"),
    "squeezenet": partial(build_network, "squeezenet1_1@resolution=64"),
    "densenet121": partial(build_network, "densenet121@resolution=32"),
    "shufflenet_v2": partial(build_network, "shufflenet_v2@resolution=64"),
    "googlenet": partial(build_network, "googlenet@resolution=64"),
    "unet": partial(build_network, "unet_padded@resolution=64-base=4"),
    "efficientnet_b0": partial(build_network, "efficientnet_b0@resolution=64"),
    "bert": partial(build_network, "bert_tiny@tokens=16"),
    "llama": partial(decode, "llama", 15, 1, _BLOCK.vocabulary, _BLOCK),
}


@dataclass(frozen=True)
class Network:
    """A model whose constants have values, and the network at the widths of a machine of 8 bits."""

    model: onnx.ModelProto
    read: NetworkGraph

    @property
    def graph(self) -> NetworkGraph:
        """At 8 bits."""
        return drop_vectors(assign_precision(self.read, Precision(8, 8, 32)))

    @property
    def wide(self) -> NetworkGraph:
        """At 32 bits."""
        return assign_precision(self.read, Precision(32, 32, 32, True, True))


@cache
def network(name: str) -> Network:
    """One of the networks, by its short name."""
    model, _ = filled(NETWORKS[name](), SEED)
    return Network(model, with_derived_constants(graph_from_model(model, name), model))


@cache
def curve_of(name: str, policy: str, demand: Demand | None = None) -> Curve:
    """The budget curve of a network at 8 bits."""
    return budget_curve(network(name).graph, MEMORY, policy, demand=demand)


@cache
def budgets(name: str, demand: Demand | None = None) -> tuple[int, ...]:
    """Local memories in bytes: the least that works, one where all fits, those between them."""
    points = curve_of(name, "merged", demand).points
    least, most = points[0].local_bytes, points[-1].local_bytes
    ratio = most / least
    return tuple(ceil(least * ratio ** (place / (BUDGETS - 1))) for place in range(BUDGETS))


def demand_with(name: str, halo: Halo) -> Demand | None:
    """Some layers in one group, by tiles of half a plane's side, that share a halo.

    The first four layers that can run so, or else the first three, two; None where none can.
    """
    graph = network(name).graph
    tables = RowTables(graph, MEMORY)
    for length in (4, 3, 2):
        for first in range(len(graph.layers) - length + 1):
            members = tuple(range(first, first + length))
            layers = [graph.layers[index] for index in members]
            _, _, height, width = layers[-1].output_shape
            overlaps = any(max(layer.window.kernel) > 1 for layer in layers[1:])
            if min(height, width) < 4 or not overlaps:
                continue
            if all(tables.mergeable[index] for index in members) and (
                tile_obstacle(graph, tables, members) is None
            ):
                return Demand(members, PlaneTile(-(-height // 2), -(-width // 2)), halo)
    return None


def memory_of(capacity_bytes: int) -> MemoryOptions:
    """Single buffers, in so many bytes."""
    return replace(MEMORY, capacity_bytes=capacity_bytes)


def holds_on_integers(graph: NetworkGraph, schedule: Schedule) -> int:
    """Replay a schedule's program on integers: every map is that of the whole layers, bit for bit.

    What moved is what the ledger counts, tensor by tensor.  The number of instructions.
    """
    program = proved(graph, schedule)
    integers = Integers(graph, schedule.memory.accumulator_bits, SEED)
    replayed = replay_integers(program, integers)
    whole = evaluate_layers(graph, integers, integers.image())
    for name, expected in whole.items():
        values = replayed.tensors[name]
        there = ~np.isnan(values)
        np.testing.assert_array_equal(values[there], expected[there], err_msg=name)
    for name in graph.outputs:
        assert not np.isnan(replayed.tensors[name]).any()
        assert len(np.unique(whole[name])) > 1
    _moves_what_is_counted(program, replayed)
    return len(program.instructions)


def holds_on_real_numbers(found: Network, schedule: Schedule) -> None:
    """Replay a schedule's program in single precision: its outputs are the model's own."""
    graph = found.wide
    program = proved(graph, schedule)
    shapes = {p.array: p.axes.shape for p in graph.placements if p.array not in graph.constants}
    inputs = drawn_inputs(found.model, shapes, SEED)
    replayed = replay(program, graph, inputs)
    _, theirs = evaluate_model(found.model, inputs)
    for result in graph.results:
        parts = [
            replayed.tensors[each.tensor][:, each.channel_start : each.channel_stop]
            for each in result.view.segments
        ]
        mine = result.axes.from_map(np.concatenate(parts, axis=1))
        other: npt.NDArray[Any] = np.asarray(theirs[result.name], np.float64)
        if mine.size < other.size:  # of a cache that grows, what is new
            other = other[..., -mine.shape[-2] :, :]
        apart = np.abs(mine - other.reshape(mine.shape)).max()
        assert apart <= TOLERANCE * np.abs(other).max(), result.name
    _moves_what_is_counted(program, replayed)


def _moves_what_is_counted(program: Program, replayed: Replayed) -> None:
    moved: dict[str, int] = {}
    for (_, key), bits in count(program).traffic_bits.items():
        moved[key.tensor] = moved.get(key.tensor, 0) + bits
    for (name, _), bits in replayed.dram.moved_bits.items():
        moved[name] -= bits
    assert not any(moved.values())
