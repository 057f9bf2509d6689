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

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.baseline import IMPOSSIBLE
from dataflow_sim.schedule.merging import MergedGroup
from dataflow_sim.schedule.rows import Ints

if TYPE_CHECKING:
    from dataflow_sim.schedule.options import Options

# a run that has not paid for so many layers does not grow further
_PATIENCE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """For each start and stop the bits of the best pieces, by budget of the baseline.

    `floor_bytes` is a memory in which the network moves `floor_bits`.
    """

    pieces: list[list[Ints]]
    floor_bytes: int
    floor_bits: int


def floor_bits(graph: NetworkGraph, group: MergedGroup) -> int:
    """Bits of all maps from outside and to outside through DRAM."""
    into = sum(group.fetched_bits(found) for found in group.timetable.outside())
    out = (graph.tensors[found.name] for found in group.outgoing)
    return into + sum(t.elements * t.bits for t in out)


def find_pieces(options: Options) -> Pieces:
    """Walk over all runs, the last start first."""
    layers = len(options.graph.layers)
    best: list[list[Ints]] = [[] for _ in range(layers + 1)]
    pieces: list[list[Ints]] = [[] for _ in range(layers)]
    # (memory, bits) of the rest of the network with every map resident
    rest = [(IMPOSSIBLE, IMPOSSIBLE)] * layers + [(0, 0)]
    for start in reversed(range(layers)):
        alone = options.baseline.alone[start]
        group = options.group(start, None)
        runs: list[tuple[int, Ints]] = []
        rest[start] = _longer(_all_resident_alone(options, start), rest[start + 1])
        groups = [group]
        idle = 0
        while idle < _PATIENCE:
            groups += [twin for twin in (group.carrying(),) if twin is not None]
            if not all(each.extend() for each in groups):
                break
            stop = group.timetable.stop
            parts = [
                run + best[middle][stop - middle - 1]
                for middle, run in runs
                if stop - middle - 1 < len(best[middle])
            ]
            parts += [alone] if stop == start + 1 else []
            cut = np.min(parts, axis=0) if parts else np.full_like(alone, IMPOSSIBLE)
            needs = [_local_bytes(options, each) for each in groups]
            local, local_resident = (min(each[way] for each in needs) for way in (0, 1))
            bits = int(group.weight_costs()[1][0])
            through = bits + floor_bits(options.graph, group)
            pays = through < int(options.baseline.at(cut, np.array([local]))[0])
            run = np.minimum(cut, options.baseline.point(local, through)) if pays else cut
            pays_here = pays and local_resident <= options.ceiling_bytes
            idle = 0 if pays_here else idle + 1
            if pays or stop == start + 1:
                whole = options.baseline.point(local, through) if pays else alone
                runs.append((stop, np.minimum(whole, alone) if stop == start + 1 else whole))
            if pays_here:
                bits += _unavoidable_bits(options, group)
                need = _held_bytes(options, start, stop) + local_resident
                rest[start] = min(rest[start], _longer((need, bits), rest[stop]))
            pieces[start].append(cut)
            best[start].append(run)
        if not best[start]:
            best[start] = [alone]
    return Pieces(pieces, *rest[0])


def _longer(first: tuple[int, int], rest: tuple[int, int]) -> tuple[int, int]:
    return max(first[0], rest[0]), first[1] + rest[1]


def _held_bytes(options: Options, start: int, stop: int) -> int:
    """Bytes of the maps that live before or behind a run, network inputs excluded."""
    tensors, lives = options.graph.tensors, options.lives
    names = {
        name
        for name in {*lives.live[start], *lives.live[stop]}
        if tensors[name].kind is not TensorKind.INPUT
    }
    return sum(lives.size_bytes[name] for name in names)


def _local_bytes(options: Options, group: MergedGroup) -> tuple[int, int]:
    """A group's local bytes with all outer maps in DRAM, and with all of them resident."""
    tensors, stop = options.graph.tensors, group.timetable.stop
    sources = [
        tensors[found.name].kind is not TensorKind.INPUT for found in group.timetable.outside()
    ]
    stays = [options.lives.last_reader.get(found.name, -1) >= stop for found in group.outgoing]
    outside = np.array([[False] * len(sources), sources], bool)
    going = np.array([[(False, True)] * len(stays), [(stay, True) for stay in stays]], bool)
    going = going.reshape(2, len(stays), 2)
    local = group.table(outside, going, np.zeros(1, np.int64)).local_bytes
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


def _all_resident_alone(options: Options, index: int) -> tuple[int, int]:
    """Memory and bits of a layer alone with every map but network inputs resident."""
    tensors, layer = options.graph.tensors, options.graph.layers[index]
    names = {
        name
        for name in {*options.lives.live[index], *options.lives.live[index + 1]}
        if tensors[name].kind is not TensorKind.INPUT
    }
    stored = frozenset(n for n in layer.outputs if tensors[n].kind is TensorKind.OUTPUT)
    stored |= frozenset(n for n in layer.outputs if n not in names)
    found = options.alone_frontier(index, frozenset(names), stored)
    held = sum(options.lives.size_bytes[name] for name in names)
    return held + int(found.local_bytes[-1]), int(found.dram_bits[-1])
