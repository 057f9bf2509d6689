"""Lower a merged group: fire its layers by the timetable, row by row.

In every firing, in this order: rows that begin to live are loaded or reserved; the layer
computes its rows, with a kernel that stays in one step each, with one that streams in a
step for each tile of channels and row, a sweep in one step; rows that go to DRAM are stored; rows
that nobody needs any more are freed.  A layer that carries a running reduction computes rows of
its body, and makes its output row with the last of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from dataflow_sim.graph.layer import Layer, View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Box, Span, whole
from dataflow_sim.graph.sweep import Sweep
from dataflow_sim.program.emitter import ORIGIN, Emitter, resident_slice
from dataflow_sim.program.instructions import Compute, Free, Load, Memory, Slice, Store, Stream
from dataflow_sim.schedule.layout import GroupLayout, Held
from dataflow_sim.schedule.rows import LayerRows, column_span, depthwise, stripe_spans
from dataflow_sim.schedule.sweep import RUNNING_SUMS
from dataflow_sim.schedule.timetable import LAYERS, RowTables
from dataflow_sim.schedule.types import Group, RowTiling

_ONE = Span(0, 1)


def _statistics(sweep: Sweep) -> Box:
    """What a sweep carries: batches, groups, rows, values of each."""
    return whole((sweep.batch, sweep.groups, sweep.rows, sweep.sums))


class RowPipeline:
    """Lowers one merged group into an emitter."""

    def __init__(
        self, tables: RowTables, group: Group, layout: GroupLayout, emitter: Emitter
    ) -> None:
        self.graph: NetworkGraph = tables.graph
        self.tables = tables
        self.group = group
        self.layout = layout
        self.emit = emitter
        self.table = layout.timetable
        self.buffers: dict[Held, int] = {}
        self.births: dict[int, list[int]] = defaultdict(list)
        self.deaths: dict[int, list[int]] = defaultdict(list)
        for index, life in enumerate(layout.lives):
            self.births[life.first].append(index)
            self.deaths[life.last].append(index)

    def lower(self) -> None:
        """Fire all firings in order."""
        for moment, firing in enumerate(self.layout.firings):
            for index in self.births[moment]:
                self._begin(self.layout.held[index], self.layout.addresses[index])
            place = firing % LAYERS
            rows = (self.table.row_firing[place] == firing).nonzero()[0]
            self._fire(self.group.members[place], moment, rows.tolist())
            for index in self.deaths[moment]:
                self.emit.instructions.append(Free(self.buffers.pop(self.layout.held[index])))

    # ------------------------------------------------------------ buffers

    def _begin(self, held: Held, address: int) -> None:
        """Reserve a buffer and load what it holds, if that comes from DRAM whole."""
        tensor = self.graph.tensors[held.tensor]
        at = self.group.address + address
        if held.layer >= 0:
            layer = self.graph.layers[held.layer]
            if held.tensor == layer.output:
                self._begin_running(held, at, Memory.LOCAL)
                return
            shape = tensor.shape
            tiling = self._tiling(held.layer)
            streamed = tiling.streamed and held.tensor == layer.weight
            if streamed:
                shape = (tiling.output_channel_tile, *shape[1:])
            role = "kernel" if held.tensor == layer.weight else "constants"
            self.buffers[held] = self.emit.place(
                f"{layer.name}: {role}", shape, tensor.local_bits, at
            )
            if not streamed:
                box = whole(shape)
                self.emit.instructions.append(Load(held.tensor, box, self.buffers[held], ORIGIN))
            return
        found = self.table.maps[held.tensor]
        batch = tensor.shape[0]
        shape = (batch, found.channels.length, 1, found.columns.length)
        label = f"{held.tensor}: row"
        self.buffers[held] = self.emit.place(label, shape, tensor.bits, at)
        if found.producer is None:
            row = Span(held.number, held.number + 1)
            box = Box(Span(0, batch), found.channels, row, found.columns)
            self.emit.instructions.append(Load(held.tensor, box, self.buffers[held], ORIGIN))

    def _begin_running(self, held: Held, address: int, memory: Memory) -> None:
        """Reserve the buffer of a running result."""
        layer = self.graph.layers[held.layer]
        bits = self.table.carried[self.group.members.index(held.layer)].bits
        shape, what = layer.output_shape, "partial sums"
        if layer.sweep is not None:
            shape, what = _statistics(layer.sweep).shape, RUNNING_SUMS
        label = f"{layer.name}: {what}"
        self.buffers[held] = self.emit.place(label, shape, bits, address, memory)

    def _tiling(self, index: int) -> RowTiling:
        tiling = self.group.layers[self.group.members.index(index)].tiling
        assert isinstance(tiling, RowTiling)
        return tiling

    # ------------------------------------------------------------ steps

    def _fire(self, index: int, moment: int, rows: list[int]) -> None:
        place = self.group.members.index(index)
        layer, needs = self.graph.layers[index], self.table.rows[place]
        if layer.sweep is not None:
            self._sweep(index, layer, layer.sweep, rows)
            self._store(layer, rows)
            return
        carried = self.table.carried.get(place)
        result = Held(layer.output, index, 0, 0)
        if carried is not None and carried.address is not None and rows[0] == 0:
            self._begin_running(result, carried.address, Memory.ACCUMULATORS)
        for channels, kernel in self._kernels(index, layer, moment):
            for row in rows:
                self._step(index, layer, needs, row, channels, kernel)
        if carried is not None:
            rows = [0] if rows[-1] == needs.rows - 1 else []
            if carried.address is not None and rows:
                self.emit.instructions.append(Free(self.buffers.pop(result)))
        self._store(layer, rows)

    def _store(self, layer: Layer, rows: list[int]) -> None:
        """Store finished rows, if the layer's output goes to DRAM."""
        n, c, _, w = layer.output_shape
        for row in rows if layer.output in self.group.stored else ():
            box = Box(Span(0, n), Span(0, c), Span(row, row + 1), Span(0, w))
            part = self._row(layer.output, box)
            self.emit.instructions.append(Store(layer.output, box, part.buffer, part.origin))

    def _sweep(self, index: int, layer: Layer, sweep: Sweep, rows: list[int]) -> None:
        """One step makes the rows of a firing, from whole rows of all views."""
        needs = self.table.rows[self.group.members.index(index)]
        reads: list[Slice] = []
        spans = stripe_spans(needs, rows[0], rows[-1] + 1)
        for view, span in zip(layer.views, spans, strict=True):
            box = whole(view.shape)._replace(row=span)
            reads.extend(self._parts(view, box))
        for name in layer.weights:
            box = whole(self.graph.tensors[name].shape)
            reads.append(Slice(self._weights(name, index), ORIGIN, box))
        results = whole(layer.output_shape)
        writes = tuple(
            self._row(layer.output, results._replace(row=Span(row, row + 1))) for row in rows
        )
        sums = None
        statistics = self.buffers.get(Held(layer.output, index, 0, 0))
        if statistics is not None:
            sums = Slice(statistics, ORIGIN, _statistics(sweep))
        first = rows[0] == 0
        self.emit.instructions.append(
            Stream(index, tuple(reads), writes, sums, first, sums is None or not first)
        )

    def _kernels(
        self, index: int, layer: Layer, moment: int
    ) -> Iterator[tuple[Span, Slice | None]]:
        """Output channels of each step with the kernel for them, loaded when it streams."""
        everything = Span(0, layer.output_shape[1])
        if layer.weight is None:
            yield everything, None
            return
        shape = self.graph.tensors[layer.weight].shape
        tiling = self._tiling(index)
        if not tiling.streamed:
            buffer = self._weights(layer.weight, index)
            yield everything, Slice(buffer, ORIGIN, whole(shape))
            return
        turns = [self.buffers.get(Held(layer.weight, index, slot, moment)) for slot in (0, 1)]
        slots = [buffer for buffer in turns if buffer is not None]
        size = tiling.output_channel_tile
        for number, first in enumerate(range(0, shape[0], size)):
            channels = Span(first, min(first + size, shape[0]))
            box = whole(shape)._replace(batch=channels)
            buffer = slots[number % len(slots)]
            self.emit.instructions.append(Load(layer.weight, box, buffer, ORIGIN))
            yield channels, Slice(buffer, ORIGIN, box)

    def _step(
        self,
        index: int,
        layer: Layer,
        needs: LayerRows,
        row: int,
        channels: Span,
        kernel: Slice | None,
    ) -> None:
        n, _, _, w = layer.output_shape
        images = Span(0, n)
        made = Span(row, row + 1)
        box = Box(images, channels, made, Span(0, w))
        sums, first, last, body_rows = None, True, True, None
        if self.group.members.index(index) in self.table.carried:
            box = box._replace(row=_ONE)
            held = self.buffers[Held(layer.output, index, 0, 0)]
            sums = Slice(held, (0, channels.start, 0, 0), box)
            first, last, body_rows = row == 0, row == needs.rows - 1, made
        view = layer.input
        rows = needs.views[0].rows(row)
        taken = channels if depthwise(layer) else Span(0, view.shape[1])
        source = Box(images, taken, rows, column_span(layer, view))
        operands = []
        for operand, need in zip(layer.operands, needs.views[1:], strict=True):
            columns = column_span(layer, operand)
            part = Box(images, channels, need.rows(row), columns)
            operands.append(self._parts(operand, part))
        self.emit.instructions.append(
            Compute(
                index,
                self._row(layer.output, box) if sums is None or last else sums,
                self._parts(view, source),
                () if kernel is None else (kernel,),
                self._constants(index, layer.input_vectors, taken),
                self._constants(index, layer.output_vectors, channels),
                tuple(operands),
                sums,
                first,
                last,
                body_rows,
            )
        )

    def _constants(self, index: int, name: str | None, channels: Span) -> Slice | None:
        if name is None:
            return None
        shape = self.graph.tensors[name].shape
        box = Box(Span(0, shape[0]), channels, _ONE, _ONE)
        return Slice(self._weights(name, index), (0, channels.start, 0, 0), box)

    def _weights(self, name: str, index: int) -> int:
        """The buffer of weights that stay: for the group, or from one frame to the next."""
        there = self.emit.resident.get(name)
        return self.buffers[Held(name, index, 0, 0)] if there is None else there

    def _row(self, name: str, box: Box) -> Slice:
        """One row of a map that the group makes, in its own buffer or in the resident map's."""
        there = self.emit.resident.get(name)
        if there is not None:
            return resident_slice(there, box)
        buffer = self.buffers[Held(name, -1, box.row.start, 0)]
        return Slice(buffer, (0, box.channel.start, 0, box.column.start), box)

    def _parts(self, view: View, box: Box) -> tuple[Slice, ...]:
        """A box of a view: for each segment the resident map, or row by row."""
        parts: list[Slice] = []
        position = 0
        for segment in view.segments:
            low = max(box.channel.start, position)
            high = min(box.channel.stop, position + segment.channels)
            shift = segment.channel_start - position
            position += segment.channels
            if low >= high:
                continue
            piece = box._replace(channel=Span(low, high))
            there = self.emit.resident.get(segment.tensor)
            if there is not None:
                parts.append(resident_slice(there, piece, shift))
                continue
            found = self.table.maps[segment.tensor]
            columns = found.columns
            at = (box.column.start - columns.start) // columns.step
            origin = (0, low + shift - found.channels.start, 0, at)
            stride = (1, box.column.step // columns.step)
            for row in range(*box.row):
                buffer = self.buffers[Held(segment.tensor, -1, row, 0)]
                one = piece._replace(row=Span(row, row + 1, box.row.step))
                parts.append(Slice(buffer, origin, one, stride))
        return tuple(parts)
