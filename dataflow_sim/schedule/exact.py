"""The exact search: the best schedule in one local memory, with a proof, by integer programming.

The fast search (`planner`) keeps the states of all live maps together, and on wide networks
it keeps only the most promising of them.  Here the same space is an integer program in
which every map has variables of its own, solved by OR-tools (`exact_solver`).

Variables, all 0 or 1, for one memory of S bytes:

    x[a, i]      arc a of `exact_space` is taken by its choice i: which of the maps it reads are
                 local, in which states it leaves its outputs, which point of its front
    h[a, m, s]   map m is local while arc a runs, in state s: in local memory alone, or in both
    k[c, m]      map m is loaded whole at cut c, and stays

Constraints:

    a path       of one arc out of the first cut; as many arcs into each other cut as out
                 of it, one into the last
    maps         at each cut, for each map and state: what comes (held by the arcs into the cut, or
                 left by them as their output) is what goes (held by the arcs out of it).  What is
                 in both places may come and not go (a drop), and may go without having come (k)
    an arc       holds a map that it reads if and only if it was taken by such a choice, any other
                 map only if it was taken, each in one state at most
    memory       sum over other maps of h[a, m, s] bytes(m)  <=  sum over i of x[a, i] room(a, i)

              h[a, m, LOCAL]   cut   h[b, m, LOCAL]
        ── arc a ───────────────●─────────────── arc b ──
              x[a, i] leaves m          x[b, j] finds m local

A map that is in neither state is in DRAM.  What is in local memory alone is held by every arc up to
its last reader, so that an arc that does not find a map local may read it from DRAM.
What is minimised is the sum of the DRAM bits of all x and k, the fast search's cost.

What it proves: no schedule of the space moves fewer bytes than `bound_bytes`: orders, groups,
tilings, stripes, states, as the fast search knows them (0008 says what is left out of it)
and with the fast search's cuts, but without its limit on states.  Memory is the sum of what is
held at once, as in the fast search: a bound for every assignment of addresses.  What it does
not prove: anything about schedules outside the space; `compulsory_bytes` bounds these.  Where
`left_out` says that sets of local maps were left out, the bound is that of the space without them.

Addresses.  The least sum is of use only with addresses below S.  A plan gets them like any
other (`allocation`), and where stacking does not do, from CP-SAT, which places rectangles of
bytes and groups.  Where that finds none either, the groups around what lies too high are
forbidden together and the next best plan is tried; then plans of memories a little smaller than S,
which leave gaps.  The best that has addresses is found so or not; the bound is of the sums, so
that the gap holds either way.  Where nothing better than the fast search's schedule gets
addresses, that one stands.

The solver works with one thread, a fixed seed and a limit that counts its work, not the
clock: same input, same output, for one version of OR-tools.

Source: unit flows with side constraints, cf. Ahuja, Magnanti, Orlin, "Network Flows" (1993),
chapter 16; schedules as paths through cuts as in `cuts`.  The formulation is this project's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from dataflow_sim.errors import InputError
from dataflow_sim.garbage import without_collection
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.results_of_exact import ExactResult
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.baseline import Baseline
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.cuts import find_cuts, prefixes
from dataflow_sim.schedule.exact_model import ExactModel, steps_of
from dataflow_sim.schedule.exact_solver import addresses, check_installed, least
from dataflow_sim.schedule.exact_space import MAXIMUM_SETS, ExactSpace
from dataflow_sim.schedule.lives import MapLives, shared_constants
from dataflow_sim.schedule.options import Options
from dataflow_sim.schedule.plans import Plan
from dataflow_sim.schedule.residents import sharing_of
from dataflow_sim.schedule.search import (
    POLICIES,
    Curve,
    Progress,
    budget_curve,
    no_progress,
    schedule_network,
)
from dataflow_sim.schedule.types import MemoryOptions, Schedule

MAXIMUM_WORK = 86_400
# plans whose addresses are tried
MAXIMUM_PLANS = 4
# memories for which plans are sought whose addresses fit the one there is, in 64ths of it
_SHARES = (64, 63, 62, 61, 60, 58, 56)
_PLACING_WORK = 1.0
# what the search for such plans may take, in times of the proof
_MORE_WORK = 4
_EVERYTHING = 1 << 60


class Solved(NamedTuple):
    """What the solver found in one memory, in DRAM bits.

    `plan`, which has addresses, moves `plan_bits`; it is None where nothing was found that moves
    fewer than what was known.  Without a look at addresses it is `found_bits`, and nothing in the
    space moves fewer than `bound_bits`.  `peak_bytes` is the memory that the plan was made for;
    `crowded` tells that not all sets of local maps were looked at; `size` are the arcs, variables
    and rows of the program.
    """

    plan: Plan | None
    plan_bits: int
    found_bits: int
    bound_bits: int
    peak_bytes: int = 0
    crowded: bool = False
    size: tuple[int, int, int] = (0, 0, 0)


# of a plan for some memory the groups whose addresses do not fit the one there is, with all that
# is tied to them by maps that lie from one to the next
Misplaced = Callable[[Plan, int], range | None]


def solve(
    space: ExactSpace,
    capacity_bytes: int,
    known: tuple[Plan, int],
    floor_bits: int,
    work: float,
    misplaced: Misplaced = lambda plan, peak: None,
) -> Solved:
    """The best plan in a memory, if it moves fewer bits than a known one.

    `known` is a plan that fits, and its bits; `floor_bits` is a number below which nothing is;
    `work` limits the solver's deterministic time.  Where addresses do not fit, the groups that are
    `misplaced` are forbidden together and the next best plan is looked for, `MAXIMUM_PLANS`
    times at most; then the same in a little less memory, whose plans leave gaps, for
    `_MORE_WORK` times the work at most.  Raises InputError without OR-tools.
    """
    bits = known[1]
    always = _pinned_bits(space)
    first: Solved | None = None
    used = 0.0
    for share in _SHARES:
        peak = capacity_bytes * share // _SHARES[0]
        model, crowded = _model(space, peak, known[0])
        for _ in range(MAXIMUM_PLANS):
            found = least(model.program, bits - always, work)
            if first is None:
                size = (len(model.arcs), len(model.program.costs), len(model.program.rows))
                bound = min(bits, max(floor_bits, found.bound + always))
                first = Solved(None, bits, found.cost + always, bound, 0, crowded, size)
            used += found.work
            if found.chosen is None:
                break
            plan = model.plan(found.chosen)
            groups = misplaced(plan, peak)
            if groups is None:
                return first._replace(plan=plan, plan_bits=found.cost + always, peak_bytes=peak)
            model.forbid(found.chosen, groups)
        if first is None or first.found_bits >= bits or used > _MORE_WORK * work:
            break
    assert first is not None
    return first


def _model(space: ExactSpace, capacity_bytes: int, known: Plan) -> tuple[ExactModel, bool]:
    """The program of a memory, with the sets of local maps of a known plan."""
    given = {
        start: [frozenset(decision.resident.intersection(space.may_be_local(start)))]
        for start, _, decision in steps_of(space, known)
    }
    arcs, crowded = space.arcs(capacity_bytes, given)
    return ExactModel(space, arcs), crowded


def _pinned_bits(space: ExactSpace) -> int:
    tensors = [space.options.graph.tensors[name] for name in sorted(space.options.lives.pinned)]
    return sum(tensor.elements * tensor.bits for tensor in tensors)


def _space(
    graph: NetworkGraph, memory: MemoryOptions, policy: str, pinned: frozenset[str]
) -> ExactSpace:
    """The space of a policy in one memory."""
    cuts = prefixes(len(graph.layers)) if pinned else find_cuts(graph)
    anywhere = replace(memory, capacity_bytes=0)
    baseline = Baseline(graph, anywhere)
    lives = MapLives(graph, pinned, cuts)
    options = Options(graph, anywhere, lives, baseline, _EVERYTHING, policy == "merged")
    ceiling = min(options.ceiling_bytes, memory.capacity_bytes)
    options.trials = replace(options.trials, ceiling_bytes=ceiling)
    return ExactSpace(options)


def _bits(schedule: Schedule) -> int:
    return sum(sum(layer.traffic_bits.values()) for layer in schedule.layers)


def _solved(
    graph: NetworkGraph,
    memory: MemoryOptions,
    policy: str,
    known: tuple[Plan, int],
    work: float,
    misplaced: Misplaced,
) -> tuple[Solved, tuple[str, ...]]:
    """The best of all spaces of a policy, and what was left out of them, one sentence each.

    As in the fast search, constants that several layers read like maps are pinned, or not.
    """
    bits = known[1]
    floor_bits = compulsory_bytes(graph) * graph.byte_bits
    if bits <= floor_bits:
        return Solved(None, bits, bits, bits), ()
    left_out: dict[str, None] = {}
    solved = []
    for pinned in dict.fromkeys((frozenset[str](), shared_constants(graph))):
        space = _space(graph, memory, policy, pinned)
        found = solve(space, memory.capacity_bytes, known, floor_bits, work, misplaced)
        solved.append(found)
        cuts = space.options.lives.cuts
        if not (cuts.complete or pinned):
            left_out[f"orders: those along the fast search's {len(cuts.done):,} cuts"] = None
        if found.crowded:
            left_out[
                f"states: of more than {MAXIMUM_SETS} sets of local maps at a cut those of the "
                "first maps alone"
            ] = None
    best = min(solved, key=lambda each: each.plan_bits)
    arcs, variables, rows = (sum(each) for each in zip(*(s.size for s in solved), strict=True))
    return best._replace(
        found_bits=min(each.found_bits for each in solved),
        bound_bits=min(each.bound_bits for each in solved),
        size=(arcs, variables, rows),
    ), tuple(left_out)


def _misplaced(schedule: Schedule, capacity_bytes: int) -> range | None:
    """Groups whose addresses do not fit a memory, and all between them and a place in time at
    which no map lies; None where all fit."""
    groups, residents = schedule.groups, schedule.residents
    above = [n for n, g in enumerate(groups) if g.address + g.local_bytes > capacity_bytes]
    above += [home.first for home in residents if home.address + home.size_bytes > capacity_bytes]
    if not above:
        return None
    crossed = {n for home in residents for n in range(home.first, home.last)}
    first = last = min(above)
    while first - 1 in crossed:
        first -= 1
    while last in crossed:
        last += 1
    return range(first, last + 1)


def _placed(schedule: Schedule, capacity_bytes: int) -> Schedule:
    """A schedule with addresses within a memory, where the solver finds some."""
    if schedule.local_bytes <= capacity_bytes:
        return schedule
    homes = [Life(home.size_bytes, home.first, home.last) for home in schedule.residents]
    groups = [Life(group.local_bytes, n, n) for n, group in enumerate(schedule.groups)]
    sharing = sharing_of(schedule.residents, [group.hands for group in schedule.groups])
    unit = schedule.memory.alignment_bytes
    found = addresses([*homes, *groups], capacity_bytes, _PLACING_WORK, sharing, unit)
    if found is None:
        return schedule
    behind = len(homes)
    return replace(
        schedule,
        residents=tuple(
            replace(home, address=address)
            for home, address in zip(schedule.residents, found[:behind], strict=True)
        ),
        groups=tuple(
            replace(group, address=address)
            for group, address in zip(schedule.groups, found[behind:], strict=True)
        ),
    )


def check_work(policy: str, work: float) -> None:
    """Raise InputError for a policy without a search, or a limit that is none."""
    if policy not in POLICIES[1:]:
        raise InputError(
            f"--exact goes with --policy {' or '.join(POLICIES[1:])}, not with '{policy}': where "
            "every layer is alone and every map in DRAM there is nothing to search"
        )
    if not 0 < work <= MAXIMUM_WORK:
        raise InputError(
            f"--exact-seconds is {work:g}; give a number above 0 and at most {MAXIMUM_WORK:,}"
        )


def schedule_exactly(
    graph: NetworkGraph,
    memory: MemoryOptions,
    policy: str,
    work: float,
    progress: Progress = no_progress,
    known: Curve | None = None,
) -> tuple[Schedule, ExactResult]:
    """The better of the fast and the exact search's schedules in one memory, with what is proved.

    `work` limits the solver, in seconds as it counts its work; the policy's curve may be known.
    Raises InputError for another policy than `resident` and `merged`, a limit that is none, and
    without OR-tools; else as `schedule_network`.
    """
    check_work(policy, work)
    check_installed()
    curve = known or budget_curve(graph, memory, policy, progress)
    fast = schedule_network(graph, memory, policy, progress, curve)
    point = curve.point(memory.capacity_bytes)
    assert point is not None
    capacity = memory.capacity_bytes

    def placed(plan: Plan, peak: int) -> Schedule:
        return _placed(curve.assembler.assemble(plan, peak, capacity), capacity)

    def misplaced(plan: Plan, peak: int) -> range | None:
        return _misplaced(placed(plan, peak), capacity)

    with without_collection():
        known_plan = (point.plan, _bits(fast))
        solved, left_out = _solved(graph, memory, policy, known_plan, work, misplaced)
        taken = fast
        if solved.plan is not None:
            taken = replace(
                placed(solved.plan, solved.peak_bytes), memory=fast.memory, thinned=fast.thinned
            )
    status = "stopped"
    if _bits(taken) <= solved.bound_bits:
        status = "optimal"
    elif solved.found_bits <= solved.bound_bits:
        status = "unplaced"
    arcs, variables, rows = solved.size
    return taken, ExactResult(
        status,
        bound_bytes=-(-solved.bound_bits // graph.byte_bits),
        dram_bytes=sum(taken.traffic_bytes().values()),
        fast_bytes=sum(fast.traffic_bytes().values()),
        found_bytes=-(-solved.found_bits // graph.byte_bits),
        arcs=arcs,
        variables=variables,
        rows=rows,
        left_out=left_out,
    )
