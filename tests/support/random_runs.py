"""Random networks under random circumstances, and everything that must hold of them.

One seed draws the network, the memory, what is asked of the schedule, and which of the checks
is made; the same seed is the same case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

import pytest

from dataflow_sim.errors import DoesNotFitError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.part import part_of
from dataflow_sim.graph.passes import Precision
from dataflow_sim.graph.pooling import Pooler
from dataflow_sim.program.banks import in_banks
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.demands import Demand, Kernels
from dataflow_sim.schedule.frames import schedule_frames
from dataflow_sim.schedule.objectives import OBJECTIVES, Rates
from dataflow_sim.schedule.search import POLICIES, Curve, budget_curve, schedule_network
from dataflow_sim.schedule.standing import standing_items
from dataflow_sim.schedule.tile_regions import tile_obstacle
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import Buffering, Halo, MemoryOptions, PlaneTile, bytes_taken
from dataflow_sim.simulate.banks import check_banks as in_banks_apart
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.occupancy import occupancy
from tests.support.frames import both_proved
from tests.support.random_networks import draw
from tests.support.replayed_cases import (
    SINGLE_PRECISION,
    Case,
    frame,
    moved_bytes,
    on_machine,
    replayed,
)
from tests.support.runs import proved


def some_buffering(random: Random) -> Buffering:
    """Single buffers, double ones, or each as it comes."""
    if random.randrange(3):
        return Buffering(*(random.randrange(2) > 0,) * 4)
    return Buffering(*(random.randrange(2) > 0 for _ in range(4)))


def some_widths(random: Random) -> Precision:
    """Bits of kernels, maps and sums: real numbers, those of most machines, or odd ones."""
    way = random.randrange(6)
    if way < 2:
        return SINGLE_PRECISION
    local = random.choice((None, None, 8, 16))
    if way < 4:
        return Precision(8, random.choice((8, 8, 16)), 32)
    if way < 5:
        return Precision(4, random.choice((4, 8)), random.choice((24, 32)), local_weight_bits=local)
    # running sums of a map, which take no more than these, are exact in the narrowest
    weights, maps = (random.choice((1, 2, 3, 5, 7, 12)) for _ in range(2))
    return Precision(weights, maps, random.choice((20, 27, 45)), local_weight_bits=local)


def drawn_case(random: Random) -> Case:
    """A network, now and then a part of one on integers, and a machine."""
    model, pooler = draw(random).model, random.choice(list(Pooler))
    widths, accumulators = some_widths(random), random.choice((None, None, None, 4, 100, 3000))
    unit, doubled = random.choice((1, 1, 1, 2, 4, 16, 64)), some_buffering(random)
    memory = MemoryOptions(0, doubled, widths.accumulator_bits, accumulators, unit)
    case = on_machine(model, memory, pooler, random.randrange(3) > 0, widths)
    if case.single_precision or random.randrange(8) or not case.graph.layers:
        return case
    first, last = sorted(random.choices(range(1, len(case.graph.layers) + 1), k=2))
    return replace(case, graph=part_of(case.graph, f"{first}:{last}"))


def some_budget(found: Curve, random: Random) -> int:
    """A local memory: at a breakpoint, between two, or one in which everything fits."""
    heights = [point.local_bytes for point in found.points]
    place = random.randrange(len(heights))
    ways = (heights[0], heights[place], random.randint(heights[place], heights[-1] + 50))
    return random.choice((*ways, heights[-1] * 2))


def check_policies(case: Case, random: Random) -> None:
    """Every policy in one memory, the largest in several: counted, ordered and replayed."""
    found = budget_curve(case.graph, case.memory, "merged")
    capacity = some_budget(found, random)
    memory = replace(case.memory, capacity_bytes=capacity)
    before: int | None = None
    for policy in POLICIES:
        known = found if policy == "merged" else None
        try:
            schedule = schedule_network(case.graph, memory, policy, known=known)
        except DoesNotFitError:
            # a larger policy fits where a smaller one does
            assert before is None
            assert policy != "merged"
            continue
        moved = moved_bytes(schedule)
        assert compulsory_bytes(case.graph) <= moved
        assert before is None or moved <= before
        before = moved
        replayed(case, schedule, proved(case.graph, schedule))
    point = found.point(capacity)
    assert point is not None
    assert point.dram_bytes == before
    for budget in {some_budget(found, random) for _ in range(2)} - {capacity}:
        other = found.schedule(budget)
        assert other is not None
        replayed(case, other, proved(case.graph, other))


def check_breakpoint(case: Case, random: Random) -> None:
    """A breakpoint needs all of its bytes: with one less it is the point before."""
    policy = random.choice(POLICIES)
    found = budget_curve(case.graph, case.memory, policy)
    heights = [point.local_bytes for point in found.points]
    moved = [point.dram_bytes for point in found.points]
    assert heights == sorted(set(heights))
    assert moved == sorted(set(moved), reverse=True)
    place = random.randrange(len(heights))
    at = replace(case.memory, capacity_bytes=heights[place])
    schedule = schedule_network(case.graph, at, policy)
    program = proved(case.graph, schedule)
    assert moved_bytes(schedule) == moved[place]
    replayed(case, schedule, program)
    short = replace(at, capacity_bytes=heights[place] - 1)
    if place:
        assert moved_bytes(schedule_network(case.graph, short, policy)) == moved[place - 1]
    elif heights[place] > 1:
        with pytest.raises(DoesNotFitError):
            schedule_network(case.graph, short, policy)


def some_demand(graph: NetworkGraph, memory: MemoryOptions, random: Random) -> Demand | None:
    """Layers in a row that run as one group, more often than not by tiles of the plane."""
    tables = RowTables(graph, memory)
    first = random.randrange(len(graph.layers))
    members = range(first, min(len(graph.layers), first + random.randint(1, 6)))
    while members and not all(tables.mergeable[index] for index in members):
        members = members[:-1]
    kernels = random.choice((Kernels.BEST, Kernels.BEST, *Kernels))
    tiled = members
    while tiled and tile_obstacle(graph, tables, tuple(tiled)) is not None:
        tiled = tiled[:-1]
    if tiled and random.randrange(5):
        _, _, height, width = graph.layers[tiled[-1]].output_shape
        tile = PlaneTile(random.randint(1, height), random.randint(1, width))
        return Demand(tuple(tiled), tile, random.choice([None, *Halo]), kernels)
    return Demand(tuple(members), kernels=kernels) if members else None


def check_demand(case: Case, random: Random) -> None:
    """A group that is asked for, in some way, in some memory."""
    demand = some_demand(case.graph, case.memory, random)
    if demand is None:
        return
    found = budget_curve(case.graph, case.memory, "merged", demand=demand)
    if not found.points:
        return
    schedule = found.schedule(some_budget(found, random))
    assert schedule is not None
    assert demand.members in [tuple(sorted(g.members)) for g in schedule.groups]
    program = proved(case.graph, schedule)
    assert compulsory_bytes(case.graph) <= moved_bytes(schedule)
    replayed(case, schedule, program)


def check_frames(case: Case, random: Random) -> None:
    """A cold frame and two warm ones behind it, with weights that stay."""
    found = budget_curve(case.graph, case.memory, random.choice(POLICIES))
    held = sum(item.local_bytes for item in standing_items(case.graph))
    capacity = some_budget(found, random) + random.randint(0, held)
    memory = replace(case.memory, capacity_bytes=capacity)
    count = random.choice((2, 50))
    schedules = schedule_frames(case.graph, memory, found.policy, count, known=found)
    if schedules.warm is schedules.cold:
        replayed(case, schedules.cold, proved(case.graph, schedules.cold))
        return
    cold, warm = both_proved(case.graph, schedules)
    if case.executes(schedules.cold):
        result = frame(case, cold, seed=2)
        for seed in (3, 4):
            result = frame(case, warm, seed, result)


def check_banks(case: Case, random: Random) -> None:
    """What each step uses lies in banks apart, where the program finds addresses so."""
    found = budget_curve(case.graph, case.memory, random.choice(POLICIES))
    schedule = found.schedule(some_budget(found, random))
    assert schedule is not None
    banks = random.choice((2, 3, 4, 8, 16))
    size = bytes_taken(8 * -(-schedule.local_bytes // banks), case.memory.alignment_bytes)
    size += random.choice((0, 64, 512))
    memory = replace(schedule.memory, capacity_bytes=size * banks)
    schedule = replace(schedule, memory=memory)
    program = in_banks(proved(case.graph, schedule), size)
    if program is None:
        return
    in_banks_apart(program, size)
    assert count(program).traffic_bytes() == schedule.traffic_bytes()
    assert occupancy(program).peak_bytes <= memory.capacity_bytes
    replayed(case, schedule, program)


def some_rates(graph: NetworkGraph, random: Random) -> Rates:
    """A machine's energies and times."""

    def some() -> tuple[float, ...]:
        return tuple(random.choice((0.0, 1e-9, 3e-8)) for _ in graph.layers)

    picojoule = tuple(1e12 * each for each in some())
    return Rates(random.choice((0.0, 10.0)), 1e-9, random.choice((0.0, 0.5)), some(), picojoule)


def check_objectives(case: Case, random: Random) -> None:
    """Any objective: counted, and executed."""
    names = OBJECTIVES[random.choice(sorted(OBJECTIVES))]
    objective = random.choice(names(some_rates(case.graph, random)))
    policy = random.choice(POLICIES[1:])
    found = budget_curve(case.graph, case.memory, policy, objective=objective)
    schedule = found.schedule(some_budget(found, random))
    assert schedule is not None
    program = proved(case.graph, schedule)
    assert compulsory_bytes(case.graph) <= moved_bytes(schedule)
    replayed(case, schedule, program)


_CHECKS: Mapping[Callable[[Case, Random], None], int] = {
    check_policies: 5,
    check_demand: 4,
    check_objectives: 1,
    check_breakpoint: 2,
    check_frames: 2,
    check_banks: 2,
}


def check(seed: int) -> None:
    """Draw a case and check it; what fails says the seed."""
    random = Random(seed)
    what = "drawing"
    try:
        case = drawn_case(random)
        if not case.graph.layers:
            return
        (check,) = random.choices(list(_CHECKS), list(_CHECKS.values()))
        what = check.__name__
        check(case, random)
    except BaseException as error:
        error.add_note(f"{what} of tests.support.random_runs.check({seed})")
        raise
