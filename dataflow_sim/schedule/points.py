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
from dataclasses import dataclass, field

import numpy as np

from dataflow_sim.schedule.allocation import Life, resident_heights
from dataflow_sim.schedule.alone import any_problem
from dataflow_sim.schedule.amounts import tiling_amounts
from dataflow_sim.schedule.assemble import Assembler
from dataflow_sim.schedule.plans import Decision, Plan
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.types import LayerSchedule
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
    known: set[int] = field(default_factory=set)
    odd: dict[int, dict[TrafficKey, int]] = field(default_factory=dict)

    def note(self, choice: int, layers: tuple[LayerSchedule, ...]) -> None:
        """Note the traffic of a choice."""
        self.known.add(choice)
        odd: dict[TrafficKey, int] = defaultdict(int)
        for layer in layers:
            for key, bits in layer.traffic_bits.items():
                if bits % 8:
                    odd[key] += bits
                else:
                    self.whole[choice, _PLACE[key.reason]] += bits // 8
        if odd:
            self.odd[choice] = odd


class Pricer:
    """Prices the points of plans of one network."""

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        self._alone: dict[object, _Moved] = {}
        self._merged: dict[object, _Moved] = {}

    def price(self, plan: Plan, peaks: Ints) -> Priced:
        """Heights and traffic of a plan for each of some largest live sets."""
        residents = self.assembler.residents(plan)
        lives = [Life(home.size_bytes, home.first, home.last) for home in residents]
        held = np.zeros(len(plan) + 1, np.int64)
        for size, first, last in lives:
            held[first] += size
            held[last + 1] -= size
        groups = np.zeros((len(plan), len(peaks)), np.int64)
        total = np.zeros((len(peaks), len(_REASONS)), np.int64)
        odd: list[tuple[_Moved, Ints]] = []
        bound: list[Decision] = []
        for number, (decision, taken) in enumerate(zip(plan, np.cumsum(held), strict=False)):
            free = all(self.assembler.independent[index] for index in decision.members)
            if not free:
                bound.append(decision)
            if decision.merged:
                groups[number] = self._merged_heights(decision, peaks - taken)
                choices = np.zeros(len(peaks), np.int64)
                moved = self._merged_traffic(decision) if free else None
            else:
                groups[number], choices, moved = self._alone_group(decision, peaks - taken, free)
            if moved is not None:
                total += moved.whole[choices]
                if moved.odd:
                    odd.append((moved, choices))
        if bound:
            self._add_bound(plan, bound, peaks, held, total, odd)
        if odd:
            _add_odd(total, odd)
        return Priced(resident_heights(lives, groups), total)

    # ------------------------------------------------------------ single groups

    def _alone_group(
        self, decision: Decision, peaks: Ints, free: bool
    ) -> tuple[Ints, Ints, _Moved | None]:
        """A layer alone: its bytes and its place on the frontier by point, and its traffic."""
        (index,) = decision.members
        resident, stored = self.assembler.whereabouts(decision)
        found = self.assembler.alone_frontier(index, resident, stored)
        choices = np.searchsorted(found.local_bytes, peaks, "right") - 1
        assert choices.min() >= 0, f"{self.assembler.graph.layers[index].name}: a plan too small"
        if not free:
            return found.local_bytes[choices], choices, None
        key = (index, resident, stored, decision.kept)
        if key not in self._alone:
            shape = (len(found.local_bytes), len(_REASONS))
            self._alone[key] = _Moved(np.zeros(shape, np.int64))
        moved = self._alone[key]
        new = [place for place in np.unique(choices).tolist() if place not in moved.known]
        if new:
            picked = [found.least(int(found.local_bytes[place])) for place in new]
            tilings = [choice.tiling for choice in picked if choice is not None]
            graph, memory = self.assembler.graph, self.assembler.memory
            problem = any_problem(graph, graph.layers[index], memory, resident, stored)
            amounts = [None] * len(new)
            if isinstance(problem, LayerProblem):
                amounts = list(tiling_amounts(problem, tilings))  # type: ignore[arg-type]
            for place, tiling, amount in zip(new, tilings, amounts, strict=True):
                moved.note(place, self.assembler.alone_schedules(decision, tiling, None, amount))
        return found.local_bytes[choices], choices, moved

    def _merged_heights(self, decision: Decision, peaks: Ints) -> Ints:
        run = self.assembler.group_run(decision)
        height = self.assembler.layout(run).height
        if height <= peaks.min():
            return np.full(len(peaks), height)
        packed = self.assembler.packed_layout(run).height
        return np.where(height <= peaks, height, min(height, packed))

    def _merged_traffic(self, decision: Decision) -> _Moved:
        run = self.assembler.group_run(decision)
        key = (run, decision.kept)
        if key not in self._merged:
            moved = _Moved(np.zeros((1, len(_REASONS)), np.int64))
            history = self.assembler.history()
            moved.note(0, self.assembler.merged_schedules(decision, run, history))
            self._merged[key] = moved
        return self._merged[key]

    # ------------------------------------------------------------ groups that depend on others

    def _add_bound(
        self,
        plan: Plan,
        bound: list[Decision],
        peaks: Ints,
        held: Ints,
        total: Ints,
        odd: list[tuple[_Moved, Ints]],
    ) -> None:
        """Groups that read what others read too: their first reads depend on the others'."""
        taken = dict(zip((decision.members for decision in plan), np.cumsum(held), strict=False))
        columns = []
        for decision in bound:
            choices = np.zeros(len(peaks), np.int64)
            if not decision.merged:
                _, choices, _ = self._alone_group(decision, peaks - taken[decision.members], False)
            columns.append(choices)
        cases, which = np.unique(np.stack(columns), axis=1, return_inverse=True)
        moved = _Moved(np.zeros((cases.shape[1], len(_REASONS)), np.int64))
        for case in range(cases.shape[1]):
            history = self.assembler.history()
            layers: list[LayerSchedule] = []
            for decision, place in zip(bound, cases[:, case].tolist(), strict=True):
                if decision.merged:
                    run = self.assembler.group_run(decision)
                    layers += self.assembler.merged_schedules(decision, run, history)
                    continue
                resident, stored = self.assembler.whereabouts(decision)
                found = self.assembler.alone_frontier(decision.members[0], resident, stored)
                choice = found.least(int(found.local_bytes[place]))
                assert choice is not None
                layers += self.assembler.alone_schedules(decision, choice.tiling, history)
            moved.note(case, tuple(layers))
        total += moved.whole[which.ravel()]
        if moved.odd:
            odd.append((moved, which.ravel()))


def _add_odd(total: Ints, odd: list[tuple[_Moved, Ints]]) -> None:
    """Add what does not fill whole bytes, summed by tensor and reason over all groups."""
    for point in range(len(total)):
        bits: dict[TrafficKey, int] = defaultdict(int)
        for moved, choices in odd:
            for key, more in moved.odd.get(int(choices[point]), {}).items():
                bits[key] += more
        for key, more in bits.items():
            total[point, _PLACE[key.reason]] += -(-more // 8)
