"""Frames of random networks: proved, never worse with more memory or more frames."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.search import POLICIES
from dataflow_sim.schedule.standing import standing_items
from tests.property.test_schedules import networks
from tests.support.curves import curve, moved_bytes
from tests.support.frames import both_proved, frames_of, least_of_all_subsets, moved, total

FRAMES = (1, 2, 7, 100)


def random_frames(
    graph: NetworkGraph, policy: str, double_buffer: bool, data: st.DataObject
) -> None:
    found = curve(graph, policy, double_buffer)
    least, most = found.points[0].local_bytes, found.points[-1].local_bytes
    weights = sum(item.local_bytes for item in standing_items(graph))
    sizes = st.integers(least, most + weights)
    drawn = data.draw(st.lists(sizes, min_size=1, max_size=2))
    before: dict[int, int] = {}
    for capacity in sorted({least, *drawn, most + weights}):
        plain = moved_bytes(found, capacity)
        average = float(plain)
        for frames in FRAMES:
            schedules = frames_of(graph, found, capacity, frames, double_buffer)
            everything = total(schedules, frames)
            assert everything <= before.get(frames, everything)
            assert everything / frames <= average
            before[frames], average = everything, everything / frames
            if frames == 1:
                assert everything == plain
                assert schedules.warm is schedules.cold
            elif capacity in drawn:
                both_proved(graph, schedules)


@settings(max_examples=15)
@given(networks(), st.sampled_from(POLICIES), st.booleans(), st.data())
def test_random_networks(
    graph: NetworkGraph, policy: str, double_buffer: bool, data: st.DataObject
) -> None:
    random_frames(graph, policy, double_buffer, data)


@pytest.mark.slow
@settings(max_examples=150)
@given(networks(), st.sampled_from(POLICIES), st.booleans(), st.data())
def test_many_random_networks(
    graph: NetworkGraph, policy: str, double_buffer: bool, data: st.DataObject
) -> None:
    random_frames(graph, policy, double_buffer, data)


@settings(max_examples=10)
@given(networks(), st.sampled_from(POLICIES), st.data())
def test_against_all_subsets(graph: NetworkGraph, policy: str, data: st.DataObject) -> None:
    """No better than the best of all subsets, and no worse than none."""
    found = curve(graph, policy)
    least = found.points[0].local_bytes
    items = standing_items(graph)
    capacity = least + data.draw(st.integers(0, sum(item.local_bytes for item in items)))
    reference = least_of_all_subsets(graph, found, capacity, 10)
    ours = total(frames_of(graph, found, capacity, 10), 10)
    assert reference <= ours <= 10 * moved_bytes(found, capacity)


@settings(max_examples=15)
@given(networks(), st.sampled_from(POLICIES), st.booleans())
def test_with_room_for_everything_no_weight_moves(
    graph: NetworkGraph, policy: str, double_buffer: bool
) -> None:
    """The maps then move as they do at the end of the curve, which for `merged` is not at all."""
    found = curve(graph, policy, double_buffer)
    items = standing_items(graph)
    capacity = found.points[-1].local_bytes + sum(item.local_bytes for item in items)
    warm = frames_of(graph, found, capacity, 1000, double_buffer).warm
    weights = sum(item.dram_bytes for item in items)
    assert moved(warm) <= found.points[-1].dram_bytes - weights
    assert warm.standing == {name for item in items for name in item.tensors}
