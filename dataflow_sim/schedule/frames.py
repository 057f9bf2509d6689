"""Frames one after the other: which weights stay in local memory from one to the next.

Model.  N frames run the same schedule.  A set R of weights *stands*: each tensor of it lies whole
in local memory, in its local format, at one address for the whole time.  The first frame is
cold and fetches each of them once, before the first group that uses it; every later frame is warm
and fetches none.

    frame     1 (cold)        2 (warm)        3 (warm)            local memory
    weights   fetch R         -               -                   ├── maps, tiles, rows ──┤
    of R      ├──────────────── stand ────────────────────►       ├── R ──────────────────┤

    DRAM bytes of N frames = N * warm + (bytes of R in DRAM)      cold = warm + (bytes of R)

A layer whose weights stand has no buffer for them and no traffic of theirs; its steps read them
where they lie.  In a merged group they leave the group's own buffers and cost nothing in any
stripe.  What they take, they take of every group.

Search.  Weights stand by *items*: the kernel and the constants of a layer, together with those
of all layers that share one of them.  A plan is what a point of the policy's curve has decided:
order, groups, which maps stay.  At each point the items are ranked by the bytes that they fetch
in a frame for each byte that they hold, of equals once the largest first and once the smallest,
and in a third ranking by size alone, the smallest first; the candidates are the plan with every
prefix of a ranking.  With its set standing a plan is priced anew, in whatever memory the set
leaves.  The best candidate that fits is taken, or no set at all where none is better.

Exact for that space.  Every candidate has a lower bound, arrays over the prefixes: frontiers of
the layers alone in the memory that is left, and for merged groups their largest live set less
the weights that stand.  In the order of the bounds, candidates get addresses until no bound is
below the best total.  Neither plans nor rankings depend on N or on the memory, and a candidate
that fits a memory fits a larger one.  Hence a frame of more frames never costs more on the
average, and more memory never costs.

Assumed: frames do not overlap; what is not R is as it was before the first frame.  Ignored: other
subsets of the items (decision 0019 has how much that is), parts of a tensor, constants read
like maps, plans that are not on the curve because they pay only with a set.

Source: this project's; that weights of small networks stay on chip over frames is common, e.g.
Chen et al., "DaDianNao", MICRO 2014.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dataflow_sim.errors import InputError
from dataflow_sim.garbage import without_collection
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.plans import Plan
from dataflow_sim.schedule.points import Pricer
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.search import (
    Curve,
    Progress,
    budget_curve,
    no_progress,
    schedule_network,
)
from dataflow_sim.schedule.standing import (
    NEVER,
    Item,
    PlanCosts,
    standing_items,
    sums,
    with_standing,
)
from dataflow_sim.schedule.types import MemoryOptions, Schedule

MAXIMUM_FRAMES = 10**9


@dataclass(frozen=True, slots=True)
class FrameSchedules:
    """The schedules of the first frame and of each later one; the same where nothing stands."""

    cold: Schedule
    warm: Schedule


def _bringing(graph: NetworkGraph, plan: Plan, standing: frozenset[str]) -> Plan:
    """A plan in which the weights that stand are loaded, each before the first group it serves."""
    left = set(standing)
    found = []
    for decision in plan:
        used = {name for index in decision.members for name in graph.layers[index].weights}
        now = sorted(used & left)
        left -= used
        found.append(replace(decision, kept=(*decision.kept, *now)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A plan with the first items of a ranking, and the least bits of all frames."""

    bound_bits: int
    held_bytes: int
    costs: PlanCosts
    items: tuple[int, ...]


