"""What a plan costs while some weights stand: lower bounds by prefix of a ranking, and rankings.

A layer alone has two frontiers, without its weights standing and with; it takes the best that
the memory left over allows.  A merged group has a largest live set and bits that fall by
what its own buffers hold of each item, and what it fetches of it.  `frames` has the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.assemble import Assembler
from dataflow_sim.schedule.frontier import Frontier
from dataflow_sim.schedule.layout import GroupLayout
from dataflow_sim.schedule.lives import layer_reads
from dataflow_sim.schedule.plans import Decision, Plan
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.types import bytes_taken

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Item:
    """Weights that stand together: bytes that they hold, bits and bytes that fetch them once."""

    tensors: tuple[str, ...]
    local_bytes: int
    dram_bits: int
    dram_bytes: int


def standing_items(graph: NetworkGraph, alignment_bytes: int = 1) -> tuple[Item, ...]:
    """The weights of every layer, those of layers that share some together.

    Weights that some layer also reads like a map are left out, with all that belong to them.
    """
    owner: dict[str, set[str]] = {}
    for layer in graph.layers:
        together = set(layer.weights)
        for name in layer.weights:
            together |= owner.get(name, set())
        owner.update(dict.fromkeys(together, together))
    mapped = frozenset().union(*map(layer_reads, graph.layers))
    found = []
    for names in {id(names): names for names in owner.values()}.values():
        if names & mapped:
            continue
        tensors = [graph.tensors[name] for name in sorted(names)]
        bits = [tensor.elements * tensor.bits for tensor in tensors]
        held = sum(
            bytes_taken(t.elements * t.local_bits, alignment_bytes, graph.byte_bits)
            for t in tensors
        )
        moved = sum(-(-each // graph.byte_bits) for each in bits)
        found.append(Item(tuple(sorted(names)), held, sum(bits), moved))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Alone:
    """A layer alone: its frontiers without and with its item standing, bytes of maps that stay."""

    item: int
    taken: int
    apart: Frontier
    standing: Frontier


@dataclass(frozen=True, slots=True)
class _Merged:
    """A merged group: its largest live set, what the items hold of it at most, and fetch."""

    taken: int
    live_bytes: int
    held: Ints
    bits: int
    fetched_bits: Ints


class PlanCosts:
    """What a plan costs with any items standing: lower bounds, and what rankings need."""

    def __init__(self, assembler: Assembler, plan: Plan, items: Sequence[Item]) -> None:
        self.assembler = assembler
        self.plan = plan
        self.items = items
        self.item_of = {name: i for i, item in enumerate(items) for name in item.tensors}
        held = assembler.held(plan)
        self.kept_bits = 0
        self.alone: list[_Alone] = []
        self.merged: list[_Merged] = []
        for number, decision in enumerate(plan):
            taken = held[number]
            if decision.merged:
                self.merged.append(self._merged(decision, taken))
            else:
                self.alone.append(self._alone(decision, taken))
                kept = [assembler.graph.tensors[name] for name in decision.kept]
                self.kept_bits += sum(tensor.elements * tensor.bits for tensor in kept)

    def _alone(self, decision: Decision, taken: int) -> _Alone:
        (index,) = decision.members
        weights = self.assembler.graph.layers[index].weights
        found = [self.item_of[name] for name in weights if name in self.item_of]
        apart = self.assembler.alone_frontier(index, *self.assembler.whereabouts(decision))
        if not found:
            return _Alone(-1, taken, apart, apart)
        there = replace(decision, resident=decision.resident.union(weights))
        standing = self.assembler.alone_frontier(index, *self.assembler.whereabouts(there))
        return _Alone(found[0], taken, apart, standing)

    def _merged(self, decision: Decision, taken: int) -> _Merged:
        run = self.assembler.group_run(decision)
        layout = self.assembler.layout(run)
        layers = self.assembler.merged_schedules(decision, run, self.assembler.history())
        fetched = np.zeros(len(self.items), np.int64)
        total = 0
        for layer in layers:
            for key, bits in layer.traffic_bits.items():
                total += bits
                if key.tensor in self.item_of:
                    fetched[self.item_of[key.tensor]] += bits
        return _Merged(taken, _live_peak(layout), self._held(layout), total, fetched)

    def _held(self, layout: GroupLayout) -> Ints:
        """What the buffers of each item hold of a group at a time, at most."""
        found = np.zeros(len(self.items), np.int64)
        seen = set()
        for held, life in zip(layout.held, layout.lives, strict=True):
            slot = (held.tensor, held.layer, held.number)
            if held.layer >= 0 and held.tensor in self.item_of and slot not in seen:
                seen.add(slot)
                found[self.item_of[held.tensor]] += life.size_bytes
        return found

    def rankings(self, peaks: Ints) -> Ints:
        """The rankings of the items at some points of the plan, each once: (rankings, items)."""
        fetched = np.zeros((len(peaks), len(self.items)), np.int64)
        for group in self.merged:
            fetched += group.fetched_bits
        alone = iter(self.alone)
        for decision in self.plan:
            if not decision.merged:
                self._add_fetched(fetched, decision, next(alone), peaks)
        held = np.array([item.local_bytes for item in self.items], np.int64)
        ratio = fetched / held
        number = np.broadcast_to(np.arange(len(held)), ratio.shape)
        found = [
            np.lexsort((number, np.broadcast_to(size, ratio.shape), -ratio), axis=1)
            for size in (-held, held)
        ]
        found.append(np.lexsort((number, -ratio, np.broadcast_to(held, ratio.shape)), axis=1))
        return np.unique(np.concatenate(found), axis=0)

    def _add_fetched(self, fetched: Ints, decision: Decision, group: _Alone, peaks: Ints) -> None:
        """Add the bits of its item that a layer alone fetches at each point."""
        if group.item < 0:
            return
        frontier = group.apart
        places = np.searchsorted(frontier.local_bytes, peaks - group.taken, "right") - 1
        weights = self.items[group.item].tensors
        for place in np.unique(places).tolist():
            choice = frontier.least(int(frontier.local_bytes[place]))
            assert choice is not None
            (layer,) = self.assembler.alone_schedules(decision, choice.tiling, None)
            bits = sum(v for key, v in layer.traffic_bits.items() if key.tensor in weights)
            fetched[places == place, group.item] += bits

    def bounds(self, ranking: Ints, capacity_bytes: int) -> Ints:
        """The least bits of a warm frame with each prefix of a ranking; NEVER if it cannot fit."""
        count = len(ranking)
        held = sums(np.array([self.items[i].local_bytes for i in ranking.tolist()], np.int64))
        rank = np.full(len(self.items) + 1, count)
        rank[ranking] = np.arange(count)
        room = capacity_bytes - held
        bits = np.full(count + 1, self.kept_bits)
        fits = room >= 0
        for group in self.alone:
            border = int(rank[group.item]) + 1
            for part, frontier in (
                (slice(0, border), group.apart),
                (slice(border, None), group.standing),
            ):
                left = room[part] - group.taken
                place = np.searchsorted(frontier.local_bytes, left, "right") - 1
                fits[part] &= place >= 0
                bits[part] += frontier.dram_bits[place]
        for merged in self.merged:
            bits += merged.bits - sums(merged.fetched_bits[ranking])
            fits &= merged.live_bytes - sums(merged.held[ranking]) <= room - merged.taken
        return np.where(fits, bits, NEVER)

    def breakpoints(self, standing: frozenset[str], capacity_bytes: int) -> Ints:
        """Memories, the largest within the capacity, at which something gets better."""
        plan = with_standing(self.plan, standing)
        held = self.assembler.held(plan)
        least, found = 0, [np.array([capacity_bytes], np.int64)]
        for number, decision in enumerate(plan):
            taken = held[number]
            if decision.merged:
                height = self.assembler.layout(self.assembler.group_run(decision)).height
                found.append(np.array([height + taken], np.int64))
                continue
            whereabouts = self.assembler.whereabouts(decision)
            frontier = self.assembler.alone_frontier(decision.members[0], *whereabouts)
            found.append(frontier.local_bytes + taken)
            least = max(least, int(found[-1][0]))
        every = np.unique(np.concatenate(found))
        return every[(every >= least) & (every <= capacity_bytes)]


def sums(values: Ints) -> Ints:
    """Sums of the first 0, 1, 2, ... values."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])


def _live_peak(layout: GroupLayout) -> int:
    """The most bytes of a group that live at one time."""
    change = np.zeros(len(layout.firings) + 1, np.int64)
    sizes, first, last = np.array(layout.lives, np.int64).reshape(-1, 3).T
    np.add.at(change, first, sizes)
    np.add.at(change, last + 1, -sizes)
    return int(np.cumsum(change).max())


def with_standing(plan: Plan, standing: frozenset[str]) -> Plan:
    """A plan while some weights stand."""
    return tuple(replace(each, resident=each.resident | standing) for each in plan)
