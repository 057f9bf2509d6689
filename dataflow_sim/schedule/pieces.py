"""A first walk over all runs: what merging each must beat, and the most memory worth looking at.

A run merged as a whole, with whatever maps resident, must beat its *pieces* in the same
memory: the best way to cut it into layers alone and smaller merged groups with DRAM
between them.  The pieces would profit from resident maps at least as much as the whole, so
a run that does not beat them cannot win.

With every map resident, and runs merged or not, some memory suffices for the compulsory
traffic; the least such memory over all partitions is found by the same walk, as a path whose
largest need is least.  More memory than that cannot lower the traffic any further.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.baseline import IMPOSSIBLE
from dataflow_sim.schedule.merging import Groups, MergedGroup
from dataflow_sim.schedule.rows import Ints

if TYPE_CHECKING:
    from dataflow_sim.schedule.options import Options

# a run that has not paid for so many layers does not grow further
_PATIENCE = 4


class Run(NamedTuple):
    """A run between two cuts and the bits of its best pieces, by budget of the baseline.

    It is the run number `parent` of the same start (-1: no layer at all) with one `layer` more.
    """

    parent: int
    layer: int
    stop: int
    pieces: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The runs that begin at each cut, shorter ones first.

    `floor_bytes` is a memory in which the network moves `floor_bits`.
    """

    runs: list[list[Run]]
    floor_bytes: int
    floor_bits: int


def floor_bits(graph: NetworkGraph, group: MergedGroup) -> int:
    """Bits of all maps from outside and to outside through DRAM."""
    into = sum(group.fetched_bits(found) for found in group.timetable.outside())
    out = (graph.tensors[found.name] for found in group.outgoing)
    return into + sum(t.elements * t.bits for t in out)


