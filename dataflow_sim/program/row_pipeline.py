"""Lower a merged group: fire its layers by the timetable, row by row.

In every firing the layer computes its rows, with a kernel that stays in one step each, with one
that streams in a step for each tile of channels and row, a sweep in one step.  A layer that
carries a running reduction computes rows of its body, and makes its output row with the last of
them.  Of a resident map that hands its rows over each is freed behind the firing that needs it
last, and each row of the map that takes their places is reserved before the one that makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dataflow_sim.graph.layer import Layer, View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Box, Span, whole
from dataflow_sim.graph.sweep import Sweep
from dataflow_sim.program.emitter import ORIGIN, Emitter, resident_slice, segments_of
from dataflow_sim.program.group_pipeline import ONE, GroupPipeline
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Join,
    Load,
    Memory,
    Slice,
    Split,
    Store,
    Stream,
)
from dataflow_sim.schedule.layout import GroupLayout, Held
from dataflow_sim.schedule.rows import LayerRows, column_span, depthwise, stripe_spans
from dataflow_sim.schedule.sweep import RUNNING_SUMS
from dataflow_sim.schedule.types import Group


def _statistics(sweep: Sweep) -> Box:
    """What a sweep carries: batches, groups, rows, values of each."""
    return whole((sweep.batch, sweep.groups, sweep.rows, sweep.sums))


class RowPipeline(GroupPipeline):
    """Lowers one merged group that runs by rows into an emitter."""

    def __init__(
        self,
        graph: NetworkGraph,
        group: Group,
        layout: GroupLayout,
        emitter: Emitter,
        homes: Mapping[str, int],
    ) -> None:
        super().__init__(graph, group, layout, emitter)
        self.table = layout.timetable
        self.homes = homes  # addresses of resident maps
        self.rows: dict[str, dict[int, int]] = {}  # buffers of what is handed over, by row

    # ------------------------------------------------------------ rows that are handed over

    def lower(self) -> None:
        """Fire all firings in order; a map that gives its rows away falls apart before, and the
        rows that took their places become a map behind."""
        hands = self.group.hands
        if hands is None:
            super().lower()
            return
        taken, made = self.table.maps[hands.taken], self.table.maps[hands.made]
        given, taking = self._by_row(hands.taken), self._by_row(hands.made)
        self.rows = {
            hands.taken: {row: part.buffer for row, part in enumerate(given)},
            hands.made: {row: part.buffer for row, part in enumerate(taking)},
        }
        self.emit.instructions.append(Split(self.emit.resident.pop(hands.taken), given))
        firings = self.layout.firings
        for row, moment in enumerate(np.searchsorted(firings, made.birth).tolist()):
            self.due_before[moment].append(taking[row])
        for row, (firing, moment) in enumerate(
            zip(taken.death.tolist(), np.searchsorted(firings, taken.death).tolist(), strict=True)
        ):
            free = Free(given[row].buffer)
            if firing < 0:  # nobody needs it
                self.emit.instructions.append(free)
            else:
                self.due_behind[moment].append(free)
        super().lower()
        tensor = self.graph.tensors[hands.made]
        address = self.homes[hands.made]
        joined = self.emit.reserved(hands.made, tensor.shape, tensor.local_bits, address)
        self.emit.instructions.append(Join(tuple(part.buffer for part in taking), joined))
        self.emit.resident[hands.made] = joined.buffer

    def _by_row(self, name: str) -> tuple[Alloc, ...]:
        """A buffer for each row of a map, one behind the other from its address on."""
        tensor = self.graph.tensors[name]
        n, c, h, w = tensor.shape
        bits, address = tensor.local_bits, self.homes[name]
        size = n * c * w * bits // self.graph.byte_bits
        return tuple(
            self.emit.reserved(f"{name}: row", (n, c, 1, w), bits, address + row * size)
            for row in range(h)
        )

    def _handed(self, name: str, shift: int, piece: Box) -> Iterator[Slice]:
        """Rows of a map that is handed over, each in its own buffer."""
        batch, channel, _, column = (span.start for span in piece)
        for row in range(*piece.row):
            one = piece._replace(row=Span(row, row + 1, piece.row.step))
            at = (batch, channel + shift, 0, column)
            yield Slice(self.rows[name][row], at, one, (1, piece.column.step))

    # ------------------------------------------------------------ maps and weights

    def begin_map(self, held: Held, address: int) -> None:
        """Reserve a row's buffer, and load it if it comes from DRAM."""
        tensor, found = self.graph.tensors[held.tensor], self.table.maps[held.tensor]
        batch = tensor.shape[0]
        shape = (batch, found.channels.length, 1, found.columns.length)
        label = f"{held.tensor}: row"
        self.buffers[held] = self.emit.place(label, shape, tensor.local_bits, address)
        if found.producer is None:
            row = Span(held.number, held.number + 1)
            box = Box(Span(0, batch), found.channels, row, found.columns)
            self.emit.instructions.append(Load(held.tensor, box, self.buffers[held], ORIGIN))

    def begin_weights(self, held: Held, address: int) -> None:
        """Reserve a buffer for weights, or for a running result."""
        if held.tensor == self.graph.layers[held.layer].output:
            self._begin_running(held, address, Memory.LOCAL)
        else:
            super().begin_weights(held, address)

    def _begin_running(self, held: Held, address: int, memory: Memory) -> None:
        """Reserve the buffer of a running result."""
        layer = self.graph.layers[held.layer]
        bits = self.table.carried[self.group.members.index(held.layer)].bits
        shape, what = layer.output_shape, "partial sums"
        if layer.sweep is not None:
            shape, what = _statistics(layer.sweep).shape, RUNNING_SUMS
        label = f"{layer.name}: {what}"
        self.buffers[held] = self.emit.place(label, shape, bits, address, memory)

    # ------------------------------------------------------------ steps

    def fire(self, index: int, moment: int, firing: int) -> None:
        """Compute all rows of a firing."""
        place = self.group.members.index(index)
        rows: list[int] = (self.table.row_firing[place] == firing).nonzero()[0].tolist()
        layer, needs = self.graph.layers[index], self.table.rows[place]
        if layer.sweep is not None:
            self._sweep(index, layer, layer.sweep, rows)
            self._store(layer, rows)
            return
        carried = self.table.carried.get(place)
        result = Held(layer.output, index, 0, 0)
        if carried is not None and carried.address is not None and rows[0] == 0:
            self._begin_running(result, carried.address, Memory.ACCUMULATORS)
        for channels, kernel in self.kernels(index, layer, moment):
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
        spans = stripe_spans(needs, rows[0], rows[-1] + 1)
        inputs = tuple(
            self._parts(view, whole(view.shape)._replace(row=span))
            for view, span in zip(layer.views, spans, strict=True)
        )
        constants = tuple(
            Slice(self.weights(name, index), ORIGIN, whole(self.graph.tensors[name].shape))
            for name in layer.weights
        )
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
            Stream(index, inputs, constants, (writes,), sums, first, sums is None or not first)
        )

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
            box = box._replace(row=ONE)
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
                self.constants(index, layer.input_vectors, taken),
                self.constants(index, layer.output_vectors, channels),
                tuple(operands),
                sums,
                first,
                last,
                body_rows,
            )
        )

    def _row(self, name: str, box: Box) -> Slice:
        """One row of a map that the group makes, in its own buffer or in the resident map's."""
        if name in self.rows:
            (part,) = self._handed(name, 0, box)
            return part
        there = self.emit.resident.get(name)
        if there is not None:
            return resident_slice(there, box)
        buffer = self.buffers[Held(name, -1, box.row.start, 0)]
        return Slice(buffer, (0, box.channel.start, 0, box.column.start), box)

    def _parts(self, view: View, box: Box) -> tuple[Slice, ...]:
        """A box of a view: for each segment the resident map, or row by row."""
        parts: list[Slice] = []
        for tensor, shift, piece in segments_of(view, box):
            if tensor in self.rows:
                parts.extend(self._handed(tensor, shift, piece))
                continue
            there = self.emit.resident.get(tensor)
            if there is not None:
                parts.append(resident_slice(there, piece, shift))
                continue
            found = self.table.maps[tensor]
            columns = found.columns
            at = (box.column.start - columns.start) // columns.step
            origin = (0, piece.channel.start + shift - found.channels.start, 0, at)
            stride = (1, box.column.step // columns.step)
            for row in range(*box.row):
                buffer = self.buffers[Held(tensor, -1, row, 0)]
                one = piece._replace(row=Span(row, row + 1, box.row.step))
                parts.append(Slice(buffer, origin, one, stride))
        return tuple(parts)
