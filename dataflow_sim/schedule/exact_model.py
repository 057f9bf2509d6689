"""The integer program of `exact`: its variables, its constraints, its start, its solution."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataflow_sim.schedule.exact_space import Arc, ExactSpace
from dataflow_sim.schedule.lives import BOTH, DRAM, LOCAL
from dataflow_sim.schedule.merging import FINEST
from dataflow_sim.schedule.options import resident_of
from dataflow_sim.schedule.plans import Decision, Plan, replaced

if TYPE_CHECKING:
    from ortools.sat.python.cp_model import CpModel, CpSolver, IntVar


@dataclass(slots=True, eq=False)
class ExactModel:
    """The integer program of one memory: its variables by arc, map, state and cut."""

    space: ExactSpace
    arcs: list[Arc]
    model: CpModel
    taken: list[list[IntVar]]
    held: list[dict[tuple[str, int], IntVar]]
    loaded: dict[tuple[int, str], IntVar]

    def variables(self) -> Iterator[IntVar]:
        """All variables, in the order in which they were made."""
        for choices in self.taken:
            yield from choices
        for held in self.held:
            yield from held.values()
        yield from self.loaded.values()


def exact_model(space: ExactSpace, arcs: list[Arc], model: CpModel) -> ExactModel:
    """The integer program in an empty model."""
    taken = [[model.new_bool_var("") for _ in arc.choices] for arc in arcs]
    held = [
        {
            (name, state): model.new_bool_var("")
            for name in (*arc.reads, *arc.beside)
            for state in space.states[name]
        }
        for arc in arcs
    ]
    cuts = range(len(space.options.lives.cuts.done))
    loaded = {
        (cut, name): model.new_bool_var("") for cut in cuts[:-1] for name in space.keepable(cut)
    }
    made = ExactModel(space, arcs, model, taken, held, loaded)
    _add_path(made)
    _add_maps(made)
    for number in range(len(arcs)):
        _add_arc(made, number)
    _add_cost(made)
    return made


def _add_path(made: ExactModel) -> None:
    """One path from the first cut to the last."""
    last = len(made.space.options.lives.cuts.done) - 1
    into: dict[int, list[IntVar]] = defaultdict(list)
    out: dict[int, list[IntVar]] = defaultdict(list)
    for arc, choices in zip(made.arcs, made.taken, strict=True):
        out[arc.start] += choices
        into[arc.stop] += choices
    made.model.add_exactly_one(out[0])
    made.model.add_exactly_one(into[last])
    for cut in range(1, last):
        made.model.add(sum(into[cut]) == sum(out[cut]))


def _add_maps(made: ExactModel) -> None:
    """What comes to a cut goes on from it, map by map and state by state."""
    space, model = made.space, made.model
    come: dict[tuple[int, str, int], list[IntVar]] = defaultdict(list)
    go: dict[tuple[int, str, int], list[IntVar]] = defaultdict(list)
    for arc, choices, held in zip(made.arcs, made.taken, made.held, strict=True):
        for (name, state), var in held.items():
            come[arc.stop, name, state].append(var)
            go[arc.start, name, state].append(var)
        for choice, var in zip(arc.choices, choices, strict=True):
            for name, state in choice.outputs:
                if state != DRAM:
                    come[arc.stop, name, state].append(var)
    for cut in range(len(space.options.lives.cuts.done) - 1):
        for name in space.may_be_local(cut):
            for state in space.states[name]:
                comes, goes = sum(come[cut, name, state]), sum(go[cut, name, state])
                if state == LOCAL:
                    model.add(comes == goes)
                elif (cut, name) in made.loaded:
                    model.add(goes <= comes + made.loaded[cut, name])
                else:
                    model.add(goes <= comes)


def _add_arc(made: ExactModel, number: int) -> None:
    """What an arc holds goes with the choice by which it is taken, and fits beside it."""
    arc, choices, held = made.arcs[number], made.taken[number], made.held[number]
    model, states = made.model, made.space.states
    for name in arc.reads:
        finds = [
            var for choice, var in zip(arc.choices, choices, strict=True) if name in choice.resident
        ]
        model.add(sum(held[name, state] for state in states[name]) == sum(finds))
    for name in arc.beside:
        model.add(sum(held[name, state] for state in states[name]) <= sum(choices))
    sizes = made.space.options.lives.size_bytes
    most = sum(sizes[name] for name in arc.beside)
    if any(choice.room_bytes < most for choice in arc.choices):
        lies = sum(sizes[name] * held[name, s] for name in arc.beside for s in states[name])
        room = sum(c.room_bytes * var for c, var in zip(arc.choices, choices, strict=True))
        model.add(lies <= room)


def _add_cost(made: ExactModel) -> None:
    """What arcs and loads cost is to be least."""
    objective = made.space.options.baseline.objective
    tensors = made.space.options.graph.tensors
    terms = [
        choice.cost * var
        for arc, choices in zip(made.arcs, made.taken, strict=True)
        for choice, var in zip(arc.choices, choices, strict=True)
    ]
    for (_, name), var in made.loaded.items():
        bits = tensors[name].elements * tensors[name].bits
        terms.append(objective.transfer(bits) * var)
    made.model.minimize(sum(terms))


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


def add_hint(made: ExactModel, plan: Plan) -> None:
    """Start the solver from a known plan, as far as the space has it."""
    found: set[int] = set()
    state = dict.fromkeys(made.space.states, DRAM)
    place = {(arc.start, arc.stop): number for number, arc in enumerate(made.arcs)}
    for start, stop, decision in steps_of(made.space, plan):
        number = place.get((start, stop))
        if number is None:
            continue
        arc, held = made.arcs[number], made.held[number]
        for name in (*arc.reads, *arc.beside):
            if name not in decision.resident:
                state[name] = DRAM
            elif state[name] == DRAM:
                state[name] = BOTH
                if (start, name) in made.loaded:
                    found.add(made.loaded[start, name].index)
            if (name, state[name]) in held:
                found.add(held[name, state[name]].index)
        fitting = _choices_like(made.space, arc, decision)
        if fitting:
            found.add(made.taken[number][min(fitting)[1]].index)
        state.update(decision.outputs)
    for var in made.variables():
        made.model.add_hint(var, var.index in found)


def _choices_like(space: ExactSpace, arc: Arc, decision: Decision) -> list[tuple[int, int]]:
    """Costs and numbers of the choices that find and leave the maps as a decision does."""
    sizes = space.options.lives.size_bytes
    finds = decision.resident.intersection(arc.reads)
    lies = sum(sizes[name] for name in arc.beside if name in decision.resident)
    return [
        (choice.cost, number)
        for number, choice in enumerate(arc.choices)
        if (choice.resident, choice.outputs) == (finds, decision.outputs)
        and choice.room_bytes >= lies
    ]


def plan_of(made: ExactModel, solver: CpSolver) -> Plan:
    """The plan of a solution."""
    lives = made.space.options.lives
    found = []
    taken = {
        arc.start: (number, i)
        for number, arc in enumerate(made.arcs)
        for i, var in enumerate(made.taken[number])
        if solver.boolean_value(var)
    }
    cut, last = 0, len(lives.cuts.done) - 1
    while cut != last:
        number, i = taken[cut]
        arc = made.arcs[number]
        choice = arc.choices[i]
        option = choice.option
        pinned = lives.pinned.intersection(lives.live[cut])
        resident = pinned.union(
            name for (name, _), var in made.held[number].items() if solver.boolean_value(var)
        )
        kept = [n for n in made.space.keepable(cut) if solver.boolean_value(made.loaded[cut, n])]
        way = option.ways[int(option.places[choice.place])] if option.merged else FINEST
        found.append(
            Decision(
                option.members,
                option.merged,
                way.stripe_rows,
                tuple(option.members[place] for place in way.streamed),
                option.outputs,
                resident | resident_of(option.outputs),
                (*kept, *lives.pinned_by(option.members)),
                option.takes if way.in_place else replaced(lives, option, resident),
                way.running,
            )
        )
        cut = arc.stop
    return tuple(found)
