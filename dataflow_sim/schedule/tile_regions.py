"""Groups by tiles of the plane: what each tile makes of every map, and how long that lives.

Model.  The output of a group's last layer is cut into tiles of so many rows and columns, which
are taken line by line.  For each of them the layers fire one after the other, each as far as
the tile needs it.  What a tile needs of a map follows from its consumers (`rows`), from the last
layer back to the first; what is made anew of that depends on the map's *halo*, the rows and
columns that neighbouring tiles have in common:

    tile on the left       CACHE      what the tiles on the left and above have made stays: only
    ┌────────┬──┐                     the rest is made, every element once
    │        │▒▒├─────┐    CACHE_X    columns from the left stay, rows from above are made again
    │        │▒▒│     │    RECOMPUTE  everything that a tile needs is made in it
    └────────┴▒▒┴─────┘
              halo         made again: computed again, or read from DRAM again

Rows and columns are independent.  What tile (y, x) needs of a map is an interval of rows that
follows from y times one of columns that follows from x, and so is what it makes.

A map lives in *cells*: what one tile makes, cut where parts of it are last needed by different
tiles.  With a halo kept in both directions these are four,

    inner part   needed in its own tile                right strip  needed by the tile on the right
    lower strip  needed by the tile below              corner       needed by both

each alive from the firing that makes it (of a map from outside: that reads it first) to the last
one of the last tile that needs it.  Between tiles only halos live: the lower strips of a whole line
of tiles, the right strip of one.  Of tiles one column wide, what is kept lies column by column.

Every element of an inner map is made at least once, whether someone needs it or not, and of a map
from outside no more is read than what is needed.

A group runs by tiles where only its last layer's output is needed outside, and each of its
layers runs by rows, no sweep and no volume among them, whose windows leave no gaps (`obstacle`).

Assumed: all channels and all images of a tile in one firing.  Ignored: that a strip is needed by
one consumer longer than by another; running reductions.

Source: overlapping tiles as in Alwani et al. (MICRO 2016), the three ways to keep what overlaps
as in Mei et al., "DeFiNES" (HPCA 2023); cells are this project's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Span
from dataflow_sim.schedule.footprints import layer_axes
from dataflow_sim.schedule.rows import Ints, RowNeeds, layer_columns
from dataflow_sim.schedule.timetable import LAYERS, RowTables
from dataflow_sim.schedule.types import Halo, PlaneTile

Bools = npt.NDArray[np.bool_]
_FAR = np.iinfo(np.int64).max


class Side(NamedTuple):
    """One axis of a map by tile along it: what is needed and what is made, [low, high) each."""

    need_low: Ints
    need_high: Ints
    made_low: Ints
    made_high: Ints

    @property
    def makes(self) -> Bools:
        """Whether tiles make anything."""
        return np.asarray(self.made_low < self.made_high, bool)

    @property
    def made(self) -> int:
        """Elements made by all tiles."""
        return int((self.made_high - self.made_low).sum())

    def touched(self) -> tuple[int, ...]:
        """Elements that are made at all."""
        spans = zip(self.made_low.tolist(), self.made_high.tolist(), strict=True)
        return tuple(sorted({place for low, high in spans for place in range(low, high)}))


class CellSide(NamedTuple):
    """One axis of a map's cells: [start, stop), the tile that makes it, the last that needs it."""

    start: Ints
    stop: Ints
    first: Ints
    last: Ints


@dataclass(frozen=True, slots=True)
class TiledMap:
    """One map of a group: its producer's place, None from outside; the places of its readers."""

    name: str
    producer: int | None
    readers: tuple[int, ...]
    channels: Span
    halo: Halo
    rows: Side
    columns: Side
    row_cells: CellSide
    column_cells: CellSide


@dataclass(frozen=True, slots=True)
class CellLives:
    """The cells of a map, arrays (row cells, column cells): bytes, first and last firing."""

    size_bytes: Ints
    birth: Ints
    death: Ints


