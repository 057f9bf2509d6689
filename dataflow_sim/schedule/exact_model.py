"""The integer program of `exact`: its variables and rows, and the plan of a solution."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from dataflow_sim.schedule.exact_program import IntegerProgram
from dataflow_sim.schedule.exact_space import Arc, ExactSpace
from dataflow_sim.schedule.lives import DRAM, LOCAL
from dataflow_sim.schedule.plans import Decision, Plan, decided


@dataclass(slots=True, eq=False)
class ExactModel:
    """The integer program of one memory, with its variables by arc, map, state and cut."""

    space: ExactSpace
    arcs: list[Arc]
    program: IntegerProgram = field(default_factory=IntegerProgram)
    taken: list[list[int]] = field(init=False)
    held: list[dict[tuple[str, int], int]] = field(init=False)
    loaded: dict[tuple[int, str], int] = field(init=False)

    def __post_init__(self) -> None:
        """Make all variables and rows."""
        new, space = self.program.variable, self.space
        self.taken = [[new(choice.cost) for choice in arc.choices] for arc in self.arcs]
        self.held = [
            {
                (name, state): new()
                for name in (*arc.reads, *arc.beside)
                for state in space.states[name]
            }
            for arc in self.arcs
        ]
        self.loaded = {
            (cut, name): new(self._load_cost(name))
            for cut in range(self._last)
            for name in space.keepable(cut)
        }
        self._add_path()
        self._add_maps()
        for number in range(len(self.arcs)):
            self._add_arc(number)

    @property
    def _last(self) -> int:
        return len(self.space.options.lives.cuts.done) - 1

    def _load_cost(self, name: str) -> int:
        options = self.space.options
        tensor = options.graph.tensors[name]
        return options.baseline.objective.transfer(tensor.elements * tensor.bits)

    def _add_path(self) -> None:
        """One path from the first cut to the last."""
        into: dict[int, list[int]] = defaultdict(list)
        out: dict[int, list[int]] = defaultdict(list)
        for arc, choices in zip(self.arcs, self.taken, strict=True):
            out[arc.start] += choices
            into[arc.stop] += choices
        self.program.equal(out[0], (), 1)
        for cut in range(1, self._last):
            self.program.equal(out[cut], into[cut])
        self.program.equal(into[self._last], (), 1)

    def _add_maps(self) -> None:
        """What comes to a cut goes on from it, map by map and state by state."""
        come: dict[tuple[int, str, int], list[int]] = defaultdict(list)
        go: dict[tuple[int, str, int], list[int]] = defaultdict(list)
        for arc, choices, held in zip(self.arcs, self.taken, self.held, strict=True):
            for (name, state), variable in held.items():
                come[arc.stop, name, state].append(variable)
                go[arc.start, name, state].append(variable)
            for choice, variable in zip(arc.choices, choices, strict=True):
                for name, state in choice.outputs:
                    if state != DRAM:
                        come[arc.stop, name, state].append(variable)
        for cut in range(self._last):
            for name in self.space.may_be_local(cut):
                for state in self.space.states[name]:
                    comes, goes = come[cut, name, state], go[cut, name, state]
                    if state == LOCAL:
                        self.program.equal(comes, goes)
                        continue
                    if (cut, name) in self.loaded:
                        comes = [*comes, self.loaded[cut, name]]
                    self.program.at_most(goes, comes)

    def _add_arc(self, number: int) -> None:
        """What an arc holds goes with the choice by which it is taken, and fits beside it."""
        arc, choices, held = self.arcs[number], self.taken[number], self.held[number]
        states, sizes = self.space.states, self.space.options.size_bytes
        for name in arc.reads:
            finds = [
                variable
                for choice, variable in zip(arc.choices, choices, strict=True)
                if name in choice.resident
            ]
            self.program.equal([held[name, state] for state in states[name]], finds)
        for name in arc.beside:
            self.program.at_most([held[name, state] for state in states[name]], choices)
        most = sum(sizes[name] for name in arc.beside)
        if any(choice.room_bytes < most for choice in arc.choices):
            self.program.fits(
                [(held[n, state], sizes[n]) for n in arc.beside for state in states[n]],
                [
                    (variable, choice.room_bytes)
                    for choice, variable in zip(arc.choices, choices, strict=True)
                ],
            )

    def _path(self, chosen: frozenset[int]) -> Iterator[tuple[int, int]]:
        """Number of each arc taken and of its choice, in order."""
        taken = {
            arc.start: (number, choice)
            for number, arc in enumerate(self.arcs)
            for choice, variable in enumerate(self.taken[number])
            if variable in chosen
        }
        cut = 0
        while cut != self._last:
            yield taken[cut]
            cut = self.arcs[taken[cut][0]].stop

    def forbid(self, chosen: frozenset[int], groups: range) -> None:
        """Not these groups of a solution together again, by their places in its order."""
        path = list(self._path(chosen))
        taken = [self.taken[path[place][0]][path[place][1]] for place in groups]
        self.program.not_all(taken)

    def plan(self, chosen: frozenset[int]) -> Plan:
        """The plan of the variables that are 1."""
        lives = self.space.options.lives
        found = []
        for number, place in self._path(chosen):
            arc, choice = self.arcs[number], self.arcs[number].choices[place]
            cut, option = arc.start, choice.option
            resident = lives.pinned.intersection(lives.live[cut]).union(
                name for (name, _), variable in self.held[number].items() if variable in chosen
            )
            kept = [n for n in self.space.keepable(cut) if self.loaded[cut, n] in chosen]
            found.append(decided(lives, option, choice.place, resident, kept))
        return tuple(found)


def steps_of(space: ExactSpace, plan: Plan) -> Iterator[tuple[int, int, Decision]]:
    """The cuts before and behind each group of a plan, as far as the space has these cuts."""
    number = {done: cut for cut, done in enumerate(space.options.lives.cuts.done)}
    done = 0
    for decision in plan:
        start = number.get(done)
        done |= sum(1 << index for index in decision.members)
        stop = number.get(done)
        if start is not None and stop is not None:
            yield start, stop, decision
