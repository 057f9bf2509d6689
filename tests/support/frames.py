"""Frames one after the other, for tests: their totals, and all subsets of what may stand."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.program.instructions import Program
from dataflow_sim.schedule.frames import FrameSchedules, schedule_frames
from dataflow_sim.schedule.points import Pricer
from dataflow_sim.schedule.search import Curve
from dataflow_sim.schedule.standing import PlanCosts, standing_items, with_standing
from dataflow_sim.schedule.types import MemoryOptions, Schedule
from dataflow_sim.traffic import Reason
from tests.support.runs import buffering, proved


def frames_of(
    graph: NetworkGraph, found: Curve, capacity: int, frames: int, double_buffer: bool = False
) -> FrameSchedules:
    """The schedules of some frames in a local memory, on a curve of the same buffering."""
    memory = MemoryOptions(capacity, buffering(double_buffer), 32)
    return schedule_frames(graph, memory, found.policy, frames, known=found)


def moved(schedule: Schedule) -> int:
    """DRAM bytes of a frame."""
    return sum(schedule.traffic_bytes().values())


def total(schedules: FrameSchedules, frames: int) -> int:
    """DRAM bytes of all frames."""
    return moved(schedules.cold) + (frames - 1) * moved(schedules.warm)


def both_proved(graph: NetworkGraph, schedules: FrameSchedules) -> tuple[Program, Program]:
    """The programs of both frames, counted: what stands is fetched once, then never."""
    cold, warm = proved(graph, schedules.cold), proved(graph, schedules.warm)
    assert not cold.stands
    assert cold.leaves == warm.stands == warm.leaves
    first, later = schedules.cold.traffic_bytes(), schedules.warm.traffic_bytes()
    for name in schedules.warm.standing:
        tensor = graph.tensors[name]
        mine = {key.reason: value for key, value in first.items() if key.tensor == name}
        assert mine == {Reason.WEIGHT_FETCH: -(-tensor.elements * tensor.bits // 8)}
        assert all(key.tensor != name for key in later)
    for key in first.keys() | later.keys():
        if key.tensor not in schedules.warm.standing:
            assert first.get(key) == later.get(key)
    return cold, warm


def least_of_all_subsets(graph: NetworkGraph, found: Curve, capacity: int, frames: int) -> int:
    """The fewest bytes of all frames over every plan of a curve and every subset of items."""
    items = standing_items(graph)
    pricer = Pricer(found.assembler)
    best = frames * min(p.dram_bytes for p in found.points if p.local_bytes <= capacity)
    for plan in {id(point.plan): point.plan for point in found.points}.values():
        costs = PlanCosts(found.assembler, plan, items)
        for count in range(1, len(items) + 1):
            for chosen in combinations(items, count):
                names = frozenset(name for item in chosen for name in item.tensors)
                peaks = costs.breakpoints(names, capacity)
                if not len(peaks):
                    continue
                (priced,) = pricer.price([(with_standing(plan, names), peaks)])
                totals = priced.by_reason.sum(axis=1) * frames
                fits = priced.local_bytes <= capacity
                if fits.any():
                    once = sum(item.dram_bytes for item in chosen)
                    best = min(best, int(np.min(totals[fits])) + once)
    return best
