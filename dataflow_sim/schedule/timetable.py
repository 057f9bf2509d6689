"""The timetable of a merged group: when each layer fires, and how long each row lives.

Model.  A merged group is a run of layers that pass rows to one another in local memory.
Time advances in *stripes*.  The rows of the group's input arrive one stripe after the
other; a layer fires in the first stripe in which the rows that it needs exist, computes
all output rows that have become possible, and within a stripe the layers fire in order:

    stripe      0          1          2          3            3x3, then 3x3, padding 1
    input   0   ──►    1   ──►    2   ──►    3   ──►          (arrives one row a stripe)
    layer A            row 0      row 1      row 2            last(r) = r + 1
    layer B                       row 0      row 1            last(r) = r + 1

Padding behind the last row counts as if it arrived in time, so that the pipeline keeps its
pace to the end.  In the finest timetable a stripe is one row of the group's input; coarser
ones put `height` rows into a stripe, and what would come after the last one is done in it.

A *firing* is a pair (stripe, layer); firings are ordered by it.  A row lives

    from   the firing that produces it; of a map that comes from outside the group,
           the first firing that reads it
    to     the last firing that reads it, or the one that produces it

both included: while K rows are read all K live, and a dead row is gone before the next
one comes.  Whatever is streamed from or to DRAM stays one firing longer where the
hardware buffers inputs, or outputs, doubly: it is loaded while the row before it is used, and
stored while the one behind it is made.

A layer that carries a running reduction (`running`) fires as if it did not pool, whenever a
row of its body has become possible; its output row is made in its last firing.  A normalisation
over rows (`sweep_rows`) carries its statistics.

Assumed: rows are whole (all columns, all channels, all images of the batch); every row is
computed once, whether someone needs it or not.  Ignored: tiles of columns.

Source: the row-wise schedules of fused-layer accelerators, Alwani et al., MICRO 2016.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Span
from dataflow_sim.schedule.map_rows import NEVER, MapRows
from dataflow_sim.schedule.rows import (
    Ints,
    LayerRows,
    column_span,
    layer_rows,
    mergeable,
    row_bytes,
    row_scales,
)
from dataflow_sim.schedule.running import RunningReduction, running_reduction
from dataflow_sim.schedule.types import MemoryOptions

# rows of the first layer's input in a stripe, None for the finest timetable; several at once
Height = int | tuple[int, ...] | None

# a firing is numbered stripe * LAYERS + place of the layer in its group
LAYERS = 1 << 12


class RowTables:
    """Row needs, running reductions and scales of a whole network, computed once."""

    def __init__(self, graph: NetworkGraph, memory: MemoryOptions) -> None:
        self.graph = graph
        self.memory = memory
        self.mergeable = [mergeable(graph, layer) for layer in graph.layers]
        self.rows: list[LayerRows | None] = [
            layer_rows(layer) if able else None
            for layer, able in zip(graph.layers, self.mergeable, strict=True)
        ]
        self.running: list[RunningReduction | None] = [
            running_reduction(graph, layer, memory) if able else None
            for layer, able in zip(graph.layers, self.mergeable, strict=True)
        ]
        self.scale = row_scales(graph)


@dataclass(frozen=True, slots=True)
class RunningResult:
    """What a layer of a group carries: its `life`, its bits per element, and where it lies.

    `address` is that in the accumulator memory, None where it is in local memory.
    """

    life: MapRows
    bits: int
    address: int | None


class Timetable:
    """A group that grows layer by layer; `members` are its layers as they fire in a stripe.

    `height` is the number of rows of the first layer's input in a stripe, None for the
    finest timetable.  Of several heights at once the stripes are numbered one height behind the
    other, and what is by row is by height and row.  `running` says whether layers carry
    their reductions that may.

    By place in the group: `rows` are the needs of a layer, by body row where it carries its
    reduction, `row_firing` the firings of the same rows, `carried` what it carries.
    """

    def __init__(self, tables: RowTables, height: Height, running: bool = False) -> None:
        self.tables = tables
        self.graph = tables.graph
        self.height = height
        self.members: tuple[int, ...] = ()
        self._stripe: int | Ints = 1
        self._last_stripe: int | Ints | None = None
        # of several heights: the number of each one's first stripe
        self._begins: Ints | None = None
        self.maps: dict[str, MapRows] = {}
        self.ticks: dict[str, Ints] = {}
        self.running = running
        self.carried: dict[int, RunningResult] = {}
        self.rows: list[LayerRows] = []
        self.row_firing: list[Ints] = []
        self.firings: list[Ints] = []

    @property
    def layers(self) -> list[Layer]:
        """The layers of the group."""
        return [self.graph.layers[index] for index in self.members]

    def copy(self) -> Timetable:
        """The same group, to grow by other layers."""
        other = copy(self)
        other.maps = {name: found.copy() for name, found in self.maps.items()}
        other.ticks, other.carried = dict(self.ticks), dict(self.carried)
        other.rows, other.row_firing = list(self.rows), list(self.row_firing)
        other.firings = list(self.firings)
        return other

    def _begin(self, layer: Layer) -> None:
        rows = layer.input.shape[2]
        scale = self.tables.scale[layer.input.segments[0].tensor]
        if isinstance(self.height, tuple):
            heights = np.array(self.height, np.int64)[:, None]
            stripes = -(-rows // heights)
            self._stripe, self._last_stripe = scale * heights, stripes - 1
            self._begins = np.cumsum(stripes)[:, None] - stripes
        else:
            self._stripe = scale * (self.height or 1)
            self._last_stripe = None if self.height is None else -(-rows // self.height) - 1

    def extend(self, index: int) -> None:
        """Take one more layer in, which can run by rows and follows the others."""
        layer, rows = self.graph.layers[index], self.tables.rows[index]
        assert rows is not None
        if not self.members:
            self._begin(layer)
        place = len(self.members)
        self.members += (index,)
        ticks, firing = self._times(layer, rows, place)
        reduction = self.tables.running[index] if self.running else None
        made = slice(None)
        if reduction is not None:
            by_body_row = self._times(layer, reduction.rows, place)
            if self._carry(layer, reduction, by_body_row[1], place):
                rows, made = reduction.rows, slice(-1, None)
                ticks, firing = by_body_row
        if rows.sums and firing.min() != firing.max():
            assert self._begins is None or len(self._begins) == 1
            memory = self.tables.memory
            bits = memory.accumulator_bits
            self._hold(layer, place, firing, memory.bytes_taken(rows.sums * bits), bits, None)
        self.rows.append(rows)
        self.row_firing.append(firing)
        flat = firing.ravel()  # which ascends
        self.firings.append(flat[np.concatenate([[True], flat[1:] != flat[:-1]])])
        for number, (view, needs) in enumerate(zip(layer.views, rows.views, strict=True)):
            read = needs.first >= 0
            first = np.where(read, firing[..., needs.first], NEVER)
            final = np.where(read, firing[..., needs.final], -1)
            columns = column_span(layer, layer.input if number == 0 else view)
            for segment in view.segments:
                channels = Span(segment.channel_start, segment.channel_stop)
                self._read(segment.tensor, channels, columns, first, final)
        tensor = self.graph.tensors[layer.output]
        self.maps[layer.output] = MapRows(
            layer.output,
            place,
            firing[..., made],
            firing[..., made],
            Span(0, tensor.shape[1]),
            Span(0, tensor.shape[3]),
            self._row_bytes(layer.output, tensor.shape[1], tensor.shape[3]),
        )
        self.ticks[layer.output] = ticks[made]

    def _times(self, layer: Layer, rows: LayerRows, place: int) -> tuple[Ints, Ints]:
        """Ticks and firings of the rows that a layer makes."""
        ticks = self._layer_ticks(layer, rows)
        stripes = np.maximum(ticks // self._stripe, 0)
        if self._last_stripe is not None:
            stripes = np.minimum(stripes, self._last_stripe)
        if self._begins is not None:
            stripes = stripes + self._begins
        return ticks, stripes * LAYERS + place

    def _carry(self, layer: Layer, reduction: RunningReduction, firing: Ints, place: int) -> bool:
        """Place a layer's running result; False where the accumulator memory has no room.

        There it lies above all that still live when it begins.
        """
        address = None
        if reduction.capacity_bytes is not None:
            tops = [
                found.address + found.life.row_bytes
                for found in self.carried.values()
                if found.address is not None and found.life.death[0] >= firing[0]
            ]
            address = max(tops, default=0)
            if address + reduction.size_bytes > reduction.capacity_bytes:
                return False
        self._hold(layer, place, firing, reduction.size_bytes, reduction.bits, address)
        return True

    def _hold(
        self, layer: Layer, place: int, firing: Ints, size: int, bits: int, address: int | None
    ) -> None:
        """Keep what a layer carries from its first firing to its last."""
        _, c, _, w = layer.output_shape
        first, last = firing[..., :1], firing[..., -1:]
        life = MapRows(layer.output, place, first, last, Span(0, c), Span(0, w), size)
        self.carried[place] = RunningResult(life, bits, address)

    def _layer_ticks(self, layer: Layer, rows: LayerRows) -> Ints:
        """When the rows that each output row needs have come, in rows of the network's input.

        Maps from outside come when they are asked for, except to a layer that reads
        nothing else: its input sets the pace.
        """
        found = []
        for view, needs in zip(layer.views, rows.views, strict=True):
            for segment in view.segments:
                if segment.tensor in self.ticks:
                    made = self.ticks[segment.tensor]
                    beyond = np.maximum(needs.last - (len(made) - 1), 0)
                    inside = np.clip(needs.last, 0, len(made) - 1)
                    found.append(made[inside] + beyond * self.tables.scale[segment.tensor])
        if not found:
            scale = self.tables.scale[layer.input.segments[0].tensor]
            found.append(rows.pace * scale)
        latest = np.max(np.stack(found), axis=0)
        return np.asarray(np.maximum.accumulate(latest), np.int64)

    def _read(self, name: str, channels: Span, columns: Span, first: Ints, final: Ints) -> None:
        known = self.maps.get(name)
        if known is not None:
            known.death = np.maximum(known.death, final)
            if known.producer is not None:
                return
            known.birth = np.minimum(known.birth, first)
            channels = Span(
                min(channels.start, known.channels.start), max(channels.stop, known.channels.stop)
            )
            if columns != known.columns:
                columns = _union(columns, known.columns)
            known.channels, known.columns = channels, columns
        else:
            known = MapRows(name, None, first, final, channels, columns, 0)
            self.maps[name] = known
        known.row_bytes = self._row_bytes(name, channels.length, columns.length)

    def _row_bytes(self, name: str, channels: int, columns: int) -> int:
        return row_bytes(self.graph, self.tables.memory, name, channels, columns)

    def height_of(self, firings: Ints) -> Ints:
        """The place among several heights of each firing, 0 of one."""
        if self._begins is None:
            return np.zeros(len(firings), np.int64)
        return np.searchsorted(self._begins[:, 0] * LAYERS, firings, "right") - 1

    def fired(self) -> Ints:
        """How often each layer fires, of several heights by height and layer."""
        if self._begins is None:
            return np.array([len(each) for each in self.firings])
        least = len(self._begins)
        counts = [np.bincount(self.height_of(each), minlength=least) for each in self.firings]
        return np.stack(counts, axis=1)

    def at(self, chosen: npt.NDArray[np.bool_]) -> Timetable:
        """Of several heights some: for their costs, not to grow."""
        if chosen.all():
            return self
        assert isinstance(self.height, tuple)
        assert self._begins is not None
        other = copy(self)
        other.height = tuple(h for h, one in zip(self.height, chosen, strict=True) if one)
        other._begins = self._begins[chosen]
        other.maps = {name: found.at(chosen) for name, found in self.maps.items()}
        other.firings = [each[chosen[self.height_of(each)]] for each in self.firings]
        return other

    @property
    def keeps_statistics(self) -> bool:
        """Whether a layer keeps statistics where it fires more than once: at one height a time."""
        return any(rows.sums for rows in self.rows)

    def outside(self) -> list[MapRows]:
        """Maps that come from outside the group."""
        return [found for found in self.maps.values() if found.producer is None]

    def carried_locally(self) -> list[MapRows]:
        """Running results in local memory, each as a map of one row."""
        return [found.life for found in self.carried.values() if found.address is None]

    def produced(self) -> list[MapRows]:
        """Maps that the group makes, in order."""
        return [found for found in self.maps.values() if found.producer is not None]


def _union(one: Span, other: Span) -> Span:
    """The smallest span that holds both, every element where their steps differ."""
    low, high = min(one.start, other.start), max(one.stop, other.stop)
    same = one.step == other.step and (one.start - other.start) % one.step == 0
    return Span(low, high, one.step if same else 1)
