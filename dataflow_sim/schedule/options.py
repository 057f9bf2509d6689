"""What can be done next: the options of the search at one layer, each with its front."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.alone import any_problem, frontier
from dataflow_sim.schedule.baseline import IMPOSSIBLE, Baseline
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.demands import Demand
from dataflow_sim.schedule.frontier import Frontier
from dataflow_sim.schedule.group_kernels import KernelSizes, kernel_sizes
from dataflow_sim.schedule.lives import DRAM, LOCAL, MapLives, layer_reads
from dataflow_sim.schedule.merging import Groups, MergedGroup, Way
from dataflow_sim.schedule.pieces import Run, find_pieces
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.shapes import GroupShape, Shapes
from dataflow_sim.schedule.tile_regions import layer_obstacle
from dataflow_sim.schedule.timetable import Height, RowTables
from dataflow_sim.schedule.trials import Found, Kinds, Trial, Trials
from dataflow_sim.schedule.types import Halo, MemoryOptions

# sets of resident maps that are many to tell apart
_MANY_SETS = 16
# more ways than this to leave the maps that a group makes are thinned out; fewer where many
# sets of resident maps have to be told apart
_MAXIMUM_WAYS = 9
_MAXIMUM_WAYS_OF_MANY_SETS = 3
_ONLY = np.zeros(1, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """Layers run alone or merged, and leave `outputs` in the states given at the cut `stop`.

    `members` are in the order in which they fire.  `output_bytes` are those of the
    outputs that stay.
    The arrays are its front, without maps that are resident; `ways[places[i]]` is the way of
    point i of a merged group, streamed kernels by place in the group, halos of `maps`.
    `takes` are a resident map that dies in it and an output that takes its place where the way
    is in place; the local bytes are then less by their size.
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
    maps: tuple[str, ...] = ()


def resident_of(outputs: tuple[tuple[str, int], ...]) -> frozenset[str]:
    """Outputs that stay in local memory."""
    return frozenset(name for name, state in outputs if state != DRAM)


def stored_of(outputs: tuple[tuple[str, int], ...]) -> frozenset[str]:
    """Outputs that go to DRAM."""
    return frozenset(name for name, state in outputs if state != LOCAL)


