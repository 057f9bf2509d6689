"""What can be done next: the options of the search at one layer, each with its front."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
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
    most_firings,
    rows_at_once,
    streamed_sets,
)
from dataflow_sim.schedule.pieces import Run, find_pieces, floor_bits
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.shapes import GroupShape, Shapes
from dataflow_sim.schedule.timetable import RowTables
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


def _best_ways(local: Ints, costs: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
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

    def group(self, height: int | None, running: bool = False) -> MergedGroup:
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
                self._alone[key] = Option((index,), stop, False, outputs, found.local_bytes, costs)
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

    def _ways_to_run(
        self, finest: MergedGroup, pieces: Ints, everything: int
    ) -> Iterator[tuple[int | None, bool, list[tuple[int, ...]]]]:
        """Stripe heights with the sets of streamed kernels that may pay, and running reductions.

        Nothing streams in the finest timetable.
        """
        members, tables = finest.members, self.tables
        cost = partial(self.baseline.objective.cost, members)
        kept, fetched, _ = finest.weight_costs([()])
        if (cost(fetched + everything) < self.baseline.at(pieces, kept)).all():
            yield None, False, [()]
            if any(tables.running[index] is not None for index in members):
                yield None, True, [()]
        sets = streamed_sets(self.kernels, members)
        if not sets:
            return
        rows = self.graph.layers[members[0]].input.shape[2]
        few = STRIPE_COUNTS if len(members) <= SHORT_GROUP else STRIPE_COUNTS_OF_LONG
        counts = np.unique(-(-rows // -(-rows // np.array([n for n in few if n <= rows]))))
        heights = -(-rows // counts)
        kernels = [self.kernels[index] for index in members]
        chosen = np.array([[index in streamed for index in members] for streamed in sets])
        again = most_firings(finest, counts, heights) - 1
        more = (again * np.array([k.kernel_bits for k in kernels])) @ chosen.T
        held = kept - chosen @ np.array([k.kernel_bytes for k in kernels])
        least = rows_at_once(finest, counts)
        local = held + least[:, None]
        pays = (local <= self.ceiling_bytes) & (
            cost(fetched + more + everything) < self.baseline.at(pieces, local)
        )
        pays[counts == 1, :-1] = False  # in one stripe all of them stream
        for place in np.flatnonzero(pays.any(axis=1)).tolist():
            some = [streamed for streamed, may in zip(sets, pays[place], strict=True) if may]
            yield int(heights[place]), False, some

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
        maps: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
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
        places = {index: place for place, index in enumerate(members)}
        for height, running, sets in self._ways_to_run(first, pieces, everything):
            group = groups.group(members, height, running)
            _, fetched, _ = group.weight_costs(sets)
            table = group.table(outside, going, sets)
            through = self.baseline.objective.cost(members, fetched + everything)
            in_place = takes is not None and group.overwrites(
                group.outgoing[takes[1]], group.timetable.outside()[takes[0]]
            )
            need = table.local_bytes - (shares * taken_bytes if in_place else 0)
            pays = through < self.baseline.at(pieces, need)
            pays &= need <= self.ceiling_bytes
            if pays.any():
                local_parts.append(np.where(pays, need, _NEVER))
                cost_parts.append(self.baseline.objective.cost(members, table.dram_bits))
                for streamed in sets:
                    own = tuple(places[index] for index in streamed)
                    ways.append(Way(height, own, running, in_place))
        if not ways:
            return _Found([], None, [[] for _ in outside])
        local, costs = np.concatenate(local_parts, axis=2), np.concatenate(cost_parts, axis=2)
        order, kept = _best_ways(local, costs)
        options = []
        for p in range(len(outside)):
            mine = []
            for q in np.flatnonzero(kept[p].any(axis=1)).tolist():
                here = order[p, q, kept[p, q]]
                shared = bool(shares[p, q, 0])
                mine.append((q, local[p, q, here], costs[p, q, here], here, shared))
            options.append(mine)
        return _Found(ways, takes, options)
