"""What a merged group costs: local bytes and DRAM bits, for every way to keep its maps and weights.

Model.  The rows that live are those of the `timetable`.  A group's local memory is

    largest over all firings of   rows that live, of maps that come from or go to DRAM
                                  or stay inside the group
                                + running results, where they lie in local memory
                                + the kernel tile of the layer that fires, if it streams
    + kernels that stay           + per-channel constants, which always do

A row of a map that comes from DRAM, one of a map that goes there and a kernel tile have a
second buffer each where the hardware buffers inputs, outputs and weights doubly.

Maps that are resident (whole in local memory, before or behind the group) are counted by
whoever keeps them, not here.

Which kernels stay and which stream is a matter of its own (`group_kernels`).

The DRAM bits are those of the kernels and constants, of each needed row of a map from
DRAM once, and of each stored map once.

Source: the closed form is this project's; `tests/oracle` holds a simulation, row by row,
that knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import LayerKind, TensorKind, Window
from dataflow_sim.schedule.group_kernels import KernelSizes, Streams, weight_costs
from dataflow_sim.schedule.map_rows import MapRows, live_sums
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.timetable import LAYERS, Height, RowTables, Timetable
from dataflow_sim.schedule.types import Buffering, Halo, PlaneTile

Bools = npt.NDArray[np.bool_]
Lives = npt.NDArray[np.float64] | Ints


class Way(NamedTuple):
    """How a group runs: input rows in a stripe (None: the finest timetable), the layers whose
    kernels are fetched again in every firing, but for the channels that are pinned, whether
    layers carry their reductions, whether a resident output takes the place of a resident input;
    which resident map from outside gives its rows to which outgoing one, by their places, and at
    what distance in bytes; or a tile of the plane with the halos of maps from outside and of inner
    maps, in order."""

    stripe_rows: int | None
    streamed: Streams
    running: bool
    in_place: bool = False
    hands: tuple[int, int, int] | None = None
    tile: PlaneTile | None = None
    halos: tuple[Halo, ...] = ()


FINEST = Way(None, (), False)


@dataclass(frozen=True, slots=True, eq=False)
class GroupTable:
    """Costs of a group: axes are (maps from outside, maps to outside, sets of streamed kernels),
    of several heights (maps from outside, maps to outside, heights, sets).  `weight_bits` are
    the DRAM bits of weights, by the last of these axes."""

    local_bytes: Ints
    dram_bits: Ints
    weight_bits: Ints


class MergedGroup:
    """A group that grows layer by layer, with its costs.

    `readers` are the layers that read each map, as bit sets.
    """

    def __init__(
        self,
        tables: RowTables,
        kernels: list[KernelSizes],
        readers: dict[str, int],
        height: Height,
        doubled: Buffering,
        running: bool = False,
    ) -> None:
        self.timetable = Timetable(tables, height, running)
        self.graph = tables.graph
        self._kernels = kernels
        self._readers = readers
        self._inside = 0
        self._doubled = doubled
        self._outgoing: list[MapRows] | None = None

    @property
    def height(self) -> Height:
        """Rows of the first layer's input in a stripe (`Timetable`)."""
        return self.timetable.height

    @property
    def stripe_rows(self) -> int | None:
        """The height, of a group of one."""
        height = self.timetable.height
        assert not isinstance(height, tuple)
        return height

    @property
    def members(self) -> tuple[int, ...]:
        """The layers of the group as they fire in a stripe."""
        return self.timetable.members

    def grown(self, index: int, keep: bool) -> MergedGroup:
        """The group with one more layer that can run by rows, made of this one unless kept.

        Within a stripe the layers fire in the network's order.
        """
        members = self.members
        if members and index < members[-1]:
            other = copy(self)
            table = self.timetable
            other.timetable = Timetable(table.tables, self.height, table.running)
            for member in sorted((*members, index)):
                other.timetable.extend(member)
        else:
            other = self
            if keep:
                other = copy(self)
                other.timetable = self.timetable.copy()
            other.timetable.extend(index)
        other._inside |= 1 << index
        other._outgoing = None
        return other

    @property
    def outgoing(self) -> list[MapRows]:
        """Maps that the group makes and that someone outside needs, or nobody at all."""
        if self._outgoing is None:
            self._outgoing = []
            for made in self.timetable.produced():
                readers = self._readers.get(made.name, 0)
                goes = self.graph.tensors[made.name].kind is TensorKind.OUTPUT
                if goes or not readers or readers & ~self._inside:
                    self._outgoing.append(made)
        return self._outgoing

    @property
    def inner(self) -> list[MapRows]:
        """Maps that the group makes and nobody outside needs."""
        names = {found.name for found in self.outgoing}
        return [found for found in self.timetable.produced() if found.name not in names]

    def overwrites(self, made: MapRows, taken: MapRows) -> Bools:
        """Whether rows of a map that the group makes may overwrite those of one from outside, at
        each height.

        Both are resident, of one size, and nobody reads the latter behind the group.  Each of its
        rows is read for the last time before the row that overwrites it is made, or in the
        very step that makes it: as an operand of that size, or as the input of an
        elementwise layer.
        """
        if self._reads_as_it_makes(made, taken):
            return np.asarray((taken.death <= made.birth).all(axis=-1))
        return np.asarray((taken.death < made.birth).all(axis=-1))

    def _reads_as_it_makes(self, made: MapRows, taken: MapRows) -> bool:
        """Whether a step that makes a row of one map is done with the like row of the other."""
        assert made.producer is not None
        layer = self.timetable.layers[made.producer]
        if layer.kind is LayerKind.STREAMED or layer.pool is not None:
            return False
        if made.producer in self.timetable.carried:
            return False
        views = [v for v in layer.views if any(s.tensor == taken.name for s in v.segments)]
        if len(views) != 1 or len(views[0].segments) != 1 or views[0].shape != layer.output_shape:
            return False
        return views[0] is not layer.input or (
            layer.kind is LayerKind.CHANNELWISE and layer.window == Window()
        )

    def fetched_bits(self, found: MapRows) -> int:
        """DRAM bits of a map from outside that is not resident: each needed row once."""
        tensor = self.graph.tensors[found.name]
        elements = len(found.needed) * found.channels.length * found.columns.length
        return elements * tensor.shape[0] * tensor.bits

    def weight_costs(self, sets: Sequence[Streams]) -> tuple[Ints, Ints, Ints]:
        """`weight_costs` of the group; of several heights the DRAM bits are those at each."""
        return weight_costs(self._kernels, self.members, self.timetable.fired(), sets)

    def at(self, chosen: Bools) -> MergedGroup:
        """Of several heights some."""
        other = copy(self)
        other.timetable = self.timetable.at(chosen)
        other._outgoing = None
        return other

    def table(self, outside: Bools, going: Bools, sets: Sequence[Streams]) -> GroupTable:
        """Costs where the rows of `outside` say which maps from outside are resident, in the
        order of `timetable.outside()`, those of `going` (choices, maps, 2) which of the
        `outgoing` maps are resident and which are stored, and `sets` the layers whose kernels
        are fetched again in every firing.
        """
        table = self.timetable
        sources, targets = table.outside(), self.outgoing
        inner = [*self.inner, *table.carried_locally()]
        firings = np.sort(np.concatenate(table.firings))
        # one line for all inner maps, and one for each that comes or goes
        lines = [(0, found, False) for found in inner]
        lines += [(1 + n, found, self._doubled.inputs) for n, found in enumerate(sources)]
        behind = 1 + len(sources)
        lines += [(behind + n, found, self._doubled.outputs) for n, found in enumerate(targets)]
        sums = live_sums(lines, behind + len(targets), firings)
        inside, rows_in, rows_out = sums[0], sums[1:behind], sums[behind:]
        # products of small integers: exact in float64
        live = inside + (~outside).astype(float) @ rows_in
        live_out = (~going[:, :, 0]).astype(float) @ rows_out
        both = live[:, None, :] + live_out[None, :, :]
        kept, fetched, tiles = self.weight_costs(sets)
        if not any(sets) and not isinstance(table.height, tuple):
            local = kept + both.max(axis=2)[:, :, None].astype(np.int64)
        else:
            count = len(self.members)
            places = table.height_of(firings) * count + firings % LAYERS
            local = kept + most_with_tiles(both, places, count, tiles)
            local = local if isinstance(table.height, tuple) else local[:, :, 0]
        in_bits = (~outside) @ np.array([self.fetched_bits(f) for f in sources], np.int64)
        sizes = [self.graph.tensors[f.name] for f in targets]
        out_bits = going[:, :, 1] @ np.array([t.elements * t.bits for t in sizes], np.int64)
        maps = in_bits[:, None] + out_bits
        return GroupTable(local, maps[..., *[None] * fetched.ndim] + fetched, fetched)


