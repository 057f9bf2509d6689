"""Alignment of local addresses: sizes in whole units, addresses at multiples, counts as ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import prod
from random import Random

import numpy as np
import pytest

from dataflow_sim.errors import DoesNotFitError, ProgramError, ScheduleError
from dataflow_sim.explanation import group_on
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.program.instructions import Alloc, Join, Memory, Program, Split
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.baseline import Baseline
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.exact import schedule_exactly
from dataflow_sim.schedule.frames import schedule_frames
from dataflow_sim.schedule.planner import Planner
from dataflow_sim.schedule.residents import Sharing, place_residents
from dataflow_sim.schedule.search import POLICIES, budget_curve, schedule_network
from dataflow_sim.schedule.types import DOUBLE, SINGLE, MemoryOptions, Schedule, bytes_taken
from dataflow_sim.simulate.occupancy import occupancy
from dataflow_sim.simulate.replay import replay
from tests.support.curves import curve, moved_bytes, two_convolutions
from tests.support.frames import both_proved
from tests.support.runs import Case, buffering, case, case_of, outputs_of, proved
from tests.support.small import SMALL

SLOW = pytest.mark.slow
UNITS = (2, 16, 64)
QUICK = {("squeeze_excite", 16), ("depthwise", 64)}
EVERYTHING = 1 << 60


def graph_of(name: str, bits: int = 8) -> NetworkGraph:
    return assign_precision(graph_from_model(SMALL[name](), name), Precision(bits, bits, 32))


def allocated(program: Program) -> Iterator[Alloc]:
    """Every buffer that a program ever has."""
    yield from (standing.alloc for standing in (*program.stands, *program.leaves))
    for each in program.instructions:
        if isinstance(each, Alloc):
            yield each
        elif isinstance(each, Split):
            yield from each.parts
        elif isinstance(each, Join):
            yield each.whole


def aligned(graph: NetworkGraph, schedule: Schedule) -> Program:
    """A proved program all of whose buffers lie as they must: no byte more than alignment asks."""
    unit = schedule.memory.alignment_bytes
    program = proved(graph, schedule)
    for buffer in allocated(program):
        here = unit if buffer.memory is Memory.LOCAL else 1
        least = (prod(buffer.shape) * buffer.bits + 7) // 8
        assert buffer.address % here == 0
        assert buffer.size_bytes == least + -least % here
    return program


def computes(found: Case, program: Program) -> None:
    """The network's own output."""
    result = replay(program, found.graph, found.inputs)
    output = outputs_of(found.graph, result.tensors, found.expected)["output"]
    scale = np.abs(found.expected).max()
    np.testing.assert_allclose(output, found.expected, rtol=1e-3, atol=1e-3 * scale)


def test_whole_units() -> None:
    assert [bytes_taken(bits, 1) for bits in (0, 1, 8, 9)] == [0, 1, 1, 2]
    assert [bytes_taken(bits, 16) for bits in (0, 1, 128, 129)] == [0, 16, 16, 32]
    bits = np.arange(2000)
    for unit in (1, 2, 64):
        by_hand = [next(n for n in range(0, 400, unit) if 8 * n >= b) for b in bits.tolist()]
        assert bytes_taken(bits, unit).tolist() == by_hand
    for unit in (0, -2, 48):
        with pytest.raises(ValueError, match="no power of two"):
            MemoryOptions(0, SINGLE, 32, alignment_bytes=unit)


