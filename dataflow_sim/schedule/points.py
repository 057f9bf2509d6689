"""Heights and traffic of many points of a curve at once, without making their schedules.

Points of one plan differ in the tilings of layers alone, and those follow from the memory that a
point leaves its group.  What a tiling moves is looked up once per layer; a plan's points are
then sums over arrays.  The numbers are those of the schedules that `assemble` makes
(`tests/property` holds them against each other, and a run counts its own).

Bits are rounded up to bytes for each tensor and reason.  Where a tensor's bits fill whole
bytes in every layer the bytes add up; the others' bits do first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.alone import any_problem
from dataflow_sim.schedule.amounts import Amounts, tiling_amounts
from dataflow_sim.schedule.assemble import Assembler
from dataflow_sim.schedule.frontier import Frontier
from dataflow_sim.schedule.plans import Decision, Plan
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.residents import Sharing, held_bytes, resident_heights, sharing_of
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.types import LayerSchedule, LayerTiling
from dataflow_sim.traffic import Reason, TrafficKey

_REASONS = tuple(Reason)
_PLACE = {reason: place for place, reason in enumerate(_REASONS)}


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """Points of one plan: heights, and bytes by reason (points, reasons in their order)."""

    local_bytes: Ints
    by_reason: Ints


@dataclass(slots=True, eq=False)
class _Moved:
    """What choices of one group move: whole bytes by reason, other bits by tensor and reason."""

    whole: Ints
    byte_bits: int = 8
    known: set[int] = field(default_factory=set)
    odd: dict[int, dict[TrafficKey, int]] = field(default_factory=dict)

    def note(self, choice: int, layers: tuple[LayerSchedule, ...]) -> None:
        """Note the traffic of a choice."""
        self.known.add(choice)
        odd: dict[TrafficKey, int] = defaultdict(int)
        for layer in layers:
            for key, bits in layer.traffic_bits.items():
                if bits % self.byte_bits:
                    odd[key] += bits
                else:
                    self.whole[choice, _PLACE[key.reason]] += bits // self.byte_bits
        if odd:
            self.odd[choice] = odd


class _Case(NamedTuple):
    """A plan's points: their largest live sets, its residents, bytes held by group."""

    plan: Plan
    peaks: Ints
    lives: list[Life]
    sharing: list[Sharing]
    held: list[int]
    groups: Ints
    total: Ints
    odd: list[tuple[_Moved, Ints]]


