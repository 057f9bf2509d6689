"""Lower a merged group that runs by tiles of the plane: cells that come and go, one step a firing.

A step reads the boxes that it needs of its views from all cells that hold a part of them, and
writes what it makes to the cells of its output; with a kernel that streams, channel tile by
channel tile.
"""

from __future__ import annotations

from dataflow_sim.graph.layer import View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Box, Span
from dataflow_sim.program.emitter import ORIGIN, Emitter, resident_slice, segments_of
from dataflow_sim.program.group_pipeline import GroupPipeline
from dataflow_sim.program.instructions import Compute, Load, Slice, Store
from dataflow_sim.schedule.layout import GroupLayout, Held
from dataflow_sim.schedule.rows import Ints, depthwise
from dataflow_sim.schedule.tile_regions import CellSide, TiledMap, needed
from dataflow_sim.schedule.timetable import LAYERS
from dataflow_sim.schedule.types import Group, Halo


class TilePipeline(GroupPipeline):
    """Lowers one merged group that runs by tiles of the plane into an emitter."""

    def __init__(
        self, graph: NetworkGraph, group: Group, layout: GroupLayout, emitter: Emitter
    ) -> None:
        super().__init__(graph, group, layout, emitter)
        self.tiles = layout.tiled
        # by place and view, along rows and columns: what a layer needs in each tile
        self.needs: list[list[tuple[tuple[Ints, Ints], tuple[Ints, Ints]]]] = []
        for layer, (rows, columns) in zip(self.tiles.layers, self.tiles.needs, strict=True):
            made = self.tiles.maps[layer.output]
            self.needs.append(
                [
                    (needed(one, made.rows), needed(other, made.columns))
                    for one, other in zip(rows, columns, strict=True)
                ]
            )

    def begin_map(self, held: Held, address: int) -> None:
        """Reserve a cell, and load it if it comes from DRAM."""
        tensor, found = self.graph.tensors[held.tensor], self.tiles.maps[held.tensor]
        rows, columns = _span(found.row_cells, held.number), _span(found.column_cells, held.moment)
        box = Box(Span(0, tensor.shape[0]), found.channels, rows, columns)
        label = f"{held.tensor}: cell"
        self.buffers[held] = self.emit.place(label, box.shape, tensor.local_bits, address)
        if found.producer is None:
            self.emit.instructions.append(Load(held.tensor, box, self.buffers[held], ORIGIN))

    def fire(self, index: int, moment: int, firing: int) -> None:
        """Compute what a layer makes in a tile."""
        place = firing % LAYERS
        layer = self.tiles.layers[place]
        line, column = divmod(firing // LAYERS, self.tiles.width)
        made = self.tiles.maps[layer.output]
        box = Box(
            Span(0, layer.output_shape[0]),
            Span(0, layer.output_shape[1]),
            Span(int(made.rows.made_low[line]), int(made.rows.made_high[line])),
            Span(int(made.columns.made_low[column]), int(made.columns.made_high[column])),
        )
        for channels, kernel in self.kernels(index, layer, moment):
            self._step(place, index, (line, column), box._replace(channel=channels), kernel)
        if layer.output in self.group.stored:
            for part in self._made(layer.output, (line, column), box):
                self.emit.instructions.append(
                    Store(layer.output, part.box, part.buffer, part.origin)
                )

    def _step(
        self, place: int, index: int, tile: tuple[int, int], box: Box, kernel: Slice | None
    ) -> None:
        layer = self.tiles.layers[place]
        first, *more = self._made(layer.output, tile, box)
        taken = box.channel if depthwise(layer) else Span(0, layer.input.shape[1])
        source, *operands = [
            self._parts(view, self._needed(place, number, tile), tile, channels)
            for number, (view, channels) in enumerate(
                [(layer.input, taken), *((view, box.channel) for view in layer.operands)]
            )
        ]
        self.emit.instructions.append(
            Compute(
                index,
                first,
                source,
                () if kernel is None else (kernel,),
                self.constants(index, layer.input_vectors, taken),
                self.constants(index, layer.output_vectors, box.channel),
                tuple(operands),
                None,
                first=True,
                last=True,
                more=tuple(more),
            )
        )

    def _needed(self, place: int, number: int, tile: tuple[int, int]) -> tuple[Span, Span]:
        """Rows and columns that a layer needs of a view in a tile."""
        rows, columns = self.needs[place][number]
        line, column = tile
        return (
            Span(int(rows[0][line]), int(rows[1][line])),
            Span(int(columns[0][column]), int(columns[1][column])),
        )

    def _made(self, name: str, tile: tuple[int, int], box: Box) -> list[Slice]:
        """The cells that a tile makes of a map, or the resident map."""
        there = self.emit.resident.get(name)
        if there is not None:
            return [resident_slice(there, box)]
        found = self.tiles.maps[name]
        line, column = tile
        cells = [
            (row, other)
            for row in (found.row_cells.first == line).nonzero()[0].tolist()
            for other in (found.column_cells.first == column).nonzero()[0].tolist()
        ]
        return [self._part(found, cell, box, 0) for cell in cells]

    def _part(self, found: TiledMap, cell: tuple[int, int], box: Box, shift: int) -> Slice:
        """What a cell has of a box of a view; the box's channels are less by `shift`."""
        row, column = cell
        buffer = self.buffers[Held(found.name, -1, row, column)]
        rows, columns = _span(found.row_cells, row), _span(found.column_cells, column)
        both = (_both(rows, box.row), _both(columns, box.column))
        origin = (
            0,
            box.channel.start + shift - found.channels.start,
            both[0].start - rows.start,
            both[1].start - columns.start,
        )
        return Slice(buffer, origin, box._replace(row=both[0], column=both[1]))

    def _parts(
        self, view: View, needs: tuple[Span, Span], tile: tuple[int, int], channels: Span
    ) -> tuple[Slice, ...]:
        """A box of a view: for each segment the resident map, or cell by cell; nothing where the
        tile meets nothing but padding."""
        parts: list[Slice] = []
        box = Box(Span(0, view.shape[0]), channels, *needs)
        if box.elements == 0:
            return ()
        for tensor, shift, piece in segments_of(view, box):
            there = self.emit.resident.get(tensor)
            if there is not None:
                parts.append(resident_slice(there, piece, shift))
                continue
            found = self.tiles.maps[tensor]
            kept = (found.halo is Halo.CACHE, found.halo is not Halo.RECOMPUTE)
            rows = _cells(found.row_cells, needs[0], None if kept[0] else tile[0])
            columns = _cells(found.column_cells, needs[1], None if kept[1] else tile[1])
            parts += [self._part(found, (r, c), piece, shift) for r in rows for c in columns]
        return tuple(parts)


def _span(side: CellSide, number: int) -> Span:
    return Span(int(side.start[number]), int(side.stop[number]))


def _both(one: Span, other: Span) -> Span:
    return Span(max(one.start, other.start), min(one.stop, other.stop))


def _cells(side: CellSide, wanted: Span, tile: int | None) -> list[int]:
    """Cells along an axis that hold some of what is wanted, of all tiles or of one."""
    there = (side.start < wanted.stop) & (side.stop > wanted.start)
    if tile is not None:
        there &= side.first == tile
    return there.nonzero()[0].tolist()