def layer_obstacle(tables: RowTables, index: int) -> str | None:
    """Why a layer does not run by tiles of the plane in any group; None where it does."""
    layer = tables.graph.layers[index]
    if not tables.mergeable[index] or layer.kind is LayerKind.STREAMED:
        return f"'{layer.name}' does not run by rows"
    if layer.window.plane is not None:
        return f"'{layer.name}' is of a volume"
    rows = tables.rows[index]
    assert rows is not None
    for needs in (*rows.views, *layer_columns(layer)):
        if (needs.first[needs.low[0] : needs.high[-1]] < 0).any():
            return f"the windows of '{layer.name}' leave gaps"
    return None


def tile_obstacle(graph: NetworkGraph, tables: RowTables, members: Sequence[int]) -> str | None:
    """Why some layers do not run by tiles of the plane; None where they do."""
    inside = set(members)
    last = members[-1]
    readers: dict[str, set[int]] = {}
    for index, layer in enumerate(graph.layers):
        for segment in (s for view in layer.views for s in view.segments):
            readers.setdefault(segment.tensor, set()).add(index)
    for index in members:
        layer = graph.layers[index]
        why = layer_obstacle(tables, index)
        if why is not None:
            return why
        outside = readers.get(layer.output, set()) - inside
        leaves = outside or graph.tensors[layer.output].kind is TensorKind.OUTPUT
        if index != last and (leaves or layer.output not in readers):
            return f"the output of '{layer.name}' is needed outside"
    return None


class TileFrame:
    """Layers that may run by tiles of the plane: their maps, and what tiles of any size make."""

    def __init__(self, tables: RowTables, members: tuple[int, ...]) -> None:
        self.graph, self.memory = tables.graph, tables.memory
        self.members = members
        self.layers = [self.graph.layers[index] for index in members]
        self.needs: list[tuple[tuple[RowNeeds, ...], tuple[RowNeeds, ...]]] = []
        for index, layer in zip(members, self.layers, strict=True):
            rows = tables.rows[index]
            assert rows is not None
            self.needs.append((rows.views, layer_columns(layer)))
        self.reading: dict[str, list[tuple[int, int]]] = {}  # places of readers and views
        self.channels: dict[str, Span] = {}
        for place, layer in enumerate(self.layers):
            for number, view in enumerate(layer.views):
                for segment in view.segments:
                    self.reading.setdefault(segment.tensor, []).append((place, number))
                    span = Span(segment.channel_start, segment.channel_stop)
                    known = self.channels.get(segment.tensor, span)
                    self.channels[segment.tensor] = Span(
                        min(span.start, known.start), max(span.stop, known.stop)
                    )
        self.producer = {layer.output: place for place, layer in enumerate(self.layers)}
        self.outside = [name for name in self.reading if name not in self.producer]
        self.inner = [layer.output for layer in self.layers[:-1]]
        self.output = self.layers[-1].output
        self._axes: dict[tuple[int, int, frozenset[str]], dict[str, tuple[Side, CellSide]]] = {}

    def along(self, axis: int, tile: int, kept: frozenset[str]) -> dict[str, tuple[Side, CellSide]]:
        """What tiles make of each map along an axis, the halos of some maps kept, and its cells."""
        key = (axis, tile, kept)
        if key not in self._axes:
            found: dict[str, tuple[Side, CellSide]] = {}
            grid = _grid(self.layers[-1].output_shape[2 + axis], tile)
            found[self.output] = grid, _cells(grid, kept=False)
            for name in (*reversed(self.inner), *self.outside):
                low, high = self._needed(axis, name, found, len(grid.made_low))
                size = self.graph.tensors[name].shape[2 + axis]
                side = _side(low, high, size, name in kept, name in self.producer)
                found[name] = side, _cells(side, name in kept, axis == 1 and tile == 1)
            self._axes[key] = found
        return self._axes[key]

    def _needed(
        self, axis: int, name: str, found: Mapping[str, tuple[Side, CellSide]], tiles: int
    ) -> tuple[Ints, Ints]:
        """What tiles need of a map along an axis, over all readers; low is _FAR for nothing."""
        low, high = np.full(tiles, _FAR), np.zeros(tiles, np.int64)
        for place, number in self.reading[name]:
            made = found[self.layers[place].output][0]
            begin, end = needed(self.needs[place][axis][number], made)
            some = begin < end
            low = np.where(some, np.minimum(low, begin), low)
            high = np.where(some, np.maximum(high, end), high)
        return low, high


