"""Policies, budget curves and schedules: the door to the search.

Policies name three nested subsets of the schedule space:

layerwise   every layer alone, every map through DRAM
resident    every layer alone; maps may stay in local memory from producer to last reader
merged      runs of layers may be executed together, by rows or bands of them; maps may stay

The curve of a policy holds all its budgets at once.  A point's `local_bytes` is an
allocated height, and the schedule for a memory of S bytes is that of the last point whose
height fits S; so a run at a breakpoint gives exactly its bytes, and one byte less gives the
point before.  Where addresses cost a larger policy a point that a smaller one has, the
smaller one's schedule stands in: a larger space is never worse.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from dataflow_sim.errors import DoesNotFitError, InputError
from dataflow_sim.garbage import without_collection
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.assemble import Assembler
from dataflow_sim.schedule.baseline import Baseline
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.demands import Demand
from dataflow_sim.schedule.lives import DRAM, MapLives, shared_constants
from dataflow_sim.schedule.objectives import DRAM_BITS, Objective
from dataflow_sim.schedule.options import Options
from dataflow_sim.schedule.planner import Planner
from dataflow_sim.schedule.plans import Decision, Plan
from dataflow_sim.schedule.points import Pricer
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.trials import Kinds
from dataflow_sim.schedule.types import MemoryOptions, Schedule
from dataflow_sim.traffic import Reason

POLICIES = ("layerwise", "resident", "merged")
_EVERYTHING = 1 << 60
_NOTHING: frozenset[str] = frozenset()

Progress = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True, eq=False)
class CurvePoint:
    """A breakpoint: its height, its cost, the bytes that it moves by reason, and its plan.

    The cost is the DRAM bytes, or what another objective counts.
    """

    local_bytes: int
    cost: int
    dram_bytes: int
    by_reason: Ints
    plan: Plan
    peak_bytes: int
    _assembler: Assembler

    @property
    def traffic(self) -> dict[Reason, int]:
        """Bytes by reason."""
        return dict(zip(Reason, self.by_reason.tolist(), strict=True))

    @cached_property
    def schedule(self) -> Schedule:
        """The schedule, without larger tiles than it takes."""
        return self._assembler.assemble(self.plan, self.peak_bytes)


class Curve:
    """The budget curve of one network under one policy.

    `points` ascend in local bytes and strictly descend in cost, which is DRAM bytes unless
    another objective was asked for; `thinned` tells what the search left out of its space.
    """

    def __init__(
        self,
        policy: str,
        points: tuple[CurvePoint, ...],
        assembler: Assembler,
        thinned: tuple[str, ...] = (),
    ) -> None:
        self.policy = policy
        self.points = points
        self.assembler = assembler
        self.thinned = thinned

    def point(self, capacity_bytes: int) -> CurvePoint | None:
        """The breakpoint of a local memory; None where the smallest does not fit."""
        place = bisect_right(self.points, capacity_bytes, key=lambda point: point.local_bytes)
        return self.points[place - 1] if place else None

    def schedule(self, capacity_bytes: int) -> Schedule | None:
        """The best schedule in a local memory; None where the smallest does not fit."""
        point = self.point(capacity_bytes)
        if point is None:
            return None
        found = self.assembler.assemble(point.plan, point.peak_bytes, capacity_bytes)
        memory = replace(found.memory, capacity_bytes=capacity_bytes)
        return replace(found, policy=self.policy, memory=memory, thinned=self.thinned)


class _Found(NamedTuple):
    """Points that a search found: local bytes, costs, and how to find their plans."""

    local_bytes: Ints
    costs: Ints
    plans: Callable[[Ints], list[tuple[Plan, Ints]]]


def _layerwise_plan(graph: NetworkGraph) -> Plan:
    return tuple(
        Decision(
            (index,),
            merged=False,
            stripe_rows=None,
            streamed=(),
            outputs=tuple((name, DRAM) for name in layer.outputs),
            resident=frozenset(),
            kept=(),
        )
        for index, layer in enumerate(graph.layers)
    )


@dataclass(slots=True)
class _Search:
    """Curves of one network, the smaller policies' before the larger ones'."""

    graph: NetworkGraph
    memory: MemoryOptions
    progress: Progress
    objective: Objective = DRAM_BITS
    demand: Demand | None = None

    def prepare(self, policy: str) -> tuple[Baseline, Assembler]:
        """What every policy needs."""
        baseline = Baseline(self.graph, self.memory, self.objective)
        lives = MapLives(self.graph, shared_constants(self.graph))
        options = Options(self.graph, self.memory, lives, baseline, _EVERYTHING, may_merge=False)
        return baseline, Assembler(self.graph, policy, self.memory, options)

    def curve(self, policy: str) -> Curve:
        """The curve of a policy."""
        baseline, assembler = self.prepare(policy)
        names = POLICIES[1 : POLICIES.index(policy) + 1]
        fronts = [_layerwise_points(self.graph, baseline)]
        if self.demand is not None:  # which no smaller policy knows
            fronts, names = [], (policy,)
        ceiling = _EVERYTHING
        thinned: dict[str, None] = {}
        floor = self.objective.transfer(compulsory_bytes(self.graph) * self.graph.byte_bits)
        clips = self.demand is None and self.objective.follows_bits
        shared = shared_constants(self.graph)
        for name in names:
            merge = name == "merged"
            for pinned in dict.fromkeys((_NOTHING, shared)):
                like: Options | None = None
                # fewer kinds for themselves, whose addresses may come closer together
                for kinds in Kinds if merge and self.demand is None else (Kinds.PLAIN,):
                    planner = Planner(
                        *(self.graph, self.memory, baseline, merge, ceiling, pinned, self.demand),
                        *(kinds, like),
                    )
                    like = planner.options
                    front = planner.search(self.progress)
                    fronts.append(_Found(front.local_bytes, front.costs, planner.plans.of))
                    thinned.update(dict.fromkeys(planner.thinned if not pinned else ()))
                    if clips and front.costs[-1] <= floor:
                        ceiling = int(front.local_bytes[-1])
        pricer = Pricer(assembler)
        points: tuple[CurvePoint, ...] = ()
        for found in reversed(fronts):
            points = _envelope([*points, *self._points(found, points, pricer)])
        return Curve(policy, points, assembler, tuple(thinned))

    def _points(
        self, found: _Found, known: tuple[CurvePoint, ...], pricer: Pricer
    ) -> list[CurvePoint]:
        """Points, priced, that those already known do not undercut."""
        local = np.array([0, *(point.local_bytes for point in known)])
        costs = np.array([np.iinfo(np.int64).max, *(point.cost for point in known)])
        there = costs[np.searchsorted(local, found.local_bytes, "right") - 1]
        counts_bits = self.objective.counts_bits
        new = np.flatnonzero(
            there > (-(-found.costs // self.graph.byte_bits) if counts_bits else found.costs)
        )
        points = []
        plans = found.plans(new) if len(new) else []
        peaks = [found.local_bytes[new[places]] for _, places in plans]
        priced = pricer.price([(p, each) for (p, _), each in zip(plans, peaks, strict=True)])
        for (plan, mine), own, prices in zip(plans, peaks, priced, strict=True):
            totals = prices.by_reason.sum(axis=1)
            # bits are rounded up by tensor and reason
            cost = totals if counts_bits else found.costs[new[mine]]
            for place, peak in enumerate(own.tolist()):
                points.append(
                    CurvePoint(
                        int(prices.local_bytes[place]),
                        int(cost[place]),
                        int(totals[place]),
                        prices.by_reason[place],
                        plan,
                        peak,
                        pricer.assembler,
                    )
                )
        return points


def _layerwise_points(graph: NetworkGraph, baseline: Baseline) -> _Found:
    plan = _layerwise_plan(graph)
    budgets = baseline.breakpoints()
    return _Found(
        budgets, baseline.total_cost(budgets), lambda points: [(plan, np.arange(len(points)))]
    )


def _envelope(points: list[CurvePoint]) -> tuple[CurvePoint, ...]:
    """The points that no other undercuts, ascending; of equals the first stands."""
    kept: list[CurvePoint] = []
    for point in sorted(points, key=lambda p: (p.local_bytes, p.cost)):
        if not kept or point.cost < kept[-1].cost:
            kept.append(point)
    return tuple(kept)


def budget_curve(
    graph: NetworkGraph,
    memory: MemoryOptions,
    policy: str,
    progress: Progress = no_progress,
    objective: Objective = DRAM_BITS,
    demand: Demand | None = None,
) -> Curve:
    """The budget curve of a network under a named policy.  Raises InputError for others.

    Only `merged` knows demands; the curve is empty where what is demanded fits no memory.
    """
    if policy not in POLICIES:
        raise InputError(f"unknown policy '{policy}'; there are {', '.join(POLICIES)}")
    with without_collection():
        anywhere = replace(memory, capacity_bytes=0)
        return _Search(graph, anywhere, progress, objective, demand).curve(policy)


def schedule_network(
    graph: NetworkGraph,
    memory: MemoryOptions,
    policy: str,
    progress: Progress = no_progress,
    known: Curve | None = None,
    objective: Objective = DRAM_BITS,
) -> Schedule:
    """Schedule a network under a named policy, whose curve may be known.

    Raises InputError for an unknown policy or a memory of no bytes, DoesNotFitError naming
    the most demanding layer when none of the policy's schedules fits.
    """
    if policy not in POLICIES:
        raise InputError(f"unknown policy '{policy}'; there are {', '.join(POLICIES)}")
    if memory.capacity_bytes < 1:
        raise InputError("local memory has 0 bytes; give at least 1 (local_memory.capacity)")
    if policy == "layerwise":
        return _layerwise_schedule(graph, memory)
    curve = known or budget_curve(graph, memory, policy, progress, objective)
    return schedule_on(curve, graph, memory)


def schedule_on(curve: Curve, graph: NetworkGraph, memory: MemoryOptions) -> Schedule:
    """The schedule of a network in one memory, of its curve.  Raises DoesNotFitError."""
    schedule = curve.schedule(memory.capacity_bytes)
    if schedule is None:
        found = _does_not_fit(graph, Baseline(graph, memory), memory.capacity_bytes)
        needed = curve.points[0].local_bytes
        raise DoesNotFitError(found.layer_name, needed, memory.capacity_bytes)
    return schedule


def _layerwise_schedule(graph: NetworkGraph, memory: MemoryOptions) -> Schedule:
    """Every layer alone in one memory, without the rest of the curve."""
    search = _Search(graph, memory, no_progress)
    baseline, assembler = search.prepare("layerwise")
    budgets = baseline.breakpoints()
    place = int(np.searchsorted(budgets, memory.capacity_bytes, "right"))
    if place == 0:
        raise _does_not_fit(graph, baseline, memory.capacity_bytes)
    plan = _layerwise_plan(graph)
    bits = baseline.total_cost(budgets[:place])
    best: tuple[int, int] | None = None
    for peak, moved in zip(budgets[:place][::-1].tolist(), bits[::-1].tolist(), strict=True):
        # each tensor and reason rounds up by itself, so that fewer bits may be more bytes
        if best is not None and -(-moved // graph.byte_bits) > best[0]:
            break
        total = sum(assembler.assemble(plan, peak).traffic_bytes().values())
        best = min(best or (total, peak), (total, peak))
    assert best is not None
    schedule = assembler.assemble(plan, best[1], memory.capacity_bytes)
    return replace(schedule, memory=memory)


def _does_not_fit(graph: NetworkGraph, baseline: Baseline, capacity_bytes: int) -> DoesNotFitError:
    needs = [int(f.local_bytes[0]) for f in baseline.frontiers]
    worst = needs.index(max(needs))
    return DoesNotFitError(graph.layers[worst].name, needs[worst], capacity_bytes)