@dataclass(slots=True)
class Options:
    """Finds the options of one network; equal questions are answered once.

    `reads` are the maps and weights that each layer reads, `size_bytes` what each map or tensor of
    weights takes of local memory, whole.  What does not depend on the `kinds` of
    ways is taken from options that are `like` these but for them.
    """

    graph: NetworkGraph
    memory: MemoryOptions
    lives: MapLives
    baseline: Baseline
    ceiling_bytes: int
    may_merge: bool
    demand: Demand | None = None
    kinds: Kinds = Kinds.HANDOVER
    like: Options | None = None
    size_bytes: dict[str, int] = field(init=False)
    tables: RowTables = field(init=False)
    kernels: list[KernelSizes] = field(init=False)
    runs: list[list[Run]] = field(init=False)
    reads: list[frozenset[str]] = field(init=False)
    shapes: Shapes = field(init=False)
    trials: Trials = field(init=False)
    tried: dict[Hashable, Trial] = field(default_factory=dict)
    _known: dict[Hashable, Found] = field(default_factory=dict)
    _alone: dict[tuple[int, int, frozenset[str], tuple[int, ...]], Option] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        """Look at every layer once."""
        if self.like is None:
            self._look()
        else:
            self.size_bytes, self.tables = self.like.size_bytes, self.like.tables
            self.kernels = self.like.kernels
            self.reads, self.shapes = self.like.reads, self.like.shapes
            self.runs, self._alone = self.like.runs, self.like._alone
            self.tried = self.like.tried
            self.ceiling_bytes = min(self.ceiling_bytes, self.like.ceiling_bytes)
        count = len(self.graph.layers)
        self.trials = Trials(
            self.tables,
            self.kernels,
            self.size_bytes,
            self.baseline,
            self.ceiling_bytes,
            self.memory.doubled,
            [layer_obstacle(self.tables, index) is None for index in range(count)],
            self.demand,
        )

    def _look(self) -> None:
        self.tables = RowTables(self.graph, self.memory)
        layers, memory = self.graph.layers, self.memory
        self.size_bytes = {
            name: memory.bytes_taken(tensor.elements * tensor.local_bits)
            for name, tensor in self.graph.tensors.items()
        }
        double, unit = memory.doubled.weights, memory.alignment_bytes
        self.kernels = [kernel_sizes(self.graph, layer, double, unit) for layer in layers]
        self.reads = [layer_reads(layer).union(layer.weights) for layer in layers]
        compute = self.baseline.objective.compute_ticks
        self.shapes = Shapes(self.tables, self.lives.readers, compute)
        self.runs = []
        if self.may_merge:
            found = find_pieces(self)
            self.runs = found.runs
            if (
                self.demand is None
                and self.baseline.objective.follows_bits
                and found.floor_bits <= compulsory_bytes(self.graph) * self.graph.byte_bits
            ):
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
        if self.demand is not None and index in self.demand.members:
            return
        states = [self.lives.states_of_output(name, stop) for name in layer.outputs]
        for way in product(*states):
            outputs = tuple(zip(layer.outputs, way, strict=True))
            key = (index, stop, resident, way)
            if key not in self._alone:
                local = (resident & self.reads[index]) | resident_of(outputs)
                found = self.alone_frontier(index, local, stored_of(outputs))
                costs = self.baseline.objective.cost((index,), found.dram_bits)
                stays = sum(self.size_bytes[name] for name in resident_of(outputs))
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
        for members, run in self._runs(start):
            shape = self.shapes.of(members)
            outside = frozenset(shape.outside)
            options = self._run(groups, members, shape, run, residents)
            if options:
                yield outside, options

    def _maps(self, members: tuple[int, ...]) -> tuple[str, ...]:
        """Maps of a group from outside and inner ones, as the halos of a way go."""
        inner = (self.graph.layers[index].output for index in members[:-1])
        return (*self.shapes.of(members).outside, *inner)

    def halos_of(self, members: tuple[int, ...], way: Way) -> tuple[tuple[str, Halo], ...]:
        """The halos of a group that runs by tiles of the plane, with the names of its maps."""
        return tuple(zip(self._maps(members), way.halos, strict=True)) if way.tile else ()

    def _runs(self, start: int) -> Iterator[tuple[tuple[int, ...], Run]]:
        """The runs that begin at a cut with their layers; of what is demanded all or nothing."""
        found: list[tuple[int, ...]] = []
        demanded = () if self.demand is None else self.demand.members
        for run in self.runs[start]:
            before = found[run.parent] if run.parent >= 0 else ()
            found.append(tuple(sorted((*before, run.layer))))
            if not set(demanded) & set(found[-1]):
                yield found[-1], run
        stop = self._demanded_stop(start)
        if stop is not None:
            yield demanded, Run(-1, demanded[-1], stop, self.baseline.point(0, IMPOSSIBLE))

    def _demanded_stop(self, start: int) -> int | None:
        """The cut behind what is demanded, where this can begin at a cut."""
        if self.demand is None:
            return None
        done, layers = self.lives.cuts.done, self.graph.layers
        mask = sum(1 << index for index in self.demand.members)
        reads = frozenset().union(*(self.reads[index] for index in self.demand.members))
        makers = (i for i, layer in enumerate(layers) if not reads.isdisjoint(layer.outputs))
        before = sum(1 << index for index in makers) & ~mask
        there = done[start]
        if there & mask or there & before != before or there | mask not in done:
            return None
        return done.index(there | mask)

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
            tried = self.tried.get(key)
            if tried is None:
                there = (outside, going)
                tried = self.trials.tried(groups, members, run.pieces, there, dies)
                self.tried[key] = tried
            self._known[key] = tried.also(self.kinds).found()
        known = self._known[key]
        outputs = [tuple(zip(shape.outgoing, way, strict=True)) for way in leave]
        sizes = self.size_bytes
        stays = [sum(sizes[name] for name in resident_of(out)) for out in outputs]
        maps = self._maps(members)
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
                    maps,
                )
                for q, local, costs, here, shared in options
            ]
            for pattern, options in zip(patterns, known.options, strict=True)
            if options
        }