class TiledGroup:
    """A group by tiles of the plane of its last layer's output.

    `halos` are those of inner maps and of maps from outside, `CACHE` where none is given.
    """

    def __init__(self, frame: TileFrame, tile: PlaneTile, halos: Mapping[str, Halo]) -> None:
        self.frame = frame
        self.graph, self.members, self.layers = frame.graph, frame.members, frame.layers
        self.needs = frame.needs
        self.tile = tile
        halos = {name: halos.get(name, Halo.CACHE) for name in (*frame.outside, *frame.inner)}
        above = frozenset(name for name, halo in halos.items() if halo is Halo.CACHE)
        beside = frozenset(name for name, halo in halos.items() if halo is not Halo.RECOMPUTE)
        rows, columns = frame.along(0, tile.rows, above), frame.along(1, tile.columns, beside)
        self.maps: dict[str, TiledMap] = {}
        for name in (*frame.outside, *frame.inner, frame.output):
            self.maps[name] = TiledMap(
                name,
                frame.producer.get(name),
                tuple(sorted({place for place, _ in frame.reading.get(name, ())})),
                self._channels(name),
                halos.get(name, Halo.CACHE),
                *(rows[name][0], columns[name][0]),
                *(rows[name][1], columns[name][1]),
            )
        self.lines = len(rows[frame.output][0].made_low)
        self.width = len(columns[frame.output][0].made_low)
        self._set_out()

    def _channels(self, name: str) -> Span:
        """All channels of an inner map, those of a map from outside that are read."""
        everything = Span(0, self.graph.tensors[name].shape[1])
        return everything if name in self.frame.producer else self.frame.channels[name]

    def _set_out(self) -> None:
        """When each layer fires, numbered tile * LAYERS + place."""
        fires = [self.makes(place) for place in range(len(self.members))]
        tiles = np.arange(self.lines * self.width).reshape(self.lines, self.width)
        self.firings = [tiles[each].ravel() * LAYERS + place for place, each in enumerate(fires)]
        self.moments = np.sort(np.concatenate(self.firings))

    def sample(self) -> TiledGroup:
        """One line of tiles of each kind; the whole group where lines have cells in common."""
        kinds = self.kinds
        return (
            self if kinds is None else self.only([kinds.index(kind) for kind in sorted(set(kinds))])
        )

    @property
    def kinds(self) -> list[int] | None:
        """Equal numbers for lines of tiles that are alike; None where lines share cells."""
        last = self.layers[-1].output
        if any(f.halo is Halo.CACHE for f in self.maps.values() if f.name != last):
            return None
        sides = [found.rows for found in self.maps.values()]
        extents = [
            *(side.made_high - side.made_low for side in sides),
            *(side.need_high - side.need_low for side in sides),
        ]
        _, kinds = np.unique(np.stack(extents), axis=1, return_inverse=True)
        numbers: dict[int, int] = {}
        return [numbers.setdefault(kind, len(numbers)) for kind in kinds.ravel().tolist()]

    def only(self, lines: Sequence[int]) -> TiledGroup:
        """Some lines of tiles, of a group whose lines have no cells in common."""
        other = copy(self)
        other.lines = len(lines)
        other.maps = {}
        for name, found in self.maps.items():
            rows = Side(*(column[list(lines)] for column in found.rows))
            other.maps[name] = replace(found, rows=rows, row_cells=_cells(rows, kept=False))
        other._set_out()
        return other

    def makes(self, place: int) -> Bools:
        """Whether a layer makes anything, by line and column of tiles."""
        found = self.maps[self.layers[place].output]
        return np.asarray(found.rows.makes[:, None] & found.columns.makes, bool)

    def lives(self, found: TiledMap, ahead: bool, behind: bool) -> CellLives:
        """When the cells of a map live, `ahead` of their first tile by one or `behind` the last,
        within a line of tiles."""
        tensor = self.graph.tensors[found.name]
        rows, columns = found.row_cells, found.column_cells
        area = (rows.stop - rows.start)[:, None] * (columns.stop - columns.start)
        elements = tensor.shape[0] * found.channels.length * area
        begin = np.maximum(columns.first - ahead, 0)
        first = rows.first[:, None] * self.width + begin
        final = np.minimum(columns.last + behind, self.width - 1)
        last = rows.last[:, None] * self.width + final
        place = found.readers[0] if found.producer is None else found.producer
        end = found.readers[-1] if found.readers else place
        birth = np.searchsorted(self.moments, first * LAYERS + place)
        death = np.searchsorted(self.moments, last * LAYERS + end, "right") - 1
        size = self.frame.memory.bytes_taken(elements * tensor.local_bits)
        return CellLives(size, birth, np.maximum(death, birth))


