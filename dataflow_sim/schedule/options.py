"""What can be done next: the options of the search at one layer, each with its front."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.alone import any_problem, frontier
from dataflow_sim.schedule.baseline import Baseline
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.frontier import Frontier
from dataflow_sim.schedule.lives import DRAM, LOCAL, MapLives, layer_reads
from dataflow_sim.schedule.merging import (
    Groups,
    KernelSizes,
    MergedGroup,
    Way,
    kernel_sizes,
    rows_at_once,
    streamed_sets,
)
from dataflow_sim.schedule.pieces import Run, find_pieces, floor_bits
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.shapes import GroupShape, Shapes
from dataflow_sim.schedule.timetable import Height, RowTables
from dataflow_sim.schedule.types import MemoryOptions

# stripes that a group is cut into where kernels are fetched again in each of them; fewer
# choices for groups of more than SHORT_GROUP layers
STRIPE_COUNTS = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    10,
    12,
    14,
    16,
    20,
    24,
    28,
    32,
    40,
    48,
    56,
    64,
    80,
    96,
    112,
)
STRIPE_COUNTS_OF_LONG = (1, 2)
SHORT_GROUP = 4
# sets of resident maps that are many to tell apart
_MANY_SETS = 16
# more ways than this to leave the maps that a group makes are thinned out; fewer where many
# sets of resident maps have to be told apart
_MAXIMUM_WAYS = 9
_MAXIMUM_WAYS_OF_MANY_SETS = 3
_ONLY = np.zeros(1, np.int64)
Bools = npt.NDArray[np.bool_]
_NEVER = np.iinfo(np.int64).min
_DEAREST = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """Layers run alone or merged, and leave `outputs` in the states given at the cut `stop`.

    `members` are in the order in which they fire.  `output_bytes` are those of the
    outputs that stay.
    The arrays are its front, without maps that are resident; `ways[places[i]]` is the way of
    point i of a merged group, streamed kernels by place in the group.  `takes` are a resident
    map that dies in it and an output that takes its place where the way is in place; the local
    bytes are then less by their size.
    """

    members: tuple[int, ...]
    stop: int
    merged: bool
    outputs: tuple[tuple[str, int], ...]
    local_bytes: Ints
    costs: Ints
    output_bytes: int = 0
    ways: Sequence[Way] = ()
    places: Ints = field(default_factory=lambda: _ONLY)
    takes: tuple[str, str] | None = None


def resident_of(outputs: tuple[tuple[str, int], ...]) -> frozenset[str]:
    """Outputs that stay in local memory."""
    return frozenset(name for name, state in outputs if state != DRAM)


def stored_of(outputs: tuple[tuple[str, int], ...]) -> frozenset[str]:
    """Outputs that go to DRAM."""
    return frozenset(name for name, state in outputs if state != LOCAL)


class _Found(NamedTuple):
    """Options of groups of one shape, by set of resident maps: without names.

    The arrays of each way to leave what the group makes that is there, by its number: local
    bytes, costs, places of the ways, and whether one map takes another's place.
    """

    ways: list[Way]
    takes: tuple[int, int] | None
    options: list[list[tuple[int, Ints, Ints, Ints, bool]]]


@lru_cache(maxsize=1024)
def _stripes(rows: int, short: bool) -> Ints:
    """Numbers of stripes of equal height, but for the last, that some rows may be cut into."""
    few = [count for count in (STRIPE_COUNTS if short else STRIPE_COUNTS_OF_LONG) if count <= rows]
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


@dataclass(slots=True)
class Options:
    """Finds the options of one network; equal questions are answered once.

    `reads` are the maps and weights that each layer reads.
    """

    graph: NetworkGraph
    memory: MemoryOptions
    lives: MapLives
    baseline: Baseline
    ceiling_bytes: int
    may_merge: bool
    tables: RowTables = field(init=False)
    kernels: list[KernelSizes] = field(init=False)
    runs: list[list[Run]] = field(init=False)
    reads: list[frozenset[str]] = field(init=False)
    shapes: Shapes = field(init=False)
    _known: dict[Hashable, _Found] = field(default_factory=dict)
    _alone: dict[tuple[int, int, frozenset[str], tuple[int, ...]], Option] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        """Look at every layer once."""
        self.tables = RowTables(self.graph, self.memory)
        layers = self.graph.layers
        double = self.memory.doubled.weights
        self.kernels = [kernel_sizes(self.graph, layer, double) for layer in layers]
        self.reads = [layer_reads(layer).union(layer.weights) for layer in layers]
        compute = self.baseline.objective.compute_ticks
        self.shapes = Shapes(self.tables, self.lives.readers, compute)
        self.runs = []
        if self.may_merge:
            found = find_pieces(self)
            self.runs = found.runs
            counts_bits = self.baseline.objective.counts_bits
            if counts_bits and found.floor_bits <= compulsory_bytes(self.graph) * 8:
                self.ceiling_bytes = min(self.ceiling_bytes, found.floor_bytes)

    def group(self, height: Height, running: bool = False) -> MergedGroup:
        """A merged group that is yet empty."""
        doubled, readers = self.memory.doubled, self.lives.readers
        return MergedGroup(self.tables, self.kernels, readers, height, doubled, running)

    def alone_frontier(
        self, index: int, resident: frozenset[str], stored: frozenset[str]
    ) -> Frontier:
        """The frontier of a layer's loop nest with some of its maps resident."""
        layer = self.graph.layers[index]
        return frontier(any_problem(self.graph, layer, self.memory, resident, stored))

    def alone(self, index: int, stop: int, resident: frozenset[str]) -> Iterator[Option]:
        """A layer alone, for each way to leave its outputs; `resident` are maps it reads."""
        layer = self.graph.layers[index]
        states = [self.lives.states_of_output(name, stop) for name in layer.outputs]
        for way in product(*states):
            outputs = tuple(zip(layer.outputs, way, strict=True))
            key = (index, stop, resident, way)
            if key not in self._alone:
                local = (resident & self.reads[index]) | resident_of(outputs)
                found = self.alone_frontier(index, local, stored_of(outputs))
                costs = self.baseline.objective.cost((index,), found.dram_bits)
                stays = sum(self.lives.size_bytes[name] for name in resident_of(outputs))
                self._alone[key] = Option(
                    (index,), stop, False, outputs, found.local_bytes, costs, stays
                )
            yield self._alone[key]

    def merged(
        self, start: int, residents: list[frozenset[str]]
    ) -> Iterator[tuple[frozenset[str], dict[frozenset[str], list[Option]]]]:
        """Every run of layers that begins at `start` and can pay when merged.

        For each run: the maps that it reads from outside, and its options by which of them
        are resident; `residents` are the sets of resident maps that occur.
        """
        groups = Groups(self.group)
        members: list[tuple[int, ...]] = []
        for run in self.runs[start]:
            before = members[run.parent] if run.parent >= 0 else ()
            members.append(tuple(sorted((*before, run.layer))))
            shape = self.shapes.of(members[-1])
            outside = frozenset(shape.outside)
            options = self._run(groups, members[-1], shape, run, residents)
            if options:
                yield outside, options

    def _ways_to_leave(
        self, outgoing: tuple[str, ...], stop: int, sets: int
    ) -> list[tuple[int, ...]]:
        """States of the outgoing maps; of many maps only prefixes stay."""
        states = [self.lives.states_of_output(name, stop) for name in outgoing]
        many = sets > _MANY_SETS
        most = _MAXIMUM_WAYS_OF_MANY_SETS if many else _MAXIMUM_WAYS
        if np.prod([len(s) for s in states]) <= most:
            return list(product(*states))
        # all to DRAM, all that can to local memory, and between them the first alone
        ways = []
        for count in (0, 1, len(states)):
            stay = [LOCAL if LOCAL in s else max(s) for s in states]
            ways.append(tuple(w if i < count else DRAM for i, w in enumerate(stay)))
        return list(dict.fromkeys(ways))

    def _takes(self, group: MergedGroup, dies: tuple[bool, ...]) -> tuple[int, int] | None:
        """The first map that dies in a group, and an output of its size that may take its place."""
        tensors = self.graph.tensors
        for number, taken in enumerate(group.timetable.outside()):
            before = tensors[taken.name]
            for place, made in enumerate(group.outgoing if dies[number] else ()):
                after = tensors[made.name]
                same = (before.shape, before.local_bits) == (after.shape, after.local_bits)
                if same and group.overwrites(made, taken):
                    return number, place
        return None

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
        self, finest: MergedGroup, weights: tuple[Ints, Ints], pieces: Ints, everything: int
    ) -> tuple[tuple[int, ...], list[tuple[int, ...]], Bools]:
        """Stripe heights, sets of streamed kernels, and which of them together may pay.

        Nothing streams in the finest timetable.  With n stripes a layer fires at most n times.
        """
        members = finest.members
        sets = streamed_sets(self.kernels, members)
        if not sets:
            return (), [], np.zeros((0, 0), bool)
        rows = self.graph.layers[members[0]].input.shape[2]
        counts = _stripes(rows, len(members) <= SHORT_GROUP)
        heights = -(-rows // counts)
        kept, fetched = weights
        kernels = [self.kernels[index] for index in members]
        chosen = np.array([[index in streamed for index in members] for streamed in sets])
        made = np.array([len(rows) for rows in finest.timetable.row_firing])
        again = np.minimum(counts[:, None], made) - 1
        more = (again * np.array([k.kernel_bits for k in kernels])) @ chosen.T
        held = kept - chosen @ np.array([k.kernel_bytes for k in kernels])
        local = held + rows_at_once(finest, counts)[:, None]
        cost = self.baseline.objective.cost(members, fetched + more + everything)
        pays = (local <= self.ceiling_bytes) & (cost < self.baseline.at(pieces, local))
        pays[counts == 1, :-1] = False  # in one stripe all of them stream
        return tuple(heights.tolist()), sets, pays

    def _run(
        self,
        groups: Groups,
        members: tuple[int, ...],
        shape: GroupShape,
        run: Run,
        residents: list[frozenset[str]],
    ) -> dict[frozenset[str], list[Option]]:
        """Options of one run, over all ways to run it."""
        sources = frozenset(shape.outside)
        patterns = list(dict.fromkeys(r & sources for r in residents))
        outside = np.array([[n in p for n in shape.outside] for p in patterns], bool)
        leave = self._ways_to_leave(shape.outgoing, run.stop, len(residents))
        going = np.array([[(s != DRAM, s != LOCAL) for s in way] for way in leave], bool)
        going = going.reshape(len(leave), len(shape.outgoing), 2)
        dies = tuple(
            name not in self.lives.pinned and not self.lives.readers_ahead(name, run.stop)
            for name in shape.outside
        )
        arrays = (outside.tobytes(), going.tobytes(), run.pieces.tobytes())
        key = (shape.key, dies, len(patterns), *arrays)
        if key not in self._known:
            self._known[key] = self._found(groups, members, run.pieces, (outside, going), dies)
        known = self._known[key]
        outputs = [tuple(zip(shape.outgoing, way, strict=True)) for way in leave]
        sizes = self.lives.size_bytes
        stays = [sum(sizes[name] for name in resident_of(out)) for out in outputs]
        pair = known.takes and (shape.outside[known.takes[0]], shape.outgoing[known.takes[1]])
        return {
            pattern: [
                Option(
                    members,
                    run.stop,
                    True,
                    outputs[q],
                    local,
                    costs,
                    stays[q],
                    known.ways,
                    here,
                    pair if shared else None,
                )
                for q, local, costs, here, shared in options
            ]
            for pattern, options in zip(patterns, known.options, strict=True)
            if options
        }

    def _found(
        self,
        groups: Groups,
        members: tuple[int, ...],
        pieces: Ints,
        maps: tuple[Bools, Bools],
        dies: tuple[bool, ...],
    ) -> _Found:
        """What groups of one shape can do; ways name layers by their places in the group."""
        outside, going = maps
        first = groups.group(members, None, False)
        everything = floor_bits(self.graph, first)
        takes = self._takes(first, dies)
        shares = np.zeros((len(outside), len(going), 1), bool)
        taken_bytes = 0
        if takes is not None:
            shares[:, :, 0] = outside[:, takes[0]][:, None] & going[:, takes[1], 0]
            taken_bytes = self.lives.size_bytes[first.timetable.outside()[takes[0]].name]
        local_parts, cost_parts = [], []
        ways: list[Way] = []

        def try_out(group: MergedGroup, sets: list[tuple[int, ...]], may: Bools) -> None:
            """Note the ways of a group, by height and set, that pay where they may."""
            table = group.table(outside, going, sets)
            through = self.baseline.objective.cost(members, table.weight_bits + everything)
            in_place = np.zeros(len(may), bool)
            if takes is not None:
                made, taken = group.outgoing[takes[1]], group.timetable.outside()[takes[0]]
                in_place |= group.overwrites(made, taken)
            shape = (len(outside), len(going), *may.shape)
            need = table.local_bytes.reshape(shape)
            if in_place.any():
                need = need - (shares * taken_bytes)[..., None] * in_place[:, None]
            pays = (through < self.baseline.at(pieces, need)) & (need <= self.ceiling_bytes) & may
            found = pays.any(axis=(0, 1))
            if not found.any():
                return
            local_parts.append(np.where(pays, need, _NEVER)[:, :, found])
            costs = table.dram_bits.reshape(shape)[:, :, found]
            cost_parts.append(self.baseline.objective.cost(members, costs))
            height = group.height
            heights = height if isinstance(height, tuple) else (height,)
            for one, streamed in np.argwhere(found).tolist():
                own = tuple(members.index(index) for index in sets[streamed])
                way = Way(heights[one], own, group.timetable.running, bool(in_place[one]))
                ways.append(way)

        weights = first.weight_costs([()])[:2]
        for running in self._whole(first, weights, pieces, everything):
            try_out(groups.group(members, None, running), [()], np.ones((1, 1), bool))
        heights, sets, may = self._streamed(first, weights, pieces, everything)
        chosen: Bools = np.any(may, axis=1)
        if chosen.any():
            try_out(groups.group(members, heights, False).at(chosen), sets, may[chosen])
        if not ways:
            return _Found([], None, [[] for _ in outside])
        local, costs = np.concatenate(local_parts, axis=2), np.concatenate(cost_parts, axis=2)
        order, kept = _best_ways(local, costs)
        p, q, rank = kept.nonzero()
        here = order[p, q, rank]
        local, costs = local[p, q, here], costs[p, q, here]
        options: list[list[tuple[int, Ints, Ints, Ints, bool]]] = [[] for _ in outside]
        ends = np.flatnonzero(np.append((p[1:] != p[:-1]) | (q[1:] != q[:-1]), True)) + 1
        start = 0
        for stop in ends.tolist():
            mine, one, other = slice(start, stop), int(p[start]), int(q[start])
            shared = bool(shares[one, other, 0])
            options[one].append((other, local[mine], costs[mine], here[mine], shared))
            start = stop
        return _Found(ways, takes, options)
