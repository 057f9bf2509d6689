"""Where everything of a merged group lies: its buffers, their lives, their addresses.

The buffers are kernels and constants that stay, tiles of kernels that stream, single
rows of maps, and running results; `allocation` gives them addresses from zero upwards, in
rings or, where memory is short, in gaps, and `packing` searches where it is shorter still; not for
groups with sweeps, whose whole maps hide the pattern that it looks for, and fill gaps well.
Cells lie in gaps, or where lines have none in common are searched for line by line.  The closed
form of `merging` is the largest live set of the same buffers; the height is what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dataflow_sim.schedule.allocation import Life, pack, rings
from dataflow_sim.schedule.map_rows import MapRows
from dataflow_sim.schedule.packing import pack_closely
from dataflow_sim.schedule.tile_regions import TiledGroup, TiledMap, TileFrame
from dataflow_sim.schedule.timetable import LAYERS, RowTables, Timetable
from dataflow_sim.schedule.types import (
    Buffering,
    Group,
    Halo,
    LayerTiling,
    Packing,
    PlaneTile,
    RowTiling,
)

# in the place of a slot: the channels of a streamed kernel that stay
PINNED = -1
# which are many, and whose groups are many
_PLACEMENTS_OF_CELLS = 1_000


class Held(NamedTuple):
    """What a buffer holds: a weight tensor, a streamed kernel's slot, a row or a cell of a map.

    `number` is the slot of a streamed kernel (with the firing in `moment`) or `PINNED`, the row,
    or the cell's place along the rows (with that along the columns in `moment`).  The
    running result of a layer goes by the layer's output.
    """

    tensor: str
    layer: int
    number: int
    moment: int


@dataclass(frozen=True, slots=True)
class GroupRun:
    """A merged group as the layout needs it; `tiles` holds the channels of a step of each
    layer whose kernel streams, by the layer's index, `pinned` the channels that stay, where
    there are any; `running` as in the timetable.  With a
    `tile` it runs by tiles of the plane with these `halos`."""

    members: tuple[int, ...]
    stripe_rows: int | None
    tiles: tuple[tuple[int, int], ...]
    resident: frozenset[str]
    stored: frozenset[str]
    doubled: Buffering
    packing: Packing = Packing.GAPS
    running: bool = False
    tile: PlaneTile | None = None
    halos: tuple[tuple[str, Halo], ...] = ()
    pinned: tuple[tuple[int, int], ...] = ()

    @property
    def packings(self) -> tuple[Packing, ...]:
        """The ways to lay it out, with the least effort first."""
        if self.tile is None:
            return (Packing.RINGS, Packing.GAPS, Packing.SEARCHED)
        if any(halo is Halo.CACHE for _, halo in self.halos):
            return (Packing.GAPS,)
        return (Packing.GAPS, Packing.SEARCHED)


@dataclass(frozen=True, slots=True, eq=False)
class GroupBuffers:
    """Buffers of a group: what each holds, and its size and life in places of the sorted
    `firings`; sizes are multiples of `alignment_bytes`, and so are addresses."""

    walk: Timetable | TiledGroup
    firings: tuple[int, ...]
    held: tuple[Held, ...]
    lives: tuple[Life, ...]
    alignment_bytes: int

    @property
    def repeats(self) -> bool:
        """Whether rows come and go in a pattern: not with sweeps, whose maps wait whole, nor
        where there are cells."""
        rows = isinstance(self.walk, Timetable)
        return rows and all(layer.sweep is None for layer in self.walk.layers)


@dataclass(frozen=True, slots=True, eq=False)
class GroupLayout:
    """Buffers of a group with addresses relative to the group's base, and the height."""

    buffers: GroupBuffers
    addresses: tuple[int, ...]
    height: int

    @property
    def timetable(self) -> Timetable:
        """When the layers of a group fire that runs by rows."""
        assert isinstance(self.buffers.walk, Timetable)
        return self.buffers.walk

    @property
    def tiled(self) -> TiledGroup:
        """What the tiles of a group make that runs by tiles of the plane."""
        assert isinstance(self.buffers.walk, TiledGroup)
        return self.buffers.walk

    @property
    def firings(self) -> tuple[int, ...]:
        """All firings, ascending."""
        return self.buffers.firings

    @property
    def held(self) -> tuple[Held, ...]:
        """What each buffer holds."""
        return self.buffers.held

    @property
    def lives(self) -> tuple[Life, ...]:
        """The size and life of each buffer."""
        return self.buffers.lives


