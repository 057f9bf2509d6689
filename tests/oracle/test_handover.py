"""Rows handed over from map to map: against trying every distance, in place, replayed."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.errors import ProgramError, ScheduleError
from dataflow_sim.explanation import group_on
from dataflow_sim.graph.region import Span
from dataflow_sim.hardware import load_hardware
from dataflow_sim.program.instructions import Join, Split
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.frames import schedule_frames
from dataflow_sim.schedule.handover import distances, saved_bytes
from dataflow_sim.schedule.map_rows import MapRows
from dataflow_sim.schedule.residents import Sharing, held_bytes, place_residents
from dataflow_sim.schedule.types import SINGLE, MemoryOptions, Schedule
from dataflow_sim.simulate.occupancy import occupancy
from dataflow_sim.simulate.replay import replay
from tests.oracle.test_tiles_in_groups import QUICK
from tests.support.curves import curve
from tests.support.runs import case, outputs_of, proved


def rows(birth: list[int], death: list[int]) -> MapRows:
    return MapRows("x", None, np.array(birth), np.array(death), Span(0, 1), Span(0, 1), 1)


def fits(death: list[int], birth: list[int], there: int, new: int, distance: int) -> bool:
    """Whether no row that is made ever lies where one still lives."""
    for row, born in enumerate(birth):
        for other, dead in enumerate(death):
            low, high = distance + other * there, distance + (other + 1) * there
            if dead >= born and row * new < high and low < (row + 1) * new:
                return False
    return True


@given(
    st.lists(st.integers(-1, 12), min_size=1, max_size=8),
    st.lists(st.integers(0, 12), min_size=1, max_size=8),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_the_least_distance_of_all(
    death: list[int], birth: list[int], there: int, new: int
) -> None:
    birth = sorted(birth)
    (found,) = distances(rows([0] * len(death), death), rows(birth, birth), (there, new)).tolist()
    enough = [d for d in range(len(birth) * new + 1) if fits(death, birth, there, new, d)]
    # a map that lies above may give way as well, which the model leaves out
    assert found in enough
    assert all(fits(death, birth, there, new, d) for d in range(found, found + 20))
    assert found == 0 or not fits(death, birth, there, new, found - 1)


def test_saved_by_hand() -> None:
    """6 rows of 4 bytes give way to 3 rows of 10: row j is made when 2 j + 1 rows are dead."""
    taken, made = rows([0] * 6, [0, 1, 1, 2, 2, 3]), rows([1, 2, 3], [9] * 3)
    # rows end at 10, 20, 30; the first rows that live are 1, 3 and 5 at 4, 12 and 20
    assert distances(taken, made, (4, 10)).tolist() == [10]
    assert saved_bytes(24, 30, 10).tolist() == 20
    assert saved_bytes(24, 30, 0).tolist() == 24
    assert saved_bytes(24, 30, 30).tolist() == saved_bytes(24, 30, 99).tolist() == 0


@pytest.mark.parametrize("seed", range(40))
def test_addresses_keep_their_distance(seed: int) -> None:
    random = Random(seed)
    count = random.randint(2, 6)
    sizes = [random.randint(1, 30) for _ in range(count)]
    homes = [Life(size, group, group + 1) for group, size in enumerate(sizes)]
    sharing = [
        Sharing(group, group + 1, random.randint(0, sizes[group + 1]))
        for group in range(count - 1)
        if random.random() < 0.7
    ]
    own = [random.randint(0, 20) for _ in range(count + 1)]
    placed = place_residents(homes, own, sharing)
    held = held_bytes(homes, count + 1, sharing)
    assert placed.height >= max(int(one) + each for one, each in zip(held, own, strict=True))
    apart = {(each.taken, each.made): each.distance_bytes for each in sharing}
    things = [*homes, *(Life(size, group, group) for group, size in enumerate(own))]
    addresses = [*placed.residents, *placed.groups]
    for i, one in enumerate(things):
        assert 0 <= addresses[i] <= placed.height - one.size_bytes
        for j, other in enumerate(things[:i]):
            if one.last < other.first or other.last < one.first:
                continue
            above = addresses[i] >= addresses[j] + other.size_bytes
            below = addresses[i] + one.size_bytes <= addresses[j]
            distance = apart.get((j, i))
            far = distance is not None and addresses[j] - addresses[i] >= distance
            assert above or below or far or not one.size_bytes or not other.size_bytes


def handing(name: str, double: bool = False) -> list[Schedule]:
    """Schedules of a curve in which rows are handed over."""
    found = curve(case(name).graph, "merged", double)
    schedules = (
        found.schedule(point.local_bytes)
        for point in found.points
        if any(decision.hands is not None for decision in point.plan)
    )
    return [schedule for schedule in schedules if schedule is not None]


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", QUICK)
def test_replay(name: str, double: bool) -> None:
    found = case(name)
    schedules = handing(name, double)
    for schedule in schedules[:: max(1, len(schedules) // 3)]:
        program = proved(found.graph, schedule)
        assert any(isinstance(each, Split) for each in program.instructions)
        assert any(isinstance(each, Join) for each in program.instructions)
        assert occupancy(program).peak_bytes <= schedule.local_bytes
        result = replay(program, found.graph, found.inputs)
        output = outputs_of(found.graph, result.tensors, found.expected)["output"]
        scale = np.abs(found.expected).max()
        np.testing.assert_allclose(output, found.expected, rtol=1e-3, atol=1e-3 * scale)


def test_several_networks_hand_over() -> None:
    assert sum(bool(handing(name)) for name in QUICK) >= 4


def moved(schedule: Schedule, by: int) -> Schedule | None:
    """The first map that takes rows moved up, where that lets it overlap what gives them."""
    for number, group in enumerate(schedule.groups):
        if group.hands is None:
            continue
        here = [home for home in schedule.residents if home.first <= number <= home.last]
        (taken,) = [home for home in here if group.hands.taken in home.tensors]
        (made,) = [home for home in here if group.hands.made in home.tensors]
        if taken.address - made.address == group.hands.distance_bytes:
            homes = tuple(
                replace(home, address=home.address + by) if home is made else home
                for home in schedule.residents
            )
            return replace(schedule, residents=homes)
    return None


def test_a_byte_nearer_is_found_by_the_checker_and_by_the_addresses() -> None:
    found = 0
    for name in QUICK:
        graph = case(name).graph
        for schedule in handing(name):
            nearer = moved(schedule, 1)
            if nearer is None:
                continue
            found += 1
            with pytest.raises(ScheduleError, match="overlap"):
                check_schedule(graph, nearer)
            with pytest.raises(ProgramError):
                occupancy(lower(graph, nearer))
            break
    assert found >= 3


@pytest.mark.parametrize("seed", range(8))
def test_the_solver_finds_addresses_where_the_search_does(seed: int) -> None:
    solver = pytest.importorskip("dataflow_sim.schedule.exact_solver")
    pytest.importorskip("ortools", reason="needs the extra 'exact'")
    random = Random(seed)
    homes = [Life(random.randint(5, 30), group, group + 1) for group in range(4)]
    sharing = [
        Sharing(group, group + 1, random.randint(0, homes[group + 1].size_bytes))
        for group in range(3)
    ]
    own = [Life(random.randint(1, 20), group, group) for group in range(5)]
    placed = place_residents(homes, [each.size_bytes for each in own], sharing)
    found = solver.addresses([*homes, *own], placed.height, 5.0, sharing)
    assert found is not None
    for taken, made, distance in sharing:
        gap = found[taken] - found[made]
        assert gap >= distance or -gap >= homes[taken].size_bytes
    least = max(
        int(e) + each.size_bytes for e, each in zip(held_bytes(homes, 5, sharing), own, strict=True)
    )
    assert solver.addresses([*homes, *own], least - 1, 5.0, sharing) is None


@pytest.mark.parametrize("name", ["concatenated"])
def test_a_group_may_have_no_buffer_of_its_own(name: str) -> None:
    """A pooling whose input gives its rows to its output: told, and asked for several frames."""
    graph, found = case(name).graph, curve(case(name).graph, "merged")
    assembler = found.assembler
    number = 0
    for point in found.points:
        for place, decision in enumerate(point.plan):
            if decision.merged and not assembler.layout(assembler.group_run(decision)).lives:
                number += 1
                hardware = load_hardware(
                    "bare",
                    {
                        "local_memory.capacity": f"{point.local_bytes}B",
                        "precision.weights": "32",
                        "precision.activations": "32",
                    },
                )
                told = group_on(found, graph, hardware, decision.members[0])
                assert (told.number, told.own_bytes) == (place, 0)
                assert told.rows is not None
                assert told.rows.peak.live_bytes == 0
                memory = MemoryOptions(point.local_bytes, SINGLE, 32)
                frames = schedule_frames(graph, memory, "merged", 3)
                check_schedule(graph, frames.warm)
    assert number
