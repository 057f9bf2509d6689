"""Kernels of merged groups that stream but for some channels: replayed, checked, told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from dataflow_sim.errors import ScheduleError
from dataflow_sim.program.instructions import Load
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.group_kernels import KernelSizes, streamed_sets
from dataflow_sim.schedule.search import Curve
from dataflow_sim.schedule.types import RowTiling, Schedule
from dataflow_sim.simulate.replay import replay
from tests.oracle.test_tiles_in_groups import QUICK
from tests.support.curves import curve
from tests.support.runs import Case, case, outputs_of, proved


def pinning(found: Curve) -> Iterator[Schedule]:
    """Schedules of a curve in which channels of a streamed kernel stay."""
    for point in found.points:
        if any(pinned for decision in point.plan for _, pinned in decision.streamed):
            schedule = found.schedule(point.local_bytes)
            assert schedule is not None
            yield schedule


def replayed(found: Case, schedule: Schedule) -> np.ndarray:
    result = replay(proved(found.graph, schedule), found.graph, found.inputs)
    return outputs_of(found.graph, result.tensors, found.expected)["output"]


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", QUICK)
def test_replay(name: str, double: bool) -> None:
    found = case(name)
    schedules = list(pinning(curve(found.graph, "merged", double)))
    for schedule in schedules[:: max(1, len(schedules) // 2)]:
        output = replayed(found, schedule)
        scale = np.abs(found.expected).max()
        np.testing.assert_allclose(output, found.expected, rtol=1e-3, atol=1e-3 * scale)


def test_several_networks_have_them() -> None:
    assert sum(any(pinning(curve(case(name).graph, "merged"))) for name in QUICK) >= 5


def pinned_layer(schedule: Schedule) -> tuple[int, int, RowTiling]:
    """Group, place in it and tiling of a layer with pinned channels."""
    for number, group in enumerate(schedule.groups):
        for place, layer in enumerate(group.layers):
            if isinstance(layer.tiling, RowTiling) and layer.tiling.pinned_channels:
                return number, place, layer.tiling
    raise AssertionError("nothing is pinned")


def test_what_stays_is_loaded_once() -> None:
    graph = case("residual").graph
    schedule = next(pinning(curve(graph, "merged")))
    number, place, tiling = pinned_layer(schedule)
    index = schedule.groups[number].members[place]
    weight = graph.layers[index].weight
    loads = [
        (each.box.batch.start, each.box.batch.stop)
        for each in proved(graph, schedule).instructions
        if isinstance(each, Load) and each.tensor == weight
    ]
    # the channels that stay lie in a buffer of their own, whose box begins at 0
    assert loads.count((0, tiling.pinned_channels)) == 1
    channels = graph.layers[index].output_shape[1]
    tiles = -(-(channels - tiling.pinned_channels) // tiling.output_channel_tile)
    assert len(loads) == 1 + tiling.firings * tiles


@pytest.mark.parametrize("wrong", [-1, 10_000])
def test_the_checker_refuses_channels_that_there_are_not(wrong: int) -> None:
    graph = case("residual").graph
    schedule = next(pinning(curve(graph, "merged")))
    number, place, tiling = pinned_layer(schedule)
    group = schedule.groups[number]
    layers = list(group.layers)
    layers[place] = replace(layers[place], tiling=replace(tiling, pinned_channels=wrong))
    groups = list(schedule.groups)
    groups[number] = replace(group, layers=tuple(layers))
    with pytest.raises(ScheduleError, match="pinned_channels"):
        check_schedule(graph, replace(schedule, groups=tuple(groups)))


def test_parts_free_what_is_wanted_and_no_channel_more() -> None:
    """Two kernels of 8 channels of 10 and of 6 bytes: eighths of 128 bytes."""
    sizes = [
        KernelSizes(8 * size, 64 * size, size, 0, 0, True, 8, 8 * size, 8 * size)
        for size in (10, 6)
    ]
    found = streamed_sets(sizes, (0, 1))
    parts = [some for some in found if any(pinned for _, pinned in some)]
    freed = [
        sum(sizes[index].kernel_bytes - sizes[index].pinned_bytes(pinned) for index, pinned in some)
        for some in parts
    ]
    for wanted, got in zip((16, 32, 48, 64, 96, 112), freed, strict=True):
        assert wanted <= got < wanted + 10
    assert found[-1] == ((0, 0), (1, 0))
    assert [some for some in found if some not in parts] == streamed_sets(sizes, (0, 1), False)
