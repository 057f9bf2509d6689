"""The chosen plan with some of its layers grouped otherwise, at its best: what might have been.

A *window* of a plan, some groups that follow each other, gives way to other groups of the same
layers, the *parts*.  Everything outside the window stays as it is, and so does what crosses its
borders: maps that are resident there, maps that DRAM must have.  Inside, each part runs in that
way of the search, and leaves its maps where, the whole window moves fewest bits:

    plan    ──┤ group ├──┤ group ├──┤ group ├──       window: the second and third
    parts   ──┤ group ├──┤ part ├┤ part ├┤ part ├──   maps between them in DRAM, or resident

The best is found by walking over the parts; the state is which maps are resident, and which of
these DRAM has too.  With a limit the walk finds the fewest bits among all whose largest live set
fits, without one the least live set of all.  The plan is then assembled like any other, so that
its bytes and its height are those of a schedule; where addresses cost more than there is, the
limit is lowered by as much.

Assumed: what the plan loads whole in the window is loaded whole there in any case.  Of many maps
between two parts and of many states not all are tried; what is found is then what some schedule
moves, if not the best.

Source: the options and fronts of `options`, the decisions of `plans`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from math import prod
from typing import NamedTuple

from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.assemble import Assembler
from dataflow_sim.schedule.cuts import cuts_along
from dataflow_sim.schedule.frontier import Frontier
from dataflow_sim.schedule.lives import BOTH, DRAM, LOCAL, MapLives
from dataflow_sim.schedule.options import resident_of, stored_of
from dataflow_sim.schedule.plans import Decision, Plan, in_way
from dataflow_sim.schedule.types import Schedule
from dataflow_sim.schedule.ways import Grown, Point, grown, ways

Members = tuple[int, ...]
Names = frozenset[str]
# so often the limit is lowered where addresses cost more than there is
_ATTEMPTS = 6
# more ways than this to leave the maps of a part are thinned out, and so are more states
_MOST_WAYS = 27
_MOST_STATES = 96
# of more maps in both places all stay or all are dropped
_MOST_TO_DROP = 4


@dataclass(frozen=True, slots=True, eq=False)
class Rearranged:
    """A plan with other groups: its schedule, whether that fits, and its least live set.

    Where it does not fit, `need_bytes` is the least live set over all ways, and above the
    capacity; a need within the capacity says that no addresses were found.
    """

    schedule: Schedule
    need_bytes: int
    fits: bool

    @property
    def dram_bytes(self) -> int:
        """DRAM bytes of the whole network."""
        return sum(self.schedule.traffic_bytes().values())


class _Choice(NamedTuple):
    """A way to run a part: bits, the live set with all resident maps, the decision."""

    dram_bits: int
    need_bytes: int
    decision: Decision


class _State(NamedTuple):
    """Maps that are resident between two parts, and which of them DRAM has too."""

    resident: Names
    written: Names


class _Path(NamedTuple):
    """Parts up to some place: bits, the largest live set, decisions."""

    dram_bits: int
    need_bytes: int
    decisions: Plan


@dataclass(slots=True)
class _Window:
    """Parts of a window, and what its surroundings ask for.

    `readers` are the layers behind each part within the window, as bit sets; `keeps` the maps
    that are loaded whole before each part.
    """

    parts: tuple[Members, ...]
    lives: MapLives
    done: int
    behind: list[int]
    keeps: list[tuple[str, ...]]
    start: Names
    leaving: Names
    stored: Names


class Rearranger:
    """Answers what a plan would cost with other groups; equal questions are answered once.

    `peak_bytes` is the plan's largest live set, and `may_merge` False where layers stay alone.
    """

    def __init__(
        self, assembler: Assembler, plan: Plan, peak_bytes: int, capacity: int, may_merge: bool
    ) -> None:
        self.assembler = assembler
        self.options = assembler.options
        self.graph: NetworkGraph = assembler.graph
        self.plan = plan
        self.peak_bytes = peak_bytes
        self.capacity_bytes = capacity
        self.may_merge = may_merge
        self._groups: dict[Members, list[Grown]] = {}
        self._ways: dict[object, list[Point]] = {}
        self._found: dict[object, Rearranged | None] = {}

    def best(self, first: int, last: int, parts: tuple[Members, ...]) -> Rearranged | None:
        """The best schedule with groups [first, last) of the plan replaced by `parts`.

        Where none fits, that of the least live set.  None where some part cannot run at all.
        """
        key = (first, last, parts)
        if key not in self._found:
            self._found[key] = self._best(self._window(first, last, parts), first, last)
        return self._found[key]

    def _best(self, window: _Window, first: int, last: int) -> Rearranged | None:
        limit = self.capacity_bytes
        least = self._walk(window, None)
        if least is None:
            return None
        for _ in range(_ATTEMPTS):
            path = self._walk(window, limit) if limit >= least.need_bytes else None
            if path is None:
                break
            plan = (*self.plan[:first], *path.decisions, *self.plan[last:])
            found = []
            for peak in sorted({limit, max(self.peak_bytes, path.need_bytes)}):
                if peak <= self.capacity_bytes:
                    schedule = self.assembler.assemble(plan, peak)
                    found.append(Rearranged(schedule, path.need_bytes, True))
            fitting = [f for f in found if f.schedule.local_bytes <= self.capacity_bytes]
            if fitting:
                return min(fitting, key=lambda each: each.dram_bytes)
            height = min(each.schedule.local_bytes for each in found)
            limit -= height - self.capacity_bytes
        plan = (*self.plan[:first], *least.decisions, *self.plan[last:])
        peak = max(self.peak_bytes, least.need_bytes)
        schedule = self.assembler.assemble(plan, peak)
        fits = schedule.local_bytes <= self.capacity_bytes
        return Rearranged(schedule, least.need_bytes, fits)

    # ------------------------------------------------------------ the window

    def before(self, number: int) -> Names:
        """Maps that are resident when a group of the plan begins."""
        if number >= len(self.plan):
            return frozenset()
        decision = self.plan[number]
        return decision.resident - resident_of(decision.outputs) - frozenset(decision.kept)

    def _window(self, first: int, last: int, parts: tuple[Members, ...]) -> _Window:
        groups = self.plan[first:last]
        order = [i for decision in self.plan[:first] for i in decision.members]
        done = sum(1 << i for i in order)
        inside = sum(1 << i for part in parts for i in part)
        order += [i for part in parts for i in part]
        order += [i for decision in self.plan[last:] for i in decision.members]
        lives = MapLives(self.graph, self.options.lives.pinned, cuts_along(order))
        behind, rest = [], inside
        for part in parts:
            rest &= ~sum(1 << i for i in part)
            behind.append(rest)
        keeps: list[list[str]] = [[] for _ in parts]
        for decision in groups:
            for name in decision.kept:
                wanted = [i for i in decision.members if name in self.options.reads[i]]
                wanted = wanted or list(decision.members)
                place = next(p for p, part in enumerate(parts) if set(part) & set(wanted))
                keeps[place].append(name)
        stored = [
            name
            for decision in groups
            for name in stored_of(decision.outputs)
            if self._goes_out(name) or lives.readers[name] & ~inside
        ]
        return _Window(
            parts=parts,
            lives=lives,
            done=done,
            behind=behind,
            keeps=[tuple(names) for names in keeps],
            start=self.before(first),
            leaving=self.before(last),
            stored=frozenset(stored),
        )

    def _goes_out(self, name: str) -> bool:
        """Whether a map is a result of the network, or nobody reads it."""
        output = self.graph.tensors[name].kind is TensorKind.OUTPUT
        return output or not self.options.lives.readers.get(name, 0)

    def _walk(self, window: _Window, limit: int | None) -> _Path | None:
        """The best path over the parts: fewest bits within a limit, else the least live set."""

        def rank(path: _Path) -> tuple[int, int]:
            bits, need, _ = path
            return (need, bits) if limit is None else (bits, need)

        written = frozenset(name for name in window.start if self._in_dram(window, name))
        paths = {_State(window.start, written): _Path(0, 0, ())}
        for place in range(len(window.parts)):
            after: dict[_State, _Path] = {}
            for state, path in paths.items():
                for choice in self._choices(window, place, state.resident, limit):
                    decision = choice.decision
                    longer = _Path(
                        path.dram_bits + choice.dram_bits,
                        max(path.need_bytes, choice.need_bytes),
                        (*path.decisions, decision),
                    )
                    for left in self._left(window, place, state, decision):
                        if left not in after or rank(longer) < rank(after[left]):
                            after[left] = longer
            best = sorted(after.items(), key=lambda item: rank(item[1]))
            paths = dict(best[:_MOST_STATES])
        ends = [path for state, path in paths.items() if state.resident == window.leaving]
        return min(ends, key=rank, default=None)

    def _left(
        self, window: _Window, place: int, state: _State, decision: Decision
    ) -> Iterator[_State]:
        """What may still be resident behind a part: all that is of use, less what DRAM has."""
        behind, readers = window.behind[place], window.lives.readers
        wanted = frozenset(
            name
            for name in decision.resident
            if name in window.leaving or readers.get(name, 0) & behind
        )
        both = {name for name, where in decision.outputs if where == BOTH}
        written = wanted & (state.written | both | frozenset(decision.kept))
        able = sorted(written - window.leaving)
        counts = range(len(able) + 1) if len(able) <= _MOST_TO_DROP else (0, len(able))
        for count in counts:
            for dropped in combinations(able, count):
                yield _State(wanted.difference(dropped), written.difference(dropped))

    def _in_dram(self, window: _Window, name: str) -> bool:
        """Whether DRAM has a map from before the window."""
        kind = self.graph.tensors[name].kind
        if kind in (TensorKind.INPUT, TensorKind.WEIGHT):
            return True
        return any(dict(d.outputs).get(name, LOCAL) != LOCAL for d in self.plan)

    # ------------------------------------------------------------ one part

    def _choices(
        self, window: _Window, place: int, state: Names, limit: int | None
    ) -> Iterator[_Choice]:
        """The best way to run a part for each way to leave its maps."""
        members = window.parts[place]
        keeps = tuple(name for name in window.keeps[place] if name not in state)
        there = state | frozenset(keeps)
        tensors = self.graph.tensors
        kept_bits = sum(tensors[name].elements * tensors[name].bits for name in keeps)
        inside = sum(1 << i for i in members)
        made = [name for i in members for name in self.graph.layers[i].outputs]
        readers = window.lives.readers
        leaving = [n for n in made if self._goes_out(n) or readers[n] & ~inside]
        states = [self._states(window, place, name) for name in leaving]
        for way in _ways(states):
            outputs = tuple(zip(leaving, way, strict=True))
            best: _Choice | None = None
            for decision, held, points in self._runs(window, place, outputs, there, keeps):
                found = _pick(points, None if limit is None else limit - held)
                if found is None:
                    continue
                own, bits, chosen, takes = found
                if chosen is not None:
                    halos = self.options.halos_of(decision.members, chosen)
                    decision = in_way(decision, chosen, takes, halos)
                choice = _Choice(bits + kept_bits, own + held, decision)
                least = limit is None
                if best is None or _rank(choice, least) < _rank(best, least):
                    best = choice
            if best is not None:
                yield best

    def _runs(
        self,
        window: _Window,
        place: int,
        outputs: tuple[tuple[str, int], ...],
        there: Names,
        keeps: tuple[str, ...],
    ) -> Iterator[tuple[Decision, int, list[Point]]]:
        """A part alone and merged: decision, bytes of resident maps, (own bytes, bits, way)."""
        members, resident = window.parts[place], there | resident_of(outputs)
        sizes = self.options.size_bytes
        held = sum(sizes[name] for name in resident)
        stored = stored_of(outputs)
        maps = frozenset(
            name
            for i in members
            for name in (*self.options.reads[i], *self.graph.layers[i].outputs)
        )
        if len(members) == 1:
            (index,) = members
            cut = sum(len(part) for part in window.parts[: place + 1]) + window.done.bit_count()
            replaces = None
            if resident_of(outputs):
                replaces = window.lives.overwritten(index, cut, there)
            pair = None if replaces is None else (replaces, self.graph.layers[index].output)
            alone = Decision(members, False, None, (), outputs, resident, keeps, pair)
            shared = 0 if replaces is None else sizes[replaces]
            found = self.assembler.alone_frontier(index, resident & maps, stored)
            yield alone, held - shared, _points(found)
        able = self.options.tables.mergeable
        if self.may_merge and all(able[i] for i in members):
            merged = Decision(members, True, None, (), outputs, resident, keeps)
            behind = window.done | sum(1 << i for part in window.parts[: place + 1] for i in part)
            readers = window.lives.readers
            dying = frozenset(n for n in resident & maps if not readers.get(n, 0) & ~behind)
            ways = self._merged_ways(members, resident & maps, stored, dying)
            yield merged, held, ways

    def _merged_ways(
        self, members: Members, resident: Names, stored: Names, dying: Names
    ) -> list[Point]:
        if members not in self._groups:
            self._groups[members] = grown(self.options, members)
        key = (members, resident, stored, dying)
        if key not in self._ways:
            self._ways[key] = ways(self.options, self._groups[members], resident, stored, dying)
        return self._ways[key]

    def _states(self, window: _Window, place: int, name: str) -> tuple[int, ...]:
        """Where a part may leave a map that it makes."""
        again = bool(window.lives.readers.get(name, 0) & window.behind[place])
        if name in window.leaving:
            return (BOTH,) if name in window.stored else (LOCAL,)
        if name in window.stored:
            return (DRAM, BOTH) if again else (DRAM,)
        several = (window.lives.readers[name] & window.behind[place]).bit_count() > 1
        if several and self.options.lives.may_be_both(name):
            return (DRAM, LOCAL, BOTH)
        return (DRAM, LOCAL)


def _ways(states: list[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """All ways to leave some maps; of many those in which the first stay and the others go."""
    if prod(len(each) for each in states) <= _MOST_WAYS:
        yield from product(*states)
        return
    for count in range(len(states) + 1):
        stays = [each[1] if len(each) > 1 else each[0] for each in states[:count]]
        way = (*stays, *(each[0] for each in states[count:]))
        if count == 0 or len(states[count - 1]) > 1:
            yield way


def _rank(choice: _Choice, least: bool) -> tuple[int, int]:
    bits, need, _ = choice
    return (need, bits) if least else (bits, need)


def _points(found: Frontier) -> list[Point]:
    local, bits = found.local_bytes.tolist(), found.dram_bits.tolist()
    return [(own, moved, None, None) for own, moved in zip(local, bits, strict=True)]


def _pick(points: list[Point], room: int | None) -> Point | None:
    """The point of fewest bits that has room, or without a limit that of fewest bytes."""
    if room is None:
        return min(points, key=lambda point: point[:2], default=None)
    fitting = (point for point in points if point[0] <= room)
    return min(fitting, key=lambda point: (point[1], point[0]), default=None)