class _Walk:
    """The walk over all runs, the last start first.

    `best` holds for each start the bits of the best pieces up to each stop, the whole
    run among them, `rest` (memory, bits) of the rest of the network with every map resident.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.cuts = options.lives.cuts
        last = len(self.cuts.done) - 1
        self.best: list[dict[int, Ints]] = [{} for _ in range(last + 1)]
        self.runs: list[list[Run]] = [[] for _ in range(last + 1)]
        self._facts: dict[Hashable, _Facts] = {}
        self.rest = [(IMPOSSIBLE, IMPOSSIBLE)] * last + [(0, 0)]

    def walk(self, start: int) -> None:
        """Find the runs of one start; those of all cuts behind it are known."""
        options, baseline = self.options, self.options.baseline
        # runs that are worth their memory, as first piece of longer ones
        first: dict[int, Ints] = {}
        for layer, stop in self.cuts.steps[start]:
            first[stop] = self.best[start][stop] = baseline.alone[layer]
            after = _longer(_all_resident_alone(options, layer, start, stop), self.rest[stop])
            self.rest[start] = min(self.rest[start], after)
        runs = self.runs[start]
        groups = Groups(options.group)
        idle = [0]
        wave: list[tuple[int, int, tuple[int, ...]]] = [(-1, start, ())]
        while wave:
            longer = []
            for parent, layer, stop, members in _grown(options, wave, set(self.best[start])):
                alone = stop in first and parent < 0
                cut = first[stop] if alone else self._pieces(first, stop)
                runs.append(Run(parent, layer, stop, cut))
                pays_here, run = self._whole(start, stop, groups, members, cut)
                if run is not None and not alone:
                    first[stop] = run
                elif run is not None:
                    first[stop] = np.minimum(run, first[stop])
                self.best[start][stop] = cut if run is None else np.minimum(cut, run)
                idle.append(0 if pays_here else idle[parent + 1] + 1)
                if idle[-1] < _PATIENCE:
                    longer.append((len(runs) - 1, stop, members))
            wave = longer

    def _pieces(self, first: dict[int, Ints], stop: int) -> Ints:
        parts = [
            run + self.best[middle][stop]
            for middle, run in first.items()
            if stop in self.best[middle]
        ]
        return (
            np.min(parts, axis=0) if parts else np.full_like(next(iter(first.values())), IMPOSSIBLE)
        )

    def _whole(
        self, start: int, stop: int, groups: Groups, members: tuple[int, ...], cut: Ints
    ) -> tuple[bool, Ints | None]:
        """Whether a run pays below the ceiling, and its bits as a whole if it pays at all."""
        options = self.options
        shape = options.shapes.of(members)
        stays = tuple(options.lives.readers_ahead(name, stop) > 0 for name in shape.outgoing)
        key = (shape.key, stays)
        if key not in self._facts:
            self._facts[key] = _facts(options, groups, members, stays)
        facts = self._facts[key]
        everything = np.array([facts.weight_bits + facts.floor_bits])
        through = int(options.baseline.objective.cost(members, everything)[0])
        if through >= int(options.baseline.at(cut, np.array([facts.local_bytes]))[0]):
            return False, None
        pays_here = facts.resident_bytes <= options.ceiling_bytes
        if pays_here:
            bits = facts.weight_bits + facts.unavoidable_bits
            need = _held_bytes(options, start, stop) + facts.resident_bytes
            self.rest[start] = min(self.rest[start], _longer((need, bits), self.rest[stop]))
        return pays_here, options.baseline.point(facts.local_bytes, through)


class _Facts(NamedTuple):
    """Of groups of one shape: local bytes with all outer maps in DRAM, and with all of them
    resident; bits of weights, of all outer maps, and of network inputs and outputs alone."""

    local_bytes: int
    resident_bytes: int
    weight_bits: int
    floor_bits: int
    unavoidable_bits: int


def _facts(
    options: Options, groups: Groups, members: tuple[int, ...], stays: tuple[bool, ...]
) -> _Facts:
    """Look at a group as it is and, where that differs, with running reductions."""
    group = groups.group(members, None, False)
    both = [group]
    if any(options.tables.running[index] is not None for index in members):
        both.append(groups.group(members, None, True))
    needs = [_local_bytes(options, each, stays) for each in both]
    local, resident = (min(each) for each in zip(*needs, strict=True))
    bits = int(group.weight_costs([()])[1][0])
    floor, unavoidable = floor_bits(options.graph, group), _unavoidable_bits(options, group)
    return _Facts(local, resident, bits, floor, unavoidable)


def _grown(
    options: Options, wave: list[tuple[int, int, tuple[int, ...]]], known: set[int]
) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
    """Every run of one layer more than those given: parent, layer, stop and all layers."""
    for parent, cut, members in wave:
        for layer, stop in options.lives.cuts.steps[cut]:
            if options.tables.mergeable[layer] and (parent < 0 or stop not in known):
                known.add(stop)
                yield parent, layer, stop, tuple(sorted((*members, layer)))


def find_pieces(options: Options) -> Pieces:
    """Walk over all runs, the last start first."""
    found = _Walk(options)
    for start in reversed(range(len(found.cuts.done) - 1)):
        found.walk(start)
    return Pieces(found.runs, *found.rest[0])


def _longer(first: tuple[int, int], rest: tuple[int, int]) -> tuple[int, int]:
    return max(first[0], rest[0]), first[1] + rest[1]


def _held_bytes(options: Options, start: int, stop: int) -> int:
    """Bytes of the maps that live at the cuts before or behind a run, network inputs excluded."""
    tensors, lives = options.graph.tensors, options.lives
    names = {
        name
        for name in {*lives.live[start], *lives.live[stop]}
        if tensors[name].kind is not TensorKind.INPUT
    }
    return sum(options.size_bytes[name] for name in names)


def _local_bytes(options: Options, group: MergedGroup, stays: tuple[bool, ...]) -> tuple[int, int]:
    """A group's local bytes with all outer maps in DRAM, and with all of them resident."""
    tensors = options.graph.tensors
    sources = [
        tensors[found.name].kind is not TensorKind.INPUT for found in group.timetable.outside()
    ]
    outside = np.array([[False] * len(sources), sources], bool)
    going = np.array([[(False, True)] * len(stays), [(stay, True) for stay in stays]], bool)
    going = going.reshape(2, len(stays), 2)
    local = group.table(outside, going, [()]).local_bytes
    return int(local[0, 0, 0]), int(local[1, 1, 0])


def _unavoidable_bits(options: Options, group: MergedGroup) -> int:
    """Bits of network inputs and outputs that a group moves with all other maps resident."""
    tensors = options.graph.tensors
    into = sum(
        group.fetched_bits(found)
        for found in group.timetable.outside()
        if tensors[found.name].kind is TensorKind.INPUT
    )
    out = (tensors[found.name] for found in group.timetable.produced())
    return into + sum(t.elements * t.bits for t in out if t.kind is TensorKind.OUTPUT)


def _all_resident_alone(options: Options, index: int, start: int, stop: int) -> tuple[int, int]:
    """Memory and bits of a layer alone with every map but network inputs resident."""
    tensors, layer = options.graph.tensors, options.graph.layers[index]
    names = {
        name
        for name in {*options.lives.live[start], *options.lives.live[stop]}
        if tensors[name].kind is not TensorKind.INPUT
    }
    stored = frozenset(n for n in layer.outputs if tensors[n].kind is TensorKind.OUTPUT)
    stored |= frozenset(n for n in layer.outputs if n not in names)
    found = options.alone_frontier(index, frozenset(names), stored)
    held = sum(options.size_bytes[name] for name in names)
    return held + int(found.local_bytes[-1]), int(found.dram_bits[-1])
