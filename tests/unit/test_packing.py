"""Addresses by search: legal, never above `pack`, always the same, and low where it counts."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.schedule.allocation import Life, pack
from dataflow_sim.schedule.layout import GroupLayout, GroupRun, group_layout
from dataflow_sim.schedule.packing import pack_closely
from dataflow_sim.schedule.search import budget_curve
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import SINGLE, MemoryOptions, Packing
from tests.support.runs import built_in, proved
from tests.unit.test_allocation import live_peak, lives, no_overlap

MEMORY = MemoryOptions(0, SINGLE, 8)


def check(found: list[Life], owners: list[int], moments: int, unit: int = 1) -> int:
    found = [life._replace(size_bytes=life.size_bytes * unit) for life in found]
    addresses, height = pack_closely(found, owners, pack(found), unit_bytes=unit)
    assert no_overlap(found, addresses)
    assert all(address >= 0 and address % unit == 0 for address in addresses)
    ends = [a + life.size_bytes for a, life in zip(addresses, found, strict=True)]
    assert max(ends, default=0) == height
    assert live_peak(found, moments) <= height <= pack(found)[1]
    again = pack_closely(found, owners, pack(found), unit_bytes=unit)
    assert again == (addresses, height)
    return height


@settings(max_examples=60, deadline=None)
@given(lives(), st.integers(1, 5))
def test_any_buffers(found: list[Life], owners: int) -> None:
    check(found, [index % owners for index in range(len(found))], 12)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 5000), st.integers(0, 5), st.integers(0, 9)),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 6),
    st.booleans(),
    st.sampled_from([1, 1, 16]),
)
def test_buffers_that_repeat(
    pattern: list[tuple[int, int, int]], period: int, odd: bool, unit: int
) -> None:
    """Sizes with and without a common divisor, above and below what bits can tell apart."""
    found, owners = [Life(70000 if odd else 64, 0, 8 * period + 15)], [-1]
    for turn in range(8):
        for owner, (size, first, length) in enumerate(pattern):
            start = turn * period + first
            found.append(Life(size * (1 if odd else 32), start, start + length))
            owners.append(owner)
    check(found, owners, 8 * period + 16, unit)


def test_nothing_and_what_stays_all_the_time() -> None:
    assert pack_closely([], [], ([], 0)) == ([], 0)
    assert check([Life(5, 0, 3), Life(7, 0, 3)], [0, 1], 4) == 12


def test_two_ends_of_a_gap_in_turn() -> None:
    """Three of six bytes in a ring, and one of two beside six at alternating ends of eight."""
    found, owners = [], []
    for turn in range(12):
        start = 2 * turn
        found += [Life(6, start, start + 5), Life(2, start, start + 1), Life(2, start - 1, start)]
        found.append(Life(6, start + 1, start + 1))
        owners += [0, 1, 2, 3]
    found = [life._replace(first=max(life.first, 0)) for life in found]
    assert check(found, owners, 32) == live_peak(found, 32)


@cache
def _network() -> NetworkGraph:
    return built_in("mobilenet_v2")


def layout(first: str, last: str, packing: Packing) -> GroupLayout:
    """A run of layers of MobileNetV2 in the finest timetable, its output resident."""
    graph = _network()
    names = [layer.name for layer in graph.layers]
    members = tuple(range(names.index(first), names.index(last) + 1))
    resident = frozenset({graph.layers[members[-1]].output})
    run = GroupRun(members, None, (), resident, frozenset(), SINGLE, packing)
    return group_layout(RowTables(graph, MEMORY), run)


@pytest.mark.parametrize(
    ("first", "last", "live", "gaps", "most"),
    [
        ("conv1", "block4.project", 103_008, 110_624, 105_984),
        ("conv1", "block2.project", 51_840, 55_424, 51_840),
    ],
)
def test_groups_of_mobilenet_v2(first: str, last: str, live: int, gaps: int, most: int) -> None:
    simple = layout(first, last, Packing.GAPS)
    found = layout(first, last, Packing.SEARCHED)
    assert found.lives == simple.lives
    assert live_peak(list(found.lives), len(found.firings)) == live
    assert simple.height == gaps
    assert found.height <= most
    assert no_overlap(list(found.lives), list(found.addresses))
    assert layout(first, last, Packing.SEARCHED).addresses == found.addresses


def test_a_searched_group_is_lowered_to_the_same_addresses() -> None:
    """A convolution of stride 2 and one by channel: rows at two ends of the room of a result."""
    net = OnnxBuilder("small", (1, 3, 32, 32))
    net.convolution("first", "input", 32, 3, stride=2, bias=False)
    net.convolution("second", "first", 32, 3, groups=32, bias=False)
    graph = graph_from_model(net.model("second"), "small")
    graph = assign_precision(graph, Precision(8, 8, 32))
    curve = budget_curve(graph, MEMORY, "merged")
    searched = 0
    for point in curve.points:
        schedule = curve.schedule(point.local_bytes)
        assert schedule is not None
        assert schedule.local_bytes <= point.local_bytes == point.schedule.local_bytes
        if any(group.packing is Packing.SEARCHED for group in schedule.groups):
            searched += 1
            proved(graph, schedule)
    assert searched