class Pricer:
    """Prices the points of plans of one network."""

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        self._alone: dict[object, _Moved] = {}
        self._merged: dict[object, _Moved] = {}

    def price(self, plans: list[tuple[Plan, Ints]]) -> list[Priced]:
        """Heights and traffic of plans, each for some largest live sets."""
        cases = [self._case(plan, peaks) for plan, peaks in plans]
        # a layer alone is looked up once for all plans in which its maps are in the same places
        alone: dict[object, list[tuple[_Case, int]]] = defaultdict(list)
        for case in cases:
            bound: list[int] = []
            for number, decision in enumerate(case.plan):
                if not all(self.assembler.independent[index] for index in decision.members):
                    bound.append(number)
                elif decision.merged:
                    moved = self._merged_traffic(decision)
                    _add(case, moved, np.zeros(len(case.peaks), np.int64))
                if decision.merged:
                    room = case.peaks - case.held[number]
                    case.groups[number] = self._merged_heights(decision, room)
                elif not bound or bound[-1] != number:
                    where = self.assembler.whereabouts(decision)
                    alone[decision.members, where, decision.kept].append((case, number))
            if bound:
                self._add_bound(case, bound)
        for found in alone.values():
            self._add_alone(found)
        for case in cases:
            if case.odd:
                _add_odd(case.total, case.odd, self.assembler.memory.byte_bits)
        unit = self.assembler.memory.alignment_bytes
        return [
            Priced(resident_heights(case.lives, case.groups, case.sharing, unit), case.total)
            for case in cases
        ]

    def _case(self, plan: Plan, peaks: Ints) -> _Case:
        residents = self.assembler.residents(plan)
        lives = [Life(home.size_bytes, home.first, home.last) for home in residents]
        sharing = sharing_of(residents, [decision.hands for decision in plan])
        held = held_bytes(lives, len(plan), sharing).tolist()
        groups = np.zeros((len(plan), len(peaks)), np.int64)
        total = np.zeros((len(peaks), len(_REASONS)), np.int64)
        return _Case(plan, peaks, lives, sharing, held, groups, total, [])

    # ------------------------------------------------------------ layers alone

    def _choices(self, decision: Decision, peaks: Ints) -> tuple[Frontier, Ints]:
        """The frontier of a layer alone, and the place on it for each largest live set."""
        found = self.assembler.alone_frontier(
            decision.members[0], *self.assembler.whereabouts(decision)
        )
        choices = np.searchsorted(found.local_bytes, peaks, "right") - 1
        assert choices.min() >= 0, f"layer {decision.members[0]}: the plan leaves too little"
        return found, choices

    def _add_alone(self, cases: list[tuple[_Case, int]]) -> None:
        """The groups of one layer with its maps in the same places, of all plans."""
        (case, number), *_ = cases
        decision = case.plan[number]
        peaks = [case.peaks - case.held[number] for case, number in cases]
        found, choices = self._choices(decision, np.concatenate(peaks))
        moved = self._alone_traffic(decision, found, choices)
        heights = found.local_bytes[choices]
        start = 0
        for (case, number), mine in zip(cases, peaks, strict=True):
            part = slice(start, start + len(mine))
            case.groups[number] = heights[part]
            _add(case, moved, choices[part])
            start += len(mine)

    def _alone_traffic(self, decision: Decision, found: Frontier, choices: Ints) -> _Moved:
        (index,) = decision.members
        where = self.assembler.whereabouts(decision)
        key = (index, where, decision.kept)
        if key not in self._alone:
            shape = (len(found.local_bytes), len(_REASONS))
            self._alone[key] = _Moved(np.zeros(shape, np.int64), self.assembler.memory.byte_bits)
        moved = self._alone[key]
        new = [place for place in np.unique(choices).tolist() if place not in moved.known]
        if new:
            tilings = [_tiling(found, place) for place in new]
            graph, memory = self.assembler.graph, self.assembler.memory
            problem = any_problem(graph, graph.layers[index], memory, *where)
            known: Sequence[tuple[LayerProblem, Amounts] | None] = [None] * len(new)
            if isinstance(problem, LayerProblem):
                known = [(problem, amounts) for amounts in tiling_amounts(problem, tilings)]
            for place, tiling, each in zip(new, tilings, known, strict=True):
                moved.note(place, self.assembler.alone_schedules(decision, tiling, None, each))
        return moved

    # ------------------------------------------------------------ merged groups

    def _merged_heights(self, decision: Decision, peaks: Ints) -> Ints:
        """What the layouts need that `assemble` takes: with no more effort than a peak asks for."""
        run = self.assembler.group_run(decision)
        least, *others = run.packings
        lowest = self.assembler.height(replace(run, packing=least))
        heights = np.full(len(peaks), lowest)
        for packing in others:
            if lowest > peaks.min():
                height = self.assembler.height(replace(run, packing=packing))
                lowest = min(lowest, height)
                heights = np.where(heights > peaks, lowest, heights)
        return heights

    def _merged_traffic(self, decision: Decision) -> _Moved:
        run = self.assembler.group_run(decision)
        key = (run, decision.kept)
        if key not in self._merged:
            moved = _Moved(np.zeros((1, len(_REASONS)), np.int64), self.assembler.memory.byte_bits)
            history = self.assembler.history()
            moved.note(0, self.assembler.merged_schedules(decision, run, history))
            self._merged[key] = moved
        return self._merged[key]

    # ------------------------------------------------------------ groups that depend on others

    def _add_bound(self, case: _Case, bound: list[int]) -> None:
        """Groups that read what others read too: their first reads depend on the others'."""
        columns = []
        for number in bound:
            decision = case.plan[number]
            choices = np.zeros(len(case.peaks), np.int64)
            if not decision.merged:
                found, choices = self._choices(decision, case.peaks - case.held[number])
                case.groups[number] = found.local_bytes[choices]
            columns.append(choices)
        ways, which = np.unique(np.stack(columns), axis=1, return_inverse=True)
        moved = _Moved(
            np.zeros((ways.shape[1], len(_REASONS)), np.int64), self.assembler.memory.byte_bits
        )
        for way in range(ways.shape[1]):
            history = self.assembler.history()
            layers: list[LayerSchedule] = []
            for number, place in zip(bound, ways[:, way].tolist(), strict=True):
                decision = case.plan[number]
                if decision.merged:
                    run = self.assembler.group_run(decision)
                    layers += self.assembler.merged_schedules(decision, run, history)
                    continue
                where = self.assembler.whereabouts(decision)
                found = self.assembler.alone_frontier(decision.members[0], *where)
                tiling = _tiling(found, place)
                layers += self.assembler.alone_schedules(decision, tiling, history)
            moved.note(way, tuple(layers))
        _add(case, moved, which.ravel())


def _tiling(found: Frontier, place: int) -> LayerTiling:
    choice = found.least(int(found.local_bytes[place]))
    assert choice is not None
    return choice.tiling


def _add(case: _Case, moved: _Moved, choices: Ints) -> None:
    """Add what one group's choices move to a plan's points."""
    np.add(case.total, moved.whole[choices], out=case.total)
    if moved.odd:
        case.odd.append((moved, choices))


def _add_odd(total: Ints, odd: list[tuple[_Moved, Ints]], byte_bits: int) -> None:
    """Add what does not fill whole bytes, summed by tensor and reason over all groups."""
    for point in range(len(total)):
        bits: dict[TrafficKey, int] = defaultdict(int)
        for moved, choices in odd:
            for key, more in moved.odd.get(int(choices[point]), {}).items():
                bits[key] += more
        for key, more in bits.items():
            total[point, _PLACE[key.reason]] += -(-more // byte_bits)