def most_with_tiles(live: Lives, places: Ints, members: int, tiles: Ints) -> Ints:
    """The most that lives at a firing with the kernel tile of the layer that fires.

    `live` are bytes by choices and firing (maps from outside, maps to outside, firings),
    `places` the members that fire, counted on through one height after the other where there are
    several; `tiles` (sets, members).  Axes are (maps from outside, maps to outside, heights, sets).
    """
    order = np.argsort(places, kind="stable")
    heights = int(places.max()) // members + 1
    offsets = np.searchsorted(places[order], np.arange(heights * members))
    peaks = np.maximum.reduceat(live[:, :, order], offsets, axis=2).astype(np.int64)
    peaks = peaks.reshape(*peaks.shape[:2], heights, 1, members)
    return np.asarray((peaks + tiles).max(axis=4), np.int64)


def most_firings(finest: MergedGroup, counts: Ints, heights: Ints) -> Ints:
    """How often each layer fires at most, for each number of stripes with its height.

    With n stripes no more than n times.  What waits for all rows of a map, in a group with sweeps,
    fires less often, and is counted: stripes of `height` rows are runs of those of the finest
    timetable, and what comes behind the last is done in it.
    """
    table = finest.timetable
    if not any(layer.sweep is not None for layer in table.layers):
        made = np.array([len(rows) for rows in table.row_firing])
        return np.asarray(np.minimum(counts[:, None], made), np.int64)
    found = np.zeros((len(counts), len(table.row_firing)), np.int64)
    for place, firing in enumerate(table.row_firing):
        stripes = np.minimum(firing // LAYERS // heights[:, None], counts[:, None] - 1)
        found[:, place] = 1 + np.count_nonzero(np.diff(stripes, axis=1), axis=1)
    return found


def rows_at_once(group: MergedGroup, counts: Ints) -> Ints:
    """Bytes of inner rows that live at once at the least, for each number of stripes.

    Some firing of a layer makes at least an n-th of its rows; they and the rows between the
    first and the last window that they are made from live in it.
    """
    inner = {found.name: found for found in group.inner}
    least = np.zeros(len(counts), np.int64)
    for layer, rows in zip(group.timetable.layers, group.timetable.rows, strict=True):
        made = -(-rows.rows // counts)
        held = np.zeros(len(counts), np.int64)
        if layer.output in inner and layer.output_shape[2] == rows.rows:
            held += made * inner[layer.output].row_bytes
        needs = rows.views[0]
        # windows begin closest together at the upper border; a row is spared for uneven steps
        between = needs.low[made - 1] - needs.low[0]
        read = {s.tensor for s in layer.input.segments if s.tensor in inner}
        held += np.maximum(between, 1) * sum(inner[name].row_bytes for name in sorted(read))
        least = np.maximum(least, held)
    return least


class Groups:
    """Merged groups by their layers, each made of one with a layer less when it is asked for.

    `empty` makes a group of no layers in stripes of a height, with running reductions or not.
    """

    def __init__(self, empty: Callable[[Height, bool], MergedGroup]) -> None:
        self._empty = empty
        self._made: dict[tuple[tuple[int, ...], Height, bool], MergedGroup] = {}

    def group(self, members: tuple[int, ...], height: Height, running: bool) -> MergedGroup:
        """A group of some layers, ascending."""
        if not members:
            return self._empty(height, running)
        key = (members, height, running)
        if key not in self._made:
            shorter = self.group(members[:-1], height, running)
            self._made[key] = shorter.grown(members[-1], keep=True)
        return self._made[key]
