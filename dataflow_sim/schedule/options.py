"""What can be done next: the options of the search at one layer, each with its front."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.alone import any_problem, frontier
from dataflow_sim.schedule.baseline import Baseline
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.frontier import Frontier, pareto
from dataflow_sim.schedule.lives import DRAM, LOCAL, MapLives, layer_reads
from dataflow_sim.schedule.merging import KernelSizes, MergedGroup, kernel_sizes
from dataflow_sim.schedule.pieces import Run, find_pieces, floor_bits
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import MemoryOptions

# stripes a map is cut into where kernels are fetched again in each of them
STRIPE_COUNTS = (2, 3, 4)
# with more sets of resident maps than this to tell apart, kernels are not streamed
_MAXIMUM_SETS_TO_STREAM = 16
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
    The arrays are its front, without maps that are resident; `ways` holds (rows in a
    stripe, streamed kernels) of each point of a merged group.
    """

    members: tuple[int, ...]
    stop: int
    merged: bool
    outputs: tuple[tuple[str, int], ...]
    local_bytes: Ints
    dram_bits: Ints
    output_bytes: int = 0
    ways: tuple[tuple[int | None, int], ...] = ()


def resident_of(outputs: tuple[tuple[str, int], ...]) -> frozenset[str]:
    """Outputs that stay in local memory."""
    return frozenset(name for name, state in outputs if state != DRAM)


def stored_of(outputs: tuple[tuple[str, int], ...]) -> frozenset[str]:
    """Outputs that go to DRAM."""
    return frozenset(name for name, state in outputs if state != LOCAL)


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
    _alone: dict[tuple[int, int, frozenset[str], tuple[int, ...]], Option] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        """Look at every layer once."""
        self.tables = RowTables(self.graph)
        layers = self.graph.layers
        double = self.memory.doubled.weights
        self.kernels = [kernel_sizes(self.graph, layer, double) for layer in layers]
        self.reads = [layer_reads(layer).union(layer.weights) for layer in layers]
        self.runs = []
        if self.may_merge:
            found = find_pieces(self)
            self.runs = found.runs
            if found.floor_bits <= compulsory_bytes(self.graph) * 8:
                self.ceiling_bytes = min(self.ceiling_bytes, found.floor_bytes)

    def group(self, height: int | None) -> MergedGroup:
        """A merged group that is yet empty."""
        doubled = self.memory.doubled
        return MergedGroup(self.tables, self.kernels, self.lives.readers, height, doubled)

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
                self._alone[key] = Option(
                    (index,), stop, False, outputs, found.local_bytes, found.dram_bits
                )
            yield self._alone[key]

    def merged(
        self, start: int, residents: list[frozenset[str]]
    ) -> Iterator[tuple[frozenset[str], dict[frozenset[str], list[Option]]]]:
        """Every run of layers that begins at `start` and can pay when merged.

        For each run: the maps that it reads from outside, and its options by which of them
        are resident; `residents` are the sets of resident maps that occur.
        """
        rows = [
            self.graph.layers[layer].input.shape[2] for layer, _ in self.lives.cuts.steps[start]
        ]
        heights: list[int | None] = [None]
        if len(residents) <= _MAXIMUM_SETS_TO_STREAM:
            heights = self._heights(max(rows))
        empty = [self.group(height) for height in heights]
        runs = self.runs[start]
        children = Counter(run.parent for run in runs)
        grown: list[list[MergedGroup]] = []
        for run in runs:
            before = empty if run.parent < 0 else grown[run.parent]
            children[run.parent] -= 1
            keep = children[run.parent] > 0
            groups = [group.grown(run.layer, keep) for group in before]
            grown.append(groups)
            outside = frozenset(found.name for found in groups[0].timetable.outside())
            options = self._run(groups, run.stop, outside, residents, run.pieces)
            if options:
                yield outside, options

    @staticmethod
    def _heights(rows: int) -> list[int | None]:
        heights = {-(-rows // count) for count in STRIPE_COUNTS}
        return [None, *sorted(h for h in heights if 1 < h < rows)]

    def _ways_to_leave(self, group: MergedGroup, stop: int, sets: int) -> list[tuple[int, ...]]:
        """States of the outgoing maps; of many maps only prefixes stay."""
        states = [self.lives.states_of_output(found.name, stop) for found in group.outgoing]
        many = sets > _MAXIMUM_SETS_TO_STREAM
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
        groups: list[MergedGroup],
        stop: int,
        sources: frozenset[str],
        residents: list[frozenset[str]],
        pieces: Ints,
    ) -> dict[frozenset[str], list[Option]]:
        """Options of one run, over all stripe heights."""
        first = groups[0]
        members = first.members
        names = [found.name for found in first.timetable.outside()]
        patterns = list(dict.fromkeys(r & sources for r in residents))
        outside = np.array([[n in p for n in names] for p in patterns], bool)
        leave = self._ways_to_leave(first, stop, len(residents))
        going = np.array([[(s != DRAM, s != LOCAL) for s in way] for way in leave], bool)
        going = going.reshape(len(leave), len(first.outgoing), 2)
        everything = floor_bits(self.graph, first)
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
        sizes = self.lives.size_bytes
        stays = [sum(sizes[name] for name in resident_of(out)) for out in outputs]
        fits = local >= 0
        found: dict[frozenset[str], list[Option]] = {}
        for p, pattern in enumerate(patterns):
            options = []
            for q in np.flatnonzero(fits[p].any(axis=1)).tolist():
                here = np.flatnonzero(fits[p, q]) if len(ways) > 1 else _ONLY
                need, more = local[p, q, here], bits[p, q, here]
                if len(here) > 1:
                    keep = pareto(need, more)
                    need, more, here = need[keep], more[keep], here[keep]
                way = tuple(ways[i] for i in here.tolist())
                options.append(Option(members, stop, True, outputs[q], need, more, stays[q], way))
            if options:
                found[pattern] = options
        return found
