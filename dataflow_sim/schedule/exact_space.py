"""The space of the exact search: what may be done between two cuts in one local memory.

From a cut to a later one (`cuts`) leads an *arc*: the layers between them, which run as one group.
What it costs depends on which of the maps that it reads are local, on how it leaves its
outputs, and on how many bytes of other maps lie beside it.  An arc therefore has *choices*:

    which maps it reads are local, the states of its outputs  ->  DRAM bits,
    and its room: the most bytes of other local maps with which it fits

The fronts are those of `options`, the same that the fast search joins.  Of a front only few
points matter in one memory: the sizes of the maps that may lie beside an arc have few
sums; for each of these sums the cheapest point that leaves so much room is kept, with the
largest sum that it serves as its room.  This loses nothing.

Sets of local maps: all that fit the memory, of at most `MAXIMUM_SETS` at a cut; of more the
empty one and, in the order in which the maps are made, the first one, the first two and so on
(`crowded` then tells), beside sets that are given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.schedule.lives import BOTH, LOCAL
from dataflow_sim.schedule.options import Option, Options
from dataflow_sim.schedule.plans import replaced

MAXIMUM_SETS = 128
# sets asked for at a time: of more, a group may leave its outputs in fewer ways
_SETS_AT_A_TIME = 16
# sums of more maps than this are not told apart
_MAXIMUM_SUMMED = 10

_Outputs = tuple[tuple[str, int], ...]


class Choice(NamedTuple):
    """One way to take an arc.

    `resident` are the maps that it reads and finds local, `cost` its DRAM bits (or what
    another objective counts), `room_bytes` what other local maps may take beside it; it is point
    `place` of the option's front.
    """

    resident: frozenset[str]
    outputs: _Outputs
    cost: int
    room_bytes: int
    option: Option
    place: int


@dataclass(frozen=True, slots=True, eq=False)
class Arc:
    """Layers that run as one group from the cut `start` to the cut `stop`.

    `reads` are the maps alive before it that it reads, `beside` those that it does not; pinned
    constants and maps that are never local are in neither.
    """

    start: int
    stop: int
    members: tuple[int, ...]
    reads: tuple[str, ...]
    beside: tuple[str, ...]
    choices: tuple[Choice, ...]


@dataclass(slots=True)
class ExactSpace:
    """Arcs of one network in any memory; the fronts behind them are looked up once.

    `states[name]` are the states, beside DRAM, in which a map may be anywhere.
    """

    options: Options
    states: dict[str, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        """Look at all maps once."""
        lives = self.options.lives
        names = {name for live in lives.live for name in live} - lives.pinned
        self.states = {name: self._states(name) for name in sorted(names)}

    def _states(self, name: str) -> tuple[int, ...]:
        lives = self.options.lives
        kind = lives.graph.tensors[name].kind
        both = lives.may_be_both(name) and lives.readers[name].bit_count() > 1
        if kind is TensorKind.INPUT:
            return (BOTH,) if both else ()
        if kind is TensorKind.OUTPUT:
            return (BOTH,)
        return (LOCAL, BOTH) if both else (LOCAL,)

    def may_be_local(self, cut: int) -> tuple[str, ...]:
        """Maps alive at a cut that local memory may hold there, pinned ones aside."""
        live = self.options.lives.live[cut]
        return tuple(name for name in live if self.states.get(name))

    def keepable(self, cut: int) -> tuple[str, ...]:
        """Maps that may be loaded whole at a cut and kept: someone reads them now, and later."""
        lives = self.options.lives
        reads: frozenset[str] = frozenset()
        reads = reads.union(*(self.options.reads[i] for i, _ in lives.cuts.steps[cut]))
        return tuple(
            name
            for name in self.may_be_local(cut)
            if name in reads and lives.readers_ahead(name, cut) > 1 and lives.may_be_both(name)
        )

    def arcs(
        self, capacity_bytes: int, given: Mapping[int, Sequence[frozenset[str]]]
    ) -> tuple[list[Arc], bool]:
        """All arcs in a memory; and whether some cut was too crowded for all sets of local maps.

        `given` are further sets of local maps by cut.
        """
        found, crowded = [], False
        for cut in range(len(self.options.lives.cuts.done) - 1):
            sets, all_there = self._sets(cut, capacity_bytes, given.get(cut, ()))
            crowded |= not all_there
            found += self._arcs_of(cut, sets, capacity_bytes)
        return found, crowded

    def _sets(
        self, cut: int, capacity_bytes: int, given: Sequence[frozenset[str]]
    ) -> tuple[list[frozenset[str]], bool]:
        sizes = self.options.size_bytes
        names = [n for n in self.may_be_local(cut) if sizes[n] <= capacity_bytes]
        sets: list[frozenset[str]] = []
        for count in range(len(names) + 1):
            for some in combinations(names, count):
                if sum(sizes[name] for name in some) <= capacity_bytes:
                    sets.append(frozenset(some))
                if len(sets) > MAXIMUM_SETS:
                    firsts = [frozenset(names[:many]) for many in range(len(names) + 1)]
                    return list(dict.fromkeys([*firsts, *given])), False
        return sets, True

    def _arcs_of(self, cut: int, sets: list[frozenset[str]], capacity_bytes: int) -> list[Arc]:
        """The arcs that leave a cut."""
        options, lives = self.options, self.options.lives
        pinned = lives.pinned.intersection(lives.live[cut])
        capacity_bytes -= sum(options.size_bytes[name] for name in pinned)
        ways: dict[int, list[tuple[frozenset[str], Option]]] = {}
        for layer, stop in lives.cuts.steps[cut]:
            for some in dict.fromkeys(each & options.reads[layer] for each in sets):
                for option in options.alone(layer, stop, some | pinned & options.reads[layer]):
                    ways.setdefault(stop, []).append((some, option))
        for first in range(0, len(sets) if options.may_merge else 0, _SETS_AT_A_TIME):
            some_sets = sets[first : first + _SETS_AT_A_TIME]
            for _, by_set in options.merged(cut, some_sets):
                for some, found in by_set.items():
                    for option in found:
                        ways.setdefault(option.stop, []).append((some, option))
        arcs = (self._arc(cut, stop, ways[stop], capacity_bytes) for stop in sorted(ways))
        return [arc for arc in arcs if arc.choices]

    def _arc(
        self, cut: int, stop: int, ways: list[tuple[frozenset[str], Option]], capacity_bytes: int
    ) -> Arc:
        sizes = self.options.size_bytes
        members = ways[0][1].members
        touched = frozenset().union(*(self.options.reads[index] for index in members))
        alive = self.may_be_local(cut)
        beside = tuple(name for name in alive if name not in touched)
        sums = _sums([sizes[name] for name in beside])
        by_way: dict[tuple[frozenset[str], _Outputs], list[Choice]] = {}
        for some, option in ways:
            by_way.setdefault((some, option.outputs), [])
        seen: set[tuple[int, frozenset[str]]] = set()
        for some, option in ways:
            if (id(option), some) in seen:
                continue
            seen.add((id(option), some))
            held = sum(sizes[name] for name in some) + option.output_bytes
            pair = replaced(self.options.lives, option, some)
            room = capacity_bytes - held + (0 if pair is None else sizes[pair[0]])
            by_way[some, option.outputs] += [
                Choice(some, option.outputs, cost, room - local, option, place)
                for place, (local, cost) in enumerate(
                    zip(option.local_bytes.tolist(), option.costs.tolist(), strict=True)
                )
                if local <= room
            ]
        chosen = tuple(c for found in by_way.values() for c in _that_matter(found, sums))
        reads = tuple(name for name in alive if name in touched)
        return Arc(cut, stop, members, reads, beside, chosen)


def _sums(sizes: Sequence[int]) -> list[int] | None:
    """Every sum of some of the sizes, ascending; None of too many."""
    if len(sizes) > _MAXIMUM_SUMMED:
        return None
    found = {0}
    for size in sizes:
        found |= {size + each for each in found}
    return sorted(found)


def _that_matter(choices: list[Choice], sums: list[int] | None) -> Iterator[Choice]:
    """The cheapest choice for each sum that lies beside it, with the largest that it serves."""
    least: int | None = None
    if sums is None:
        sums = sorted({choice.room_bytes for choice in choices})
    ranked = sorted(choices, key=lambda choice: (-choice.room_bytes, choice.cost))
    place = 0
    best: Choice | None = None
    for room in reversed(sums):
        while place < len(ranked) and ranked[place].room_bytes >= room:
            if best is None or ranked[place].cost < best.cost:
                best = ranked[place]
            place += 1
        if best is not None and (least is None or best.cost < least):
            least = best.cost
            yield best._replace(room_bytes=room)
