"""What can be done next: the options of the search at one layer, each with its front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.baseline import IMPOSSIBLE, Baseline
from dataflow_sim.schedule.frontier import Frontier, frontier, pareto
from dataflow_sim.schedule.lives import DRAM, LOCAL, MapLives, layer_reads
from dataflow_sim.schedule.merging import KernelSizes, MergedGroup, kernel_sizes
from dataflow_sim.schedule.problem import any_problem
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import MemoryOptions

# stripes a map is cut into where kernels are fetched again in each of them
STRIPE_COUNTS = (2, 3, 4)
# a run that has not paid for so many layers does not grow further
_PATIENCE = 4
# more ways than this to leave the maps that a group makes are thinned out
_MAXIMUM_WAYS = 9


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """Layers [start, stop) run alone or merged, and leave `outputs` in the states given.

    The arrays are its front, without maps that are resident; `ways` holds (rows in a
    stripe, streamed kernels) of each point of a merged group.
    """

    start: int
    stop: int
    merged: bool
    outputs: tuple[tuple[str, int], ...]
    local_bytes: Ints
    dram_bits: Ints
    ways: tuple[tuple[int | None, int], ...] = ()


def resident_of(outputs: tuple[tuple[str, int], ...]) -> frozenset[str]:
    """Outputs that stay in local memory."""
    return frozenset(name for name, state in outputs if state != DRAM)


def stored_of(outputs: tuple[tuple[str, int], ...]) -> frozenset[str]:
    """Outputs that go to DRAM."""
    return frozenset(name for name, state in outputs if state != LOCAL)


@dataclass(slots=True)
class Options:
    """Finds the options of one network; equal questions are answered once."""

    graph: NetworkGraph
    memory: MemoryOptions
    lives: MapLives
    baseline: Baseline
    ceiling_bytes: int
    may_merge: bool
    tables: RowTables = field(init=False)
    kernels: list[KernelSizes] = field(init=False)
    _pieces: list[list[Ints]] = field(init=False)
    reads: list[frozenset[str]] = field(init=False)
    _alone: dict[tuple[int, frozenset[str], tuple[tuple[str, int], ...]], Option] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        """Look at every layer once."""
        self.tables = RowTables(self.graph)
        layers = self.graph.layers
        double = self.memory.double_buffer
        self.kernels = [kernel_sizes(self.graph, layer, double) for layer in layers]
        self.reads = [layer_reads(layer) for layer in layers]
        self._pieces = self._through_dram() if self.may_merge else []

    def _through_dram(self) -> list[list[Ints]]:
        """For each start and stop: the best of all ways to cut the run in two or more pieces.

        Pieces are layers alone and merged groups in the finest timetable, with DRAM
        between them; bits by budget.  A run merged as a whole, with whatever maps
        resident, must beat its pieces in the same memory: they would profit from resident
        maps at least as much.
        """
        layers = len(self.graph.layers)
        best: list[list[Ints]] = [[] for _ in range(layers + 1)]
        pieces: list[list[Ints]] = [[] for _ in range(layers)]
        for start in reversed(range(layers)):
            group = self._group(start, None)
            runs: list[tuple[int, Ints]] = []
            idle = 0
            while idle < _PATIENCE and group.extend():
                stop = group.timetable.stop
                ways = [
                    run + best[middle][stop - middle - 1]
                    for middle, run in runs
                    if middle < stop and stop - middle - 1 < len(best[middle])
                ]
                single = self.baseline.alone[start] if stop == start + 1 else None
                parts = [*ways, *([single] if single is not None else [])]
                cut = (
                    np.min(parts, axis=0)
                    if parts
                    else np.full_like(self.baseline.alone[0], IMPOSSIBLE)
                )
                bits = int(group.weight_costs()[1][0]) + self._floor_bits(group)
                local = self._through_local(group)
                pays = bits < int(self.baseline.at(cut, np.array([local]))[0])
                idle = 0 if pays else idle + 1
                run = self.baseline.point(local, bits) if pays else None
                if single is not None:
                    runs.append((stop, single if run is None else np.minimum(single, run)))
                elif run is not None:
                    runs.append((stop, run))
                pieces[start].append(cut)
                best[start].append(cut if run is None else np.minimum(cut, run))
            if not pieces[start]:
                best[start] = [self.baseline.alone[start]]
        return pieces

    def _through_local(self, group: MergedGroup) -> int:
        """Local bytes of a group all of whose outer maps are in DRAM, its kernels kept."""
        outside = np.zeros((1, len(group.timetable.outside())), bool)
        going = np.array([[(False, True)] * len(group.outgoing)], bool)
        return int(group.table(outside, going, np.zeros(1, np.int64)).local_bytes[0, 0, 0])

    def _group(self, start: int, height: int | None) -> MergedGroup:
        double = self.memory.double_buffer
        readers = self.lives.last_reader
        return MergedGroup(self.tables, self.kernels, readers, start, height, double)

    def alone_frontier(
        self, index: int, resident: frozenset[str], stored: frozenset[str]
    ) -> Frontier:
        """The frontier of a layer's loop nest with some of its maps resident."""
        layer = self.graph.layers[index]
        return frontier(any_problem(self.graph, layer, self.memory, resident, stored))

    def alone(self, index: int, resident: frozenset[str]) -> Iterator[Option]:
        """A layer alone, for each way to leave its outputs; `resident` are maps it reads."""
        layer = self.graph.layers[index]
        states = [self.lives.states_of_output(name, index + 1) for name in layer.outputs]
        for way in product(*states):
            outputs = tuple(zip(layer.outputs, way, strict=True))
            key = (index, resident, outputs)
            if key not in self._alone:
                local = (resident & self.reads[index]) | resident_of(outputs)
                found = self.alone_frontier(index, local, stored_of(outputs))
                self._alone[key] = Option(
                    index, index + 1, False, outputs, found.local_bytes, found.dram_bits
                )
            yield self._alone[key]

    def merged(
        self, start: int, residents: list[frozenset[str]]
    ) -> Iterator[tuple[frozenset[str], dict[frozenset[str], list[Option]]]]:
        """Every run of layers that begins at `start` and can pay when merged.

        For each run: the maps that it reads from outside, and its options by which of them
        are resident; `residents` are the sets of resident maps that occur.
        """
        groups = [self._group(start, height) for height in self._heights(start)]
        for pieces in self._pieces[start]:
            for group in groups:
                group.extend()
            outside = frozenset(found.name for found in groups[0].timetable.outside())
            options = self._run(groups, outside, residents, pieces)
            if options:
                yield outside, options

    def _heights(self, start: int) -> list[int | None]:
        rows = self.graph.layers[start].input.shape[2]
        heights = {-(-rows // count) for count in STRIPE_COUNTS}
        return [None, *sorted(h for h in heights if 1 < h < rows)]

    def _ways_to_leave(self, group: MergedGroup) -> list[tuple[int, ...]]:
        """States of the outgoing maps; of many maps only prefixes stay."""
        stop = group.timetable.stop
        states = [self.lives.states_of_output(found.name, stop) for found in group.outgoing]
        if np.prod([len(s) for s in states]) <= _MAXIMUM_WAYS:
            return list(product(*states))
        # all to DRAM, all that can to local memory, and between them the first alone
        ways = []
        for count in (0, 1, len(states)):
            stay = [LOCAL if LOCAL in s else max(s) for s in states]
            ways.append(tuple(w if i < count else DRAM for i, w in enumerate(stay)))
        return list(dict.fromkeys(ways))

    def _run(
        self,
        groups: list[MergedGroup],
        sources: frozenset[str],
        residents: list[frozenset[str]],
        pieces: Ints,
    ) -> dict[frozenset[str], list[Option]]:
        """Options of one run, over all stripe heights."""
        first = groups[0]
        start, stop = first.timetable.start, first.timetable.stop
        names = [found.name for found in first.timetable.outside()]
        patterns = list(dict.fromkeys(r & sources for r in residents))
        outside = np.array([[n in p for n in names] for p in patterns], bool)
        leave = self._ways_to_leave(first)
        going = np.array([[(s != DRAM, s != LOCAL) for s in way] for way in leave], bool)
        going = going.reshape(len(leave), len(first.outgoing), 2)
        everything = self._floor_bits(first)
        local_parts, bits_parts = [], []
        ways: list[tuple[int | None, int]] = []
        for group in groups:
            kept, fetched, _ = group.weight_costs()
            through = fetched + everything
            pays = through < self.baseline.at(pieces, kept)
            streamed = np.flatnonzero(pays & (kept <= self.ceiling_bytes))
            if group.height is None:
                streamed = streamed[streamed == 0]
            elif len(streamed):
                streamed = streamed[streamed > 0]
            if not len(streamed):
                continue
            table = group.table(outside, going, streamed)
            pays_now = through[streamed] < self.baseline.at(pieces, table.local_bytes)
            pays_now &= table.local_bytes <= self.ceiling_bytes
            local_parts.append(np.where(pays_now, table.local_bytes, -1))
            bits_parts.append(table.dram_bits)
            ways.extend((group.height, int(k)) for k in streamed)
        if not ways:
            return {}
        local, bits = np.concatenate(local_parts, axis=2), np.concatenate(bits_parts, axis=2)
        outputs = [
            tuple((found.name, state) for found, state in zip(first.outgoing, way, strict=True))
            for way in leave
        ]
        found: dict[frozenset[str], list[Option]] = {}
        for p, pattern in enumerate(patterns):
            options = []
            for q, out in enumerate(outputs):
                pays_here = np.flatnonzero(local[p, q] >= 0)
                if len(pays_here) > 1:
                    pays_here = pays_here[pareto(local[p, q, pays_here], bits[p, q, pays_here])]
                if len(pays_here):
                    options.append(
                        Option(
                            start,
                            stop,
                            True,
                            out,
                            local[p, q, pays_here],
                            bits[p, q, pays_here],
                            tuple(ways[i] for i in pays_here),
                        )
                    )
            if options:
                found[pattern] = options
        return found

    def _floor_bits(self, group: MergedGroup) -> int:
        """Bits of all maps from outside and to outside through DRAM."""
        tensors = self.graph.tensors
        into = sum(group.fetched_bits(found) for found in group.timetable.outside())
        out = (tensors[found.name] for found in group.outgoing)
        return into + sum(t.elements * t.bits for t in out)
