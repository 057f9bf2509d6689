"""The closed form of a chosen tiling, split by tensor and reason.

The totals come from `closed_form`; here they are divided into first and repeated reads.
"First" follows the meaning of the reasons: a network input or a weight is read for the
first time once in the whole network, a feature map once by each layer that consumes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import Layer, TensorKind, View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.alone import any_problem
from dataflow_sim.schedule.amounts import (
    Amounts,
    leaves_from_accumulators,
    result_bits,
    tiling_amounts,
)
from dataflow_sim.schedule.closed_form import pinned_plane
from dataflow_sim.schedule.footprints import Axis
from dataflow_sim.schedule.problem import LayerProblem, StreamProblem, stream_regions
from dataflow_sim.schedule.sweep import SweepProblem
from dataflow_sim.schedule.sweep import step_bits as sweep_step_bits
from dataflow_sim.schedule.sweep import tiling_costs as sweep_costs
from dataflow_sim.schedule.sweep_steps import tiling_sizes
from dataflow_sim.schedule.types import (
    LayerSchedule,
    LayerTiling,
    MemoryOptions,
)
from dataflow_sim.traffic import STORES, Reason, TrafficKey

_READ_REASONS: Mapping[TensorKind, tuple[Reason, Reason]] = {
    TensorKind.INPUT: (Reason.INPUT_READ, Reason.INPUT_REFETCH),
    TensorKind.WEIGHT: (Reason.WEIGHT_FETCH, Reason.WEIGHT_REFETCH),
    TensorKind.MAP: (Reason.MAP_FILL, Reason.MAP_REFILL),
    TensorKind.OUTPUT: (Reason.MAP_FILL, Reason.MAP_REFILL),
}


def write_reason(kind: TensorKind) -> Reason:
    """Why a map is written: a network output once for all, any other map as a spill."""
    return Reason.OUTPUT_WRITE if kind is TensorKind.OUTPUT else Reason.MAP_SPILL


@lru_cache(maxsize=4096)
def _touched(axis: Axis, tile: int) -> tuple[int, ...]:
    """Input positions along an axis that the tiles read, sorted."""
    found: set[int] = set()
    for start in range(0, axis.output_size, tile):
        body = axis.body_span(start, min(start + tile, axis.output_size))
        span = axis.input_span(body)
        found.update(range(span.start, span.stop, span.step))
    return tuple(sorted(found))


@lru_cache(maxsize=4096)
def _span(axis: Axis) -> tuple[int, ...]:
    """Input positions along an axis that one tile of all outputs reads."""
    span = axis.input_span(axis.body_span(0, axis.output_size))
    return tuple(range(span.start, span.stop, span.step))


@dataclass(frozen=True, slots=True)
class Reading:
    """One operand's reads of a tensor: the region touched and all elements read."""

    channels: tuple[int, int]
    rows: tuple[int, ...] | None  # None: all
    columns: tuple[int, ...] | None
    elements_per_channel: int
    touched_per_channel: int