def run_of(group: Group, doubled: Buffering) -> GroupRun:
    """A merged group of a schedule as the layout needs it."""
    tiles = {
        index: layer.tiling.output_channel_tile
        for index, layer in zip(group.members, group.layers, strict=True)
        if not isinstance(layer.tiling, LayerTiling) and layer.tiling.streamed
    }
    return GroupRun(
        group.members,
        group.stripe_rows,
        tuple(sorted(tiles.items())),
        group.resident,
        group.stored,
        doubled,
        group.packing,
        any(isinstance(each.tiling, RowTiling) and each.tiling.running for each in group.layers),
        group.tile,
        group.halos,
        tuple(
            (index, layer.tiling.pinned_channels)
            for index, layer in zip(group.members, group.layers, strict=True)
            if isinstance(layer.tiling, RowTiling) and layer.tiling.pinned_channels
        ),
    )


def walk_of(tables: RowTables, run: GroupRun) -> Timetable | TiledGroup:
    """When the layers of a group fire: its timetable, or its tiles."""
    if run.tile is not None:
        return TiledGroup(TileFrame(tables, run.members), run.tile, dict(run.halos))
    table = Timetable(tables, run.stripe_rows, run.running)
    for index in run.members:
        table.extend(index)
    return table


def group_layout(tables: RowTables, run: GroupRun) -> GroupLayout:
    """A group's buffers, with addresses."""
    return laid_out(group_buffers(tables, run), run.packing)


def laid_out(
    buffers: GroupBuffers, packing: Packing, packed: GroupLayout | None = None
) -> GroupLayout:
    """Addresses for a group's buffers; `packed` is the layout in gaps, if it is known."""
    lives, held = buffers.lives, buffers.held
    if isinstance(buffers.walk, TiledGroup):
        addresses, height = _line_by_line(buffers, buffers.walk, packing is Packing.SEARCHED)
        return GroupLayout(buffers, tuple(addresses), height)
    owners = [(h.tensor, h.layer, h.number if h.layer >= 0 else 0) for h in held]
    if packing is Packing.RINGS:
        addresses, height = rings(lives, owners)
    elif packing is Packing.GAPS or not buffers.repeats:
        addresses, height = pack(lives)
    else:
        known = pack(lives) if packed is None else (list(packed.addresses), packed.height)
        addresses, height = pack_closely(lives, owners, known, unit_bytes=buffers.alignment_bytes)
    return GroupLayout(buffers, tuple(addresses), height)