def needed(needs: RowNeeds, made: Side) -> tuple[Ints, Ints]:
    """What a layer needs of a view along an axis to make its part of each tile, [low, high)."""
    some = made.makes
    low = needs.low[np.where(some, made.made_low, 0)]
    high = needs.high[np.where(some, made.made_high - 1, 0)]
    return np.where(some, low, 0), np.where(some, high, 0)


def _grid(size: int, tile: int) -> Side:
    low = np.arange(0, size, tile, dtype=np.int64)
    high = np.minimum(low + tile, size)
    return Side(low, high, low, high)


def _side(low: Ints, high: Ints, size: int, kept: bool, inner: bool) -> Side:
    """What is made of a map along an axis where [low, high) are needed, and the rest `kept`."""
    top = np.maximum.accumulate(high)
    before = np.concatenate([[0], top[:-1]])
    some = low < high
    if inner:  # all of it, without gaps
        top[-1] = size
        begin = before if kept else np.where(some, np.minimum(low, before), before)
        end = top
        if not kept:
            end = np.where(some, high, before)
            end[-1] = size
    else:
        begin = np.maximum(low, before) if kept else low
        end = np.maximum(high, np.minimum(begin, high))
    empty = begin >= end
    begin, end = np.where(empty, 0, begin), np.where(empty, 0, end)
    return Side(np.where(some, low, 0), np.where(some, high, 0), begin, end)


def _cells(side: Side, kept: bool, apart: bool = False) -> CellSide:
    """Cells along an axis: one for each tile, or cut where what is kept is last needed, or where
    they are to lie `apart` everywhere."""
    made = np.flatnonzero(side.makes)
    low, high = side.made_low[made], side.made_high[made]
    if not kept:
        return CellSide(low, high, made, made)
    needing = np.flatnonzero(side.need_low < side.need_high)
    needs = side.need_low[needing]
    edges = np.unique(np.concatenate([low, high, needs]))
    if apart and len(edges):
        edges = np.arange(edges[0], edges[-1] + 1)
    start, stop = edges[:-1], edges[1:]
    place = np.searchsorted(low, start, "right") - 1
    there = (place >= 0) & (start < high[np.maximum(place, 0)])
    start, stop, place = start[there], stop[there], place[there]
    first = made[place]
    if not len(needing):
        return CellSide(start, stop, first, first)
    last = np.searchsorted(needs, start, "right") - 1
    wanted = (last >= 0) & (side.need_high[needing[np.maximum(last, 0)]] > start)
    last = np.where(wanted, needing[np.maximum(last, 0)], first)
    return CellSide(start, stop, first, np.maximum(last, first))


def macs_of(layer: Layer, made: TiledMap) -> int:
    """MACs of a layer in all tiles, of the body that they pool as well."""
    if layer.weight is None:
        return 0
    totals = []
    for axis, side in zip(layer_axes(layer), (made.rows, made.columns), strict=True):
        spans = zip(side.made_low.tolist(), side.made_high.tolist(), strict=True)
        totals.append(sum(axis.multiplications(axis.body_span(a, b)) for a, b in spans if a < b))
    n, c = layer.output_shape[:2]
    return n * c * totals[0] * totals[1] * layer.input_channels_per_group