@dataclass(slots=True)
class TrafficHistory:
    """What earlier layers have read of the network's inputs and weights."""

    graph: NetworkGraph
    masks: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    fetched: set[str] = field(default_factory=set)
    readers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Count how often each tensor stands in a view."""
        for layer in self.graph.layers if not self.readers else ():
            self.readers.update(s.tensor for view in layer.views for s in view.segments)

    def anew(self) -> TrafficHistory:
        """The same network, of which nothing has been read."""
        return TrafficHistory(self.graph, readers=self.readers)

    def first_elements(self, name: str, readings: list[Reading]) -> int:
        """Elements that these readings of one layer are the first to touch."""
        tensor = self.graph.tensors[name]
        lasting = tensor.kind in (TensorKind.INPUT, TensorKind.WEIGHT) and self.readers[name] > 1
        ends = sorted(reading.channels for reading in readings)
        if not lasting and all(one[1] <= other[0] for one, other in pairwise(ends)):
            return sum((r.channels[1] - r.channels[0]) * r.touched_per_channel for r in readings)
        mask = np.zeros(tensor.shape[1:], bool)
        if lasting:
            mask = self.masks.setdefault(name, mask)
        before = int(mask.sum())
        for reading in readings:
            rows = range(tensor.shape[2]) if reading.rows is None else reading.rows
            columns = range(tensor.shape[3]) if reading.columns is None else reading.columns
            mask[np.ix_(range(*reading.channels), rows, columns)] = True
        return (int(mask.sum()) - before) * tensor.shape[0]


class LocalBits(NamedTuple):
    """Bits in and out of local memory, and those of them that go in."""

    moved: int
    written: int

    def and_more(self, read: int, written: int) -> LocalBits:
        """With further bits read and written."""
        return LocalBits(self.moved + read + written, self.written + written)


def dma_bits(graph: NetworkGraph, bits: Mapping[TrafficKey, int]) -> LocalBits:
    """Bits that transfers of network tensors write to and read from local memory."""
    moved = written = 0
    for key, value in bits.items():
        tensor = graph.tensors[key.tensor]
        local = value // tensor.bits * tensor.local_bits
        moved += local
        written += local if key.reason not in STORES else 0
    return LocalBits(moved, written)


class LayerTraffic:
    """Collects the traffic of one layer, some of whose maps are resident."""

    def __init__(
        self,
        graph: NetworkGraph,
        layer: Layer,
        history: TrafficHistory,
        resident: frozenset[str],
        stored: frozenset[str],
    ) -> None:
        self.graph = graph
        self.layer = layer
        self.history = history
        self.resident = resident
        self.stored = stored
        self.bits: dict[TrafficKey, int] = {}
        self.readings: dict[str, list[Reading]] = {}

    def add(self, name: str, reason: Reason, elements: int) -> None:
        """Add elements of a tensor."""
        if elements:
            key = TrafficKey(name, reason)
            self.bits[key] = self.bits.get(key, 0) + elements * self.graph.tensors[name].bits

    def read(self, view: View, reading: Reading) -> None:
        """Note the readings of channels of a view whose segments come from DRAM."""
        low, high = reading.channels
        position = 0
        for segment in view.segments:
            start, stop = max(low - position, 0), min(high - position, segment.channels)
            if start < stop and segment.tensor not in self.resident:
                channels = (segment.channel_start + start, segment.channel_start + stop)
                self.note(segment.tensor, replace(reading, channels=channels))
            position += segment.channels

    def note(self, name: str, reading: Reading) -> None:
        """Note a reading of a tensor from DRAM."""
        self.readings.setdefault(name, []).append(reading)

    def keep(self, name: str) -> None:
        """A map or weight tensor that is loaded whole, to stay, and read by this layer first."""
        n, c, h, w = self.graph.tensors[name].shape
        self.note(name, Reading((0, c), None, None, n * h * w, n * h * w))

    def fetch(self, name: str | None, fetched: int) -> None:
        """A weight tensor of which so many elements are fetched, each at least once, if any."""
        if name is None or name in self.resident:
            return
        elements = 0 if name in self.history.fetched else self.graph.tensors[name].elements
        self.history.fetched.add(name)
        self.add(name, Reason.WEIGHT_FETCH, elements)
        self.add(name, Reason.WEIGHT_REFETCH, fetched - elements)

    def weight(self, name: str | None, passes: int, once: int = 0) -> None:
        """A weight tensor fetched a number of times, but for the first places of its first axis,
        which are fetched `once`."""
        if name is not None:
            tensor = self.graph.tensors[name]
            pinned = once * (tensor.elements // tensor.shape[0])
            self.fetch(name, passes * (tensor.elements - pinned) + pinned)

    def weights(self, kernel_passes: int, pinned_channels: int = 0) -> None:
        """All weights of the layer: constants once, the kernel a number of times, of it the pinned
        output channels once."""
        self.weight(self.layer.weight, kernel_passes, pinned_channels)
        self.weight(self.layer.input_vectors, 1)
        self.weight(self.layer.output_vectors, 1)

    def settle(self) -> dict[TrafficKey, int]:
        """Divide the noted readings into first and repeated ones; add what is stored."""
        for name, readings in self.readings.items():
            first, again = _READ_REASONS[self.graph.tensors[name].kind]
            new = self.history.first_elements(name, readings)
            total = sum((r.channels[1] - r.channels[0]) * r.elements_per_channel for r in readings)
            self.add(name, first, new)
            self.add(name, again, total - new)
        for name in self.layer.outputs:
            tensor = self.graph.tensors[name]
            if name in self.stored:
                self.add(name, write_reason(tensor.kind), tensor.elements)
        return self.bits


def _stream_schedule(
    graph: NetworkGraph, layer: Layer, tiling: LayerTiling, traffic: LayerTraffic
) -> LayerSchedule:
    read = made = 0
    for region in stream_regions(graph, layer):
        name = region.tensor
        n, c, h, w = region.shape(graph)
        size = n * c * h * w * graph.tensors[name].local_bits
        read += 0 if name in layer.outputs else size
        made += size if name in layer.outputs else 0
        if name not in layer.outputs and name not in traffic.resident:
            span = (region.start, region.stop)
            traffic.note(name, Reading(span, None, None, n * h * w, n * h * w))
    bits = traffic.settle()
    # every region is read or written once by the steps
    local = dma_bits(graph, bits).and_more(read, made)
    return LayerSchedule(layer.name, tiling, bits, layer.stated_macs, *local)


def _sweep_schedule(
    layer: Layer, problem: SweepProblem, tiling: LayerTiling, traffic: LayerTraffic
) -> LayerSchedule:
    sizes = tiling_sizes(problem.sweep, tiling)
    costs = sweep_costs(problem, tiling.order, sizes)
    for view, tensor, passes in zip(layer.views, problem.inputs, costs.passes, strict=True):
        elements = tensor.area * int(passes[0])
        channels = (0, view.shape[1])
        traffic.read(view, Reading(channels, None, None, elements, tensor.area))
    for name in layer.weights:
        traffic.weight(name, 1)
    bits = traffic.settle()
    steps = sweep_step_bits(problem, tiling.order, sizes)
    local = dma_bits(traffic.graph, bits).and_more(*steps)
    return LayerSchedule(layer.name, tiling, bits, layer.stated_macs, *local)


def layer_schedule(
    graph: NetworkGraph,
    index: int,
    tiling: LayerTiling,
    memory: MemoryOptions,
    history: TrafficHistory,
    resident: frozenset[str],
    stored: frozenset[str],
    kept: tuple[str, ...],
    known: tuple[LayerProblem, Amounts] | None = None,
) -> LayerSchedule:
    """The schedule of one layer alone with its traffic by tensor and reason.

    `resident` are the maps and weights in local memory, `stored` its outputs that go to DRAM,
    `kept` what is loaded whole before it; `known` are the problem of a loop nest and the amounts of
    its tiling, if they are known.  Layers must be asked for in execution order:
    `history` carries what came before.
    """
    layer = graph.layers[index]
    traffic = LayerTraffic(graph, layer, history, resident, stored)
    for name in kept:
        traffic.keep(name)
    problem = known[0] if known else any_problem(graph, layer, memory, resident, stored)
    if isinstance(problem, StreamProblem):
        return _stream_schedule(graph, layer, tiling, traffic)
    if isinstance(problem, SweepProblem):
        return _sweep_schedule(layer, problem, tiling, traffic)
    moved = known[1] if known else tiling_amounts(problem, [tiling])[0]
    rows = _touched(problem.rows, tiling.row_tile)
    columns = _touched(problem.columns, tiling.column_tile)
    touched = problem.batch * len(rows) * len(columns)
    channels, pinned = layer.input.shape[1], tiling.pinned_input_channels
    if pinned:
        plane = pinned_plane(problem)
        spans = (_span(problem.rows), _span(problem.columns))
        traffic.read(layer.input, Reading((0, pinned), *spans, plane, plane))
    if pinned < channels:
        elements = moved.input_elements
        traffic.read(layer.input, Reading((pinned, channels), rows, columns, elements, touched))
    for view in layer.operands:
        n, c, h, w = view.shape
        traffic.read(view, Reading((0, c), None, None, n * h * w, n * h * w))
    traffic.fetch(layer.weight, moved.kernel_elements)
    traffic.weight(layer.input_vectors, moved.input_vector_passes)
    traffic.weight(layer.output_vectors, moved.output_vector_passes)
    bits = traffic.settle()
    local = dma_bits(graph, bits).and_more(moved.step_read_bits, moved.step_write_bits)
    if leaves_from_accumulators(problem, tiling) and problem.output_stored:
        local = local.and_more(-result_bits(problem), 0)
    half = moved.partial_sum_bits // 2
    if half:
        name = f"{layer.name}.partial_sums"
        bits[TrafficKey(name, Reason.PARTIAL_SUM_SPILL)] = half
        bits[TrafficKey(name, Reason.PARTIAL_SUM_FILL)] = half
        local = local if problem.sums_apart else local.and_more(half, half)
    return LayerSchedule(layer.name, tiling, bits, moved.macs, *local, moved.accumulator_bytes)