@pytest.mark.parametrize(
    ("unit", "row_a", "row_b"), [(1, 576, 544), (64, 576, 576), (256, 768, 768)]
)
def test_two_convolutions_by_hand(unit: int, row_a: int, row_b: int) -> None:
    """36x36x16 -> 34x34x16 -> 32x32x16: three rows of either map and both kernels at a time."""
    graph, kernel = two_convolutions(), 16 * 16 * 9
    assert kernel % unit == 0
    least = 3 * row_a + 3 * row_b + 2 * kernel
    found = curve(graph, "merged", alignment_bytes=unit)
    assert moved_bytes(found, least) == 41_728 < moved_bytes(found, least - 1)
    schedule = found.schedule(least)
    assert schedule is not None
    assert schedule.local_bytes == least
    aligned(graph, schedule)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        pytest.param(name, unit, marks=[] if (name, unit) in QUICK else SLOW)
        for name in sorted(SMALL)
        for unit in UNITS
    ],
)
def test_small_networks(name: str, unit: int) -> None:
    """At some points of every curve: counts, addresses, n and n - 1, and the network's output."""
    found, double = case(name), (len(name) + unit) % 4 == 0
    for policy in POLICIES:
        curve_of = curve(found.graph, policy, double, unit)
        points = curve_of.points
        assert all(point.local_bytes % unit == 0 for point in points)
        for place in sorted({0, len(points) // 2, len(points) - 1}):
            point = points[place]
            schedule = curve_of.schedule(point.local_bytes)
            assert schedule is not None
            assert schedule.local_bytes <= point.local_bytes
            assert sum(schedule.traffic_bytes().values()) == point.dram_bytes
            program = aligned(found.graph, schedule)
            # what does not make up a unit is of no use
            above = curve_of.schedule(point.local_bytes + unit - 1)
            below = curve_of.schedule(point.local_bytes - 1)
            assert above is not None
            assert sum(above.traffic_bytes().values()) == point.dram_bytes
            assert (below is None) == (place == 0)
            if below is not None:
                moved = sum(below.traffic_bytes().values())
                assert moved == points[place - 1].dram_bytes > point.dram_bytes
        computes(found, program)


@pytest.mark.parametrize("name", ["padded_chain", pytest.param("residual", marks=SLOW)])
def test_sums_apart_are_not_aligned(name: str) -> None:
    graph, odd = graph_of(name, bits=3), 0
    for double in (SINGLE, DOUBLE):
        memory = MemoryOptions(0, double, 20, 90, 16)
        found = budget_curve(graph, memory, "layerwise")
        for point in found.points[:: max(1, len(found.points) // 8)]:
            schedule = found.schedule(point.local_bytes)
            assert schedule is not None
            buffers = allocated(aligned(graph, schedule))
            odd += sum(b.memory is not Memory.LOCAL and b.size_bytes % 16 > 0 for b in buffers)
    assert odd


def test_the_least_memory_works_and_one_byte_less_does_not() -> None:
    graph = graph_of("padded_chain")
    for policy in POLICIES[:2]:
        least = curve(graph, policy, alignment_bytes=64).points[0].local_bytes
        memory = MemoryOptions(least, SINGLE, 32, alignment_bytes=64)
        aligned(graph, schedule_network(graph, memory, policy))
        with pytest.raises(DoesNotFitError) as caught:
            schedule_network(graph, replace(memory, capacity_bytes=least - 1), policy)
        assert (caught.value.needed_bytes, least % 64) == (least, 0)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "padded_chain",
        *(pytest.param(n, marks=SLOW) for n in ("decoder", "pooled_classifier", "residual")),
        pytest.param("squeeze_excite", marks=SLOW),
    ],
)
def test_more_alignment_never_lowers_traffic(name: str, double: bool) -> None:
    """In the same memory; of merged groups and maps that stay by their live sets, since addresses
    may come closer together where sizes are rounder."""
    graph = graph_of(name, bits=3)
    fronts = []
    for unit in (1, *UNITS):
        memory = MemoryOptions(0, buffering(double), 32, alignment_bytes=unit)
        baseline, found = Baseline(graph, memory), []
        for merged in (False, True):
            planner = Planner(graph, memory, baseline, merged, EVERYTHING)
            front = planner.search(lambda done, total: None)
            assert not planner.thinned
            assert (front.local_bytes % unit == 0).all()
            found.append((front.local_bytes, front.costs))
        budgets = baseline.breakpoints()
        found.append((budgets, baseline.total_cost(budgets)))
        fronts.append(found)
    for finer, coarser in pairwise(fronts):
        for (before, fewer), (local, bits) in zip(finer, coarser, strict=True):
            place = np.searchsorted(before, local, "right") - 1
            assert (place >= 0).all()
            assert (fewer[place] <= bits).all()
    assert not np.array_equal(fronts[0][1][0], fronts[-1][1][0])


def even() -> Case:
    """Rows of 128, 192 and 256 bytes."""
    net = OnnxBuilder("even", (1, 4, 8, 8))
    left = net.activation("l.relu", net.convolution("l", "input", 4, 1))
    right = net.activation("r.relu", net.convolution("r", "input", 8, 3))
    joined = net.concat("cat", [left, right])
    down = net.pool("AveragePool", "down", joined, 3, 2, 1)
    value = net.convolution("after", joined, 4, 3, stride=2)
    return case_of(net.model(net.concat("out", [value, down])), "even")


def test_rows_are_handed_over_only_in_whole_units() -> None:
    """Rows of 128 bytes take each other's places up to an alignment of as much, and no further."""
    found = even()
    for unit in (16, 128, 256):
        curve_of = curve(found.graph, "merged", alignment_bytes=unit)
        handing = [
            point
            for point in curve_of.points
            if any(decision.hands is not None for decision in point.plan)
        ]
        assert bool(handing) == (unit <= 128)
        for point in handing[:1]:
            schedule = curve_of.schedule(point.local_bytes)
            assert schedule is not None
            for hands in (group.hands for group in schedule.groups if group.hands is not None):
                assert hands.distance_bytes % unit == 0
            program = aligned(found.graph, schedule)
            assert any(isinstance(each, Join) for each in program.instructions)
            computes(found, program)


@pytest.mark.parametrize("seed", range(40))
def test_places_of_maps_and_groups_are_multiples(seed: int) -> None:
    random = Random(seed)
    unit, count = random.choice((2, 16, 64)), random.randint(2, 9)
    sizes = [unit * random.randint(1, 30) for _ in range(count)]
    homes = [
        Life(size, first, min(count, first + random.randint(1, 3)))
        for size, first in zip(sizes, random.choices(range(count), k=count), strict=True)
    ]
    own = [unit * random.randint(0, 25) for _ in range(count + 1)]
    sharing = [
        Sharing(i, j, unit * random.randint(0, homes[j].size_bytes // unit))
        for i, j in [(0, 1)]
        if homes[i].last == homes[j].first
    ]
    placed = place_residents(homes, own, sharing, unit)
    for address in (*placed.residents, *placed.groups, placed.height):
        assert address % unit == 0
    # the same in units of one byte, of which less may be needed but never more
    fewer = [each._replace(size_bytes=each.size_bytes // unit) for each in homes]
    near = [each._replace(distance_bytes=each.distance_bytes // unit) for each in sharing]
    alone = place_residents(fewer, [size // unit for size in own], near)
    assert [unit * at for at in alone.residents] == list(placed.residents)


def test_what_is_not_aligned_is_found_by_the_checker_and_by_the_addresses() -> None:
    graph = graph_of("padded_chain")
    found = curve(graph, "merged", alignment_bytes=16)
    schedule = found.schedule(found.points[len(found.points) // 2].local_bytes)
    assert schedule is not None
    check_schedule(graph, schedule)
    coarser = replace(schedule, memory=replace(schedule.memory, alignment_bytes=128))
    with pytest.raises(ScheduleError, match="not aligned to 128"):
        check_schedule(graph, coarser)
    first, *others = schedule.groups
    moved = replace(schedule, groups=(replace(first, address=first.address + 8), *others))
    with pytest.raises(ScheduleError, match="not aligned to 16"):
        check_schedule(graph, moved)
    program = lower(graph, schedule)
    with pytest.raises(ProgramError, match="not aligned to 128 bytes"):
        occupancy(replace(program, alignment_bytes=128))


@pytest.mark.parametrize("unit", [16, pytest.param(64, marks=SLOW)])
def test_frames(unit: int) -> None:
    """Weights that stand begin at multiples too."""
    graph = graph_of("padded_chain")
    found = curve(graph, "merged", alignment_bytes=unit)
    capacity = found.points[-1].local_bytes + 512
    memory = MemoryOptions(capacity, SINGLE, 32, alignment_bytes=unit)
    frames = schedule_frames(graph, memory, "merged", 5, known=found)
    assert frames.warm.standing
    both_proved(graph, frames)
    for schedule in (frames.cold, frames.warm):
        aligned(graph, schedule)


def test_the_exact_search() -> None:
    pytest.importorskip("ortools")
    graph = graph_of("padded_chain")
    found = curve(graph, "merged", alignment_bytes=16)
    point = found.points[len(found.points) // 2]
    memory = MemoryOptions(point.local_bytes, SINGLE, 32, alignment_bytes=16)
    schedule, proof = schedule_exactly(graph, memory, "merged", 20.0, known=found)
    assert proof.bound_bytes == proof.dram_bytes == proof.fast_bytes == point.dram_bytes
    aligned(graph, schedule)


def test_the_solver_finds_multiples() -> None:
    solver = pytest.importorskip("dataflow_sim.schedule.exact_solver")
    pytest.importorskip("ortools", reason="needs the extra 'exact'")
    homes = [Life(48, 0, 1), Life(16, 1, 2), Life(32, 2, 3), Life(16, 0, 0), Life(64, 3, 3)]
    sharing = [Sharing(0, 1, 16)]
    found = solver.addresses(homes, 111, 5.0, sharing, 16)
    assert found is not None
    assert all(address % 16 == 0 for address in found)
    assert max(at + life.size_bytes for at, life in zip(found, homes, strict=True)) <= 96
    assert solver.addresses(homes, 95, 5.0, sharing, 16) is None


def test_what_is_told_of_groups_is_what_they_take() -> None:
    graph, told = graph_of("padded_chain"), 0
    found = curve(graph, "merged", alignment_bytes=16)
    for point in found.points[:: max(1, len(found.points) // 4)]:
        schedule = found.schedule(point.local_bytes)
        assert schedule is not None
        changes = {
            "local_memory.capacity": f"{point.local_bytes}B",
            "local_memory.alignment": "16B",
            "count_biases": "true",
        }
        for group in schedule.groups:
            each = group_on(found, graph, load_hardware("bare", changes), group.members[0])
            assert each.own_bytes == group.local_bytes
            assert all(home.size_bytes % 16 == 0 for home in each.residents)
            run = each.rows or each.tiles
            if run is None:
                continue
            told += 1
            maps = each.rows.line_buffers if each.rows else each.tiles.cells if each.tiles else ()
            held = [one.peak_bytes for one in (*maps, *run.weights)]
            assert all(size % 16 == 0 for size in held)
            assert sum(held) == run.peak.live_bytes <= each.own_bytes
    assert told