@dataclass(slots=True)
class _FrameSearch:
    graph: NetworkGraph
    curve: Curve
    items: tuple[Item, ...]
    frames: int
    capacity_bytes: int

    def candidates(self, below_bytes: int) -> list[_Candidate]:
        """Candidates that may move fewer bytes, the most promising first."""
        found: list[_Candidate] = []
        plans: dict[int, tuple[Plan, list[int]]] = {}
        for point in self.curve.points:
            plans.setdefault(id(point.plan), (point.plan, []))[1].append(point.peak_bytes)
        for plan, peaks in plans.values():
            costs = PlanCosts(self.curve.assembler, plan, self.items)
            for ranking in costs.rankings(np.array(peaks, np.int64)):
                found.extend(self._of_ranking(costs, ranking, below_bytes))
        found.sort(key=lambda each: (each.bound_bits, each.held_bytes))
        return found

    def _of_ranking(
        self, costs: PlanCosts, ranking: Ints, below_bytes: int
    ) -> Iterator[_Candidate]:
        order = ranking.tolist()
        once = sums(np.array([self.items[i].dram_bits for i in order], np.int64))
        held = sums(np.array([self.items[i].local_bytes for i in order], np.int64))
        bits = costs.bounds(ranking, self.capacity_bytes)
        fits = np.flatnonzero(bits != NEVER)
        total = self.frames * bits[fits] + once[fits]
        for count, bound in zip(fits.tolist(), total.tolist(), strict=True):
            if count and -(-bound // self.graph.byte_bits) < below_bytes:
                yield _Candidate(bound, int(held[count]), costs, tuple(order[:count]))

    def best(self, below_bytes: int) -> tuple[Plan, frozenset[str], int] | None:
        """Plan, what stands and the memory to give; None if nothing moves fewer bytes."""
        pricer = Pricer(self.curve.assembler)
        best = None
        tried: set[tuple[int, frozenset[int]]] = set()
        for each in self.candidates(below_bytes):
            if -(-each.bound_bits // self.graph.byte_bits) >= below_bytes:
                break
            key = (id(each.costs), frozenset(each.items))
            if key in tried:
                continue
            tried.add(key)
            names = frozenset(name for i in each.items for name in self.items[i].tensors)
            once = sum(self.items[i].dram_bytes for i in each.items)
            plan = with_standing(each.costs.plan, names)
            peaks = np.array([self.capacity_bytes], np.int64)
            (priced,) = pricer.price([(plan, peaks)])
            if priced.local_bytes[0] > self.capacity_bytes or not self._whole_bytes:
                peaks = each.costs.breakpoints(names, self.capacity_bytes)
                (priced,) = pricer.price([(plan, peaks)])
            totals = self.frames * priced.by_reason.sum(axis=1) + once
            totals = np.where(priced.local_bytes <= self.capacity_bytes, totals, NEVER)
            place = int(np.argmin(totals))
            if totals[place] < below_bytes:
                below_bytes = int(totals[place])
                best = (plan, names, int(peaks[place]))
        return best

    @property
    def _whole_bytes(self) -> bool:
        """Whether fewer bits are never more bytes."""
        return all(
            tensor.bits % self.graph.byte_bits == 0 for tensor in self.graph.tensors.values()
        )


def check_frames(frames: int) -> None:
    """Raise InputError for a number of frames that is not 1 or more, or far too large."""
    if not 1 <= frames <= MAXIMUM_FRAMES:
        raise InputError(f"--frames is {frames}; give a number from 1 to {MAXIMUM_FRAMES:,}")


def schedule_frames(
    graph: NetworkGraph,
    memory: MemoryOptions,
    policy: str,
    frames: int,
    progress: Progress = no_progress,
    known: Curve | None = None,
) -> FrameSchedules:
    """Schedule some frames of a network, one after the other, under a named policy.

    The policy's curve may be known.  A single frame is that of `schedule_network`.  Raises what
    `check_frames` and `schedule_network` raise.
    """
    check_frames(frames)
    items = standing_items(graph, memory.alignment_bytes)
    if frames == 1 or not items or memory.capacity_bytes < 1:
        alone = schedule_network(graph, memory, policy, progress, known)
        return FrameSchedules(alone, alone)
    curve = known or budget_curve(graph, memory, policy, progress)
    alone = schedule_network(graph, memory, policy, progress, curve)
    with without_collection():
        search = _FrameSearch(graph, curve, items, frames, memory.capacity_bytes)
        found = search.best(frames * sum(alone.traffic_bytes().values()))
        if found is None:
            return FrameSchedules(alone, alone)
        plan, names, peak = found

        def schedule(plan: Plan, warm: bool) -> Schedule:
            made = curve.assembler.assemble(plan, peak, memory.capacity_bytes)
            return replace(
                made,
                policy=policy,
                memory=memory,
                standing=names,
                warm=warm,
                thinned=curve.thinned,
            )

        cold = schedule(_bringing(graph, plan, names), warm=False)
        return FrameSchedules(cold, schedule(plan, warm=True))