def _line_by_line(buffers: GroupBuffers, group: TiledGroup, closely: bool) -> tuple[list[int], int]:
    """Addresses of cells in gaps above what stays; lines of tiles that are alike have the same."""
    kinds, lives = group.kinds, buffers.lives
    if kinds is None:
        return pack(lives)
    addresses = [0] * len(lives)
    base, end = 0, len(buffers.firings) - 1
    lines: list[list[int]] = [[] for _ in kinds]
    for number, (held, life) in enumerate(zip(buffers.held, lives, strict=True)):
        if held.layer >= 0 and (life.first, life.last) == (0, end) and held.moment == 0:
            addresses[number] = base
            base += life.size_bytes
        else:
            lines[buffers.firings[life.first] // LAYERS // group.width].append(number)
    some = dict(zip(reversed(kinds), reversed(lines), strict=True))  # the first line of each kind
    packed = {kind: pack([lives[number] for number in mine]) for kind, mine in some.items()}
    lowest = 0
    for kind in sorted(some, key=lambda kind: (-packed[kind][1], kind)) if closely else ():
        if packed[kind][1] > lowest:  # else another is above it anyhow
            cells = [lives[number] for number in some[kind]]
            owners = [buffers.held[number].tensor for number in some[kind]]
            work = (_PLACEMENTS_OF_CELLS, buffers.alignment_bytes)
            packed[kind] = pack_closely(cells, owners, packed[kind], *work)
            lowest = max(lowest, packed[kind][1])
    height = max(top for _, top in packed.values())
    for kind, mine in zip(kinds, lines, strict=True):
        for number, address in zip(mine, packed[kind][0], strict=True):
            addresses[number] = base + address
    return addresses, base + height


def group_height(tables: RowTables, run: GroupRun) -> int:
    """The height of the layout of a group by tiles, from one line of each kind."""
    walk = walk_of(tables, run)
    assert isinstance(walk, TiledGroup)
    return laid_out(_buffers(tables, run, walk.sample()), run.packing).height


def group_buffers(tables: RowTables, run: GroupRun) -> GroupBuffers:
    """A group's buffers, however they are packed."""
    return _buffers(tables, run, walk_of(tables, run))


def _buffers(tables: RowTables, run: GroupRun, table: Timetable | TiledGroup) -> GroupBuffers:
    graph, memory = tables.graph, tables.memory
    firings = np.sort(np.concatenate(table.firings))
    held: list[Held] = []
    lives: list[Life] = []
    streamed, pinned = dict(run.tiles), dict(run.pinned)
    end, unit = len(firings) - 1, memory.alignment_bytes
    for place, (index, layer) in enumerate(zip(run.members, table.layers, strict=True)):
        for name in layer.weights:
            if name in run.resident or (name == layer.weight and index in streamed):
                continue
            tensor = graph.tensors[name]
            held.append(Held(name, index, 0, 0))
            lives.append(Life(memory.bytes_taken(tensor.elements * tensor.local_bits), 0, end))
        if layer.weight is not None and index in streamed:
            kernel = graph.tensors[layer.weight]
            channels, stay = streamed[index], pinned.get(index, 0)
            channel_bits = kernel.elements // kernel.shape[0] * kernel.local_bits
            size = memory.bytes_taken(channels * channel_bits)
            if stay:
                held.append(Held(layer.weight, index, PINNED, 0))
                lives.append(Life(memory.bytes_taken(stay * channel_bits), 0, end))
            slots = 2 if run.doubled.weights and channels < kernel.shape[0] - stay else 1
            for moment in np.searchsorted(firings, table.firings[place]).tolist():
                for slot in range(slots):
                    held.append(Held(layer.weight, index, slot, moment))
                    lives.append(Life(size, moment, moment))
    if isinstance(table, TiledGroup):
        for cells in table.maps.values():
            if cells.name not in run.resident:
                cell_lives(cells, table, run, held, lives)
        return GroupBuffers(table, tuple(firings.tolist()), tuple(held), tuple(lives), unit)
    for found in table.maps.values():
        if found.name not in run.resident:
            row_lives(found, run, firings, held, lives)
    for result in table.carried_locally():
        assert result.producer is not None
        ends = (int(np.searchsorted(firings, end[0])) for end in (result.birth, result.death))
        held.append(Held(result.name, run.members[result.producer], 0, 0))
        lives.append(Life(result.row_bytes, *ends))
    return GroupBuffers(table, tuple(firings.tolist()), tuple(held), tuple(lives), unit)


def row_lives(
    found: MapRows, run: GroupRun, firings: np.ndarray, held: list[Held], lives: list[Life]
) -> None:
    """Buffers of the rows of one map that is not resident."""
    comes, goes = found.producer is None, found.name in run.stored
    birth, death = found.lives(run.doubled.inputs if comes else run.doubled.outputs and goes)
    first, last = np.searchsorted(firings, birth), np.searchsorted(firings, death)
    for row, one, other in zip(found.needed.tolist(), first.tolist(), last.tolist(), strict=True):
        held.append(Held(found.name, -1, row, 0))
        lives.append(Life(found.row_bytes, one, other))


def cell_lives(
    found: TiledMap, group: TiledGroup, run: GroupRun, held: list[Held], lives: list[Life]
) -> None:
    """Buffers of the cells of one map that is not resident."""
    ahead = found.producer is None and run.doubled.inputs
    cells = group.lives(found, ahead, found.name in run.stored and run.doubled.outputs)
    columns = cells.size_bytes.shape[1]
    numbers = zip(
        cells.size_bytes.ravel().tolist(),
        cells.birth.ravel().tolist(),
        cells.death.ravel().tolist(),
        strict=True,
    )
    for number, life in enumerate(numbers):
        held.append(Held(found.name, -1, *divmod(number, columns)))
        lives.append(Life(*life))
