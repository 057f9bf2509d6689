"""Ways to run one merged group: stripe heights and streamed kernels that pay, with their costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflow_sim.schedule.bands import LAYERS_OF_BANDS, bands, macs_again, more_bits
from dataflow_sim.schedule.baseline import Baseline
from dataflow_sim.schedule.demands import Demand, Kernels
from dataflow_sim.schedule.group_kernels import KernelSizes, Streams, streamed_sets, weight_costs
from dataflow_sim.schedule.handover import pairs_by_choice, savings
from dataflow_sim.schedule.merging import Groups, MergedGroup, Way, most_firings, rows_at_once
from dataflow_sim.schedule.pieces import floor_bits
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.tile_costs import tile_table
from dataflow_sim.schedule.tile_regions import TiledGroup, TileFrame
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import Buffering, PlaneTile

# stripes that a group is cut into where kernels are fetched again in each of them; fewer
# choices for groups of more than SHORT_GROUP layers
STRIPE_COUNTS = (
    *(*range(1, 9), *range(10, 17, 2), *range(20, 33, 4)),
    *(*range(40, 65, 8), *range(80, 113, 16)),
)
STRIPE_COUNTS_OF_LONG = (1, 2)
SHORT_GROUP = 4
_NEVER = np.iinfo(np.int64).min
_DEAREST = np.iinfo(np.int64).max
Bools = npt.NDArray[np.bool_]


class Found(NamedTuple):
    """Options of groups of one shape, by set of resident maps: without names.

    The arrays of each way to leave what the group makes that is there, by its number: local
    bytes, costs, places of the ways, and whether one map takes another's place.
    """

    ways: list[Way]
    takes: tuple[int, int] | None
    options: list[list[tuple[int, Ints, Ints, Ints, bool]]]


class _Noted(NamedTuple):
    """Ways with their local bytes and costs; arrays (maps from outside, maps to outside, ways)."""

    ways: list[Way]
    local: list[Ints]
    costs: list[Ints]

    def and_these(self, others: _Noted) -> _Noted:
        """These and others."""
        return _Noted(
            [*self.ways, *others.ways],
            [*self.local, *others.local],
            [*self.costs, *others.costs],
        )


class Kinds(IntEnum):
    """Ways that are tried, each kind besides the smaller ones.

    PLAIN     by rows, resident maps whole
    BANDS     by bands of rows
    HANDOVER  a resident map gives its rows to another
    """

    PLAIN = 0
    BANDS = 1
    HANDOVER = 2


@lru_cache(maxsize=1024)
def stripe_counts(rows: int, layers: int) -> Ints:
    """Numbers of stripes that the input rows of a group of so many layers may be cut into."""
    tried = STRIPE_COUNTS if layers <= SHORT_GROUP else STRIPE_COUNTS_OF_LONG
    few = [count for count in tried if count <= rows]
    # of equal height, but for the last
    return np.unique(-(-rows // -(-rows // np.array(few))))


def _best_ways(local: Ints, costs: Ints) -> tuple[Ints, Bools]:
    """Along the last axis the order by local bytes, and which are on the front, in that order.

    Entries of _NEVER bytes are not there.
    """
    if local.shape[2] == 1:
        return np.zeros(local.shape, np.int64), local != _NEVER
    order = np.lexsort((costs, local), axis=2)
    ranked = np.take_along_axis(costs, order, axis=2)
    ranked[np.take_along_axis(local, order, axis=2) == _NEVER] = _DEAREST
    before = np.full(ranked.shape, _DEAREST)
    np.minimum.accumulate(ranked[:, :, :-1], axis=2, out=before[:, :, 1:])
    return order, ranked < before


@dataclass(frozen=True, slots=True)
class Trials:
    """Tries groups of one network.

    A way pays where it costs less than the same layers one by one, through DRAM and in the
    same memory; `ceiling_bytes` is the largest memory that is of any use, `able` tells of
    each layer whether it may run by tiles of the plane.
    """

    tables: RowTables
    kernels: list[KernelSizes]
    size_bytes: dict[str, int]
    baseline: Baseline
    ceiling_bytes: int
    doubled: Buffering
    able: list[bool]
    demand: Demand | None = None

    def tried(
        self,
        groups: Groups,
        members: tuple[int, ...],
        pieces: Ints,
        maps: tuple[Bools, Bools],
        dies: tuple[bool, ...],
    ) -> Trial:
        """What groups of one shape can do by rows, or in the way that is demanded; ways name layers
        by their places in the group.

        `pieces` are the costs that a group must beat, by budget; `maps` tell by choice which maps
        from outside are resident, and which outgoing ones are resident and which are stored.
        """
        first = groups.group(members, None, False)
        sources = [found.name for found in first.timetable.outside()]
        targets = [found.name for found in first.outgoing]
        pairs = pairs_by_choice(self.tables, sources, targets, dies, *maps)
        trial = Trial(self, first, pieces, maps, self._takes(first, dies), pairs)
        demand = self.demand if self.demand and self.demand.members == members else None
        if demand is not None and demand.tile is not None:
            trial.by_tiles(demand, demand.tile)
            return trial
        weights = first.weight_costs([()])[:2]
        whole = self._whole(first, weights, pieces, trial.everything)
        trial.may_have_bands = bool(whole) and demand is None and self.has_bands(first)
        if demand is not None and demand.kernels is Kernels.REFETCH:
            whole = []
        for running in whole:
            trial.by_rows(groups.group(members, None, running), [()], np.ones((1, 1), bool))
        heights, sets, may = self._streamed(first, pieces, trial.everything)
        if demand is not None:
            may[:, [some not in demand.sets(sets) for some in sets]] = False
        chosen: Bools = np.any(may, axis=1)
        if first.timetable.keeps_statistics:  # at some heights, and at others not
            for one in np.flatnonzero(chosen).tolist():
                group = groups.group(members, heights[one : one + 1], False)
                trial.by_rows(group, sets, may[one : one + 1])
        elif chosen.any():
            trial.by_rows(groups.group(members, heights, False).at(chosen), sets, may[chosen])
        return trial

    def _whole(
        self, finest: MergedGroup, weights: tuple[Ints, Ints], pieces: Ints, everything: int
    ) -> list[bool]:
        """Whether the finest timetable may pay, without running reductions and with them.

        `weights` are the bytes and bits of all weights.
        """
        kept, fetched = weights
        through = self.baseline.objective.cost(finest.members, fetched + everything)
        if (through >= self.baseline.at(pieces, kept)).any():
            return []
        runs = any(self.tables.running[index] is not None for index in finest.members)
        return [False, True] if runs else [False]

    def _streamed(
        self, finest: MergedGroup, pieces: Ints, everything: int
    ) -> tuple[tuple[int, ...], list[Streams], Bools]:
        """Stripe heights, sets of streamed kernels, and which of them together may pay.

        Nothing streams in the finest timetable.
        """
        members = finest.members
        sets = streamed_sets(self.kernels, members)
        if not sets:
            return (), [], np.zeros((0, 0), bool)
        rows = self.tables.graph.layers[members[0]].input.shape[2]
        counts = stripe_counts(rows, len(members))
        heights = -(-rows // counts)
        firings = most_firings(finest, counts, heights)
        held, bits, _ = weight_costs(self.kernels, members, firings, sets)
        local = held + rows_at_once(finest, counts)[:, None]
        cost = self.baseline.objective.cost(members, bits + everything)
        pays = (local <= self.ceiling_bytes) & (cost < self.baseline.at(pieces, local))
        pays[counts == 1, :-1] = False  # in one stripe all of them stream
        return tuple(heights.tolist()), sets, pays

    def has_bands(self, group: MergedGroup) -> bool:
        """Whether a group may run by bands of rows."""
        members = group.members
        if len(members) > LAYERS_OF_BANDS or not all(self.able[i] for i in members):
            return False
        last = group.timetable.layers[-1].output
        return [found.name for found in group.outgoing] == [last]

    def _takes(self, group: MergedGroup, dies: tuple[bool, ...]) -> tuple[int, int] | None:
        """The first map that dies in a group, and an output of its size that may take its place."""
        tensors = self.tables.graph.tensors
        for number, taken in enumerate(group.timetable.outside()):
            before = tensors[taken.name]
            for place, made in enumerate(group.outgoing if dies[number] else ()):
                after = tensors[made.name]
                same = (before.shape, before.local_bits) == (after.shape, after.local_bits)
                if same and group.overwrites(made, taken):
                    return number, place
        return None


def _handing(
    heights: Sequence[int | None],
    running: bool,
    pair: tuple[int, int],
    apart: Ints,
    one: int,
    streamed: Streams,
) -> Way:
    return Way(heights[one], streamed, running, hands=(*pair, int(apart[one])))


class Trial:
    """The ways of one group that pay, as they are tried.

    `takes` are the places of a map from outside and of an outgoing one that may take its place,
    `pairs` those of maps that hand over rows, each with the choices of maps for which it does.
    """

    def __init__(
        self,
        trials: Trials,
        first: MergedGroup,
        pieces: Ints,
        maps: tuple[Bools, Bools],
        takes: tuple[int, int] | None,
        pairs: dict[tuple[int, int], Bools],
    ) -> None:
        self.trials = trials
        self.pairs = pairs
        self.members = first.members
        self.pieces = pieces
        self.outside, self.going = maps
        self.takes = takes
        self.everything = floor_bits(trials.tables.graph, first)
        self.shares = np.zeros((len(self.outside), len(self.going), 1), bool)
        if takes is not None:
            self.shares[:, :, 0] = self.outside[:, takes[0]][:, None] & self.going[:, takes[1], 0]
        self.may_have_bands = False
        self.noted, self.handing = _Noted([], [], []), _Noted([], [], [])
        self.bands: _Noted | None = None

    def by_rows(self, group: MergedGroup, sets: Sequence[Streams], may: Bools) -> None:
        """Note the ways of a group by rows, by height and set, that pay where they may; those
        in which rows are handed over apart."""
        trials, takes = self.trials, self.takes
        cost = trials.baseline.objective.cost
        table = group.table(self.outside, self.going, sets)
        through = cost(self.members, table.weight_bits + self.everything)
        shape = (len(self.outside), len(self.going), *may.shape)
        need = table.local_bytes.reshape(shape)
        costs = cost(self.members, table.dram_bits.reshape(shape))
        heights = group.height if isinstance(group.height, tuple) else (group.height,)
        outside, running = group.timetable.outside(), group.timetable.running

        def note(need: Ints, may: Bools, into: _Noted, way: Callable[[int, Streams], Way]) -> None:
            pays = (through < trials.baseline.at(self.pieces, need)) & may
            pays &= need <= trials.ceiling_bytes
            found = pays.any(axis=(0, 1))
            if found.any():
                into.local.append(np.where(pays, need, _NEVER)[:, :, found])
                into.costs.append(costs[:, :, found])
                for one, streamed in np.argwhere(found).tolist():
                    into.ways.append(way(one, self._places(sets[streamed])))

        def plain(one: int, streamed: Streams) -> Way:
            return Way(heights[one], streamed, running, bool(in_place[one]))

        in_place = np.zeros(len(may), bool)
        less = np.zeros(len(may), np.int64)
        if takes is not None:
            taken, made = outside[takes[0]], group.outgoing[takes[1]]
            in_place |= group.overwrites(made, taken)
            less = in_place * trials.size_bytes[taken.name]
        note(need - self.shares[..., None] * less[:, None], may, self.noted, plain)
        for pair, mine in self.pairs.items():
            apart, saved = savings(trials.tables, outside[pair[0]], group.outgoing[pair[1]])
            rows = (saved > 0) & ~(in_place & (pair == takes))
            if rows.any():
                by_row = partial(_handing, heights, running, pair, apart)
                reduced = need - saved[:, None]
                note(reduced, may & rows[:, None] & mine[..., None], self.handing, by_row)

    def also(self, kinds: Kinds) -> Trial:
        """Besides what is plain, the ways of some kinds that pay."""
        other = copy(self)
        if kinds >= Kinds.HANDOVER:
            other.noted = self.noted.and_these(self.handing)
        if kinds >= Kinds.BANDS and self.may_have_bands:
            if self.bands is None:
                self.bands = self._by_bands()
            other.noted = other.noted.and_these(self.bands)
        return other

    def _by_bands(self) -> _Noted:
        trials, noted = self.trials, _Noted([], [], [])
        objective = trials.baseline.objective
        frame = TileFrame(trials.tables, self.members)
        sizes = [trials.kernels[index] for index in self.members]
        bits = sum(size.kernel_bits + size.vector_bits for size in sizes) + self.everything
        for group in bands(frame):
            table = tile_table(
                *(group, trials.kernels, trials.doubled, self.outside, self.going, [()])
            )
            again = macs_again(group) if objective.counts_compute else ()
            through = objective.cost(
                self.members, bits + more_bits(group, self.outside)[:, None, None], again
            )
            need = table.local_bytes
            pays = through < trials.baseline.at(self.pieces, need)
            pays &= need <= trials.ceiling_bytes
            if not pays.any():
                continue
            noted.local.append(np.where(pays, need, _NEVER))
            noted.costs.append(objective.cost(self.members, table.dram_bits, again))
            halos = tuple(group.maps[n].halo for n in (*frame.outside, *frame.inner))
            noted.ways.append(Way(None, (), False, tile=group.tile, halos=halos))
        return noted

    def by_tiles(self, demand: Demand, tile: PlaneTile) -> None:
        """Note the ways of a group by tiles of the plane that are demanded."""
        trials = self.trials
        frame = TileFrame(trials.tables, self.members)
        names = (*frame.outside, *frame.inner)
        sets = demand.sets(streamed_sets(trials.kernels, self.members, pinned=False))
        for halos in demand.halos(len(names)):
            group = TiledGroup(frame, tile, dict(zip(names, halos, strict=True)))
            table = tile_table(
                group, trials.kernels, trials.doubled, self.outside, self.going, sets
            )
            self.noted.local.append(table.local_bytes)
            self.noted.costs.append(trials.baseline.objective.cost(self.members, table.dram_bits))
            self.noted.ways.extend(
                Way(None, self._places(some), False, tile=tile, halos=halos) for some in sets
            )

    def _places(self, streamed: Streams) -> Streams:
        return tuple((self.members.index(index), pinned) for index, pinned in streamed)

    def found(self) -> Found:
        """The fronts of all ways noted."""
        if not self.noted.ways:
            return Found([], None, [[] for _ in self.outside])
        local = np.concatenate(self.noted.local, axis=2)
        costs = np.concatenate(self.noted.costs, axis=2)
        order, kept = _best_ways(local, costs)
        p, q, rank = kept.nonzero()
        here = order[p, q, rank]
        local, costs = local[p, q, here], costs[p, q, here]
        options: list[list[tuple[int, Ints, Ints, Ints, bool]]] = [[] for _ in self.outside]
        ends = np.flatnonzero(np.append((p[1:] != p[:-1]) | (q[1:] != q[:-1]), True)) + 1
        start = 0
        for stop in ends.tolist():
            mine, one, other = slice(start, stop), int(p[start]), int(q[start])
            shared = bool(self.shares[one, other, 0])
            options[one].append((other, local[mine], costs[mine], here[mine], shared))
            start = stop
        return Found(self.noted.ways, self.takes, options)
