"""The checker refuses every kind of illegal schedule, all faults at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dataflow_sim.errors import ScheduleError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.check import check_schedule, schedule_faults
from dataflow_sim.schedule.types import (
    Group,
    LayerSchedule,
    PartialSums,
    RowTiling,
    Schedule,
)
from dataflow_sim.traffic import Reason
from tests.support.curves import curve
from tests.support.runs import case, scheduled


@pytest.fixture(name="legal")
def fixture_legal() -> tuple[NetworkGraph, Schedule]:
    graph = case("pooled_classifier").graph
    return graph, scheduled(graph, 4000)[0]


def changed(schedule: Schedule, index: int, **tiling: object) -> Schedule:
    chosen = schedule.layers[index]
    new = replace(chosen.tiling, **tiling)  # type: ignore[arg-type]  # faults of any type
    return with_layer(schedule, index, replace(chosen, tiling=new))


def with_layer(schedule: Schedule, index: int, chosen: LayerSchedule) -> Schedule:
    """One layer, alone in its group, replaced."""
    groups = list(schedule.groups)
    groups[index] = replace(groups[index], layers=(chosen,))
    return replace(schedule, groups=tuple(groups))


def test_what_the_search_finds_is_legal(legal: tuple[NetworkGraph, Schedule]) -> None:
    assert schedule_faults(*legal) == ()


@pytest.mark.parametrize(
    ("index", "tiling", "fault"),
    [
        (0, {"row_tile": 0}, "row_tile is 0"),
        (0, {"row_tile": 99}, "row_tile is 99, legal is 1 to"),
        (0, {"output_channel_tile": 9}, "output_channel_tile is 9, legal is 1 to 8"),
        (0, {"batch_tile": 3}, "batch_tile is 3, legal is 1 to 2"),
        (0, {"group_tile": 2}, "group_tile is 2"),
        (0, {"steps": 10_000}, "10000 steps stated"),
        (0, {"order": "KKK"}, "unknown loop order"),
        (0, {"input_channel_tile": 1, "partial_sums": PartialSums.NONE}, "the reduction is split"),
        (
            1,
            {"input_channel_tile": 1, "partial_sums": PartialSums.SPILLED, "order": "KPM"},
            "pooled layer cannot be spilled",
        ),
        (
            1,
            {
                "input_channel_tile": 1,
                "partial_sums": PartialSums.KEPT,
                "order": "KPM",
                "row_tile": 1,
            },
            "spatial loop must enclose K",
        ),
        (
            2,
            {"input_channel_tile": 1, "partial_sums": PartialSums.SPILLED, "order": "PMK"},
            "K is the innermost loop",
        ),
        (4, {"output_channel_tile": 1}, "cannot split the channels"),
        (0, {"pinned_output_channels": 9}, "pinned_output_channels is 9, legal is 0 to 8"),
        (0, {"pinned_input_channels": -1}, "pinned_input_channels is -1, legal is 0 to 3"),
        (4, {"pinned_input_channels": 1}, "legal only of an ungrouped convolution"),
        (
            0,
            {"pinned_input_channels": 1, "pinned_output_channels": 1},
            "both kernel and input are pinned",
        ),
    ],
)
def test_illegal_tilings(
    legal: tuple[NetworkGraph, Schedule], index: int, tiling: dict[str, object], fault: str
) -> None:
    graph, schedule = legal
    faults = schedule_faults(graph, changed(schedule, index, **tiling))
    assert any(fault in text for text in faults), faults


def test_memory_traffic_and_layers(legal: tuple[NetworkGraph, Schedule]) -> None:
    graph, schedule = legal
    small = replace(schedule, memory=replace(schedule.memory, capacity_bytes=100))
    assert any("there are 100" in fault for fault in schedule_faults(graph, small))
    first = schedule.layers[0]
    fewer = {
        key: bits - 8 if key.reason in (Reason.WEIGHT_FETCH, Reason.MAP_SPILL) else bits
        for key, bits in first.traffic_bits.items()
    }
    lossy = with_layer(schedule, 0, replace(first, traffic_bits=fewer))
    faults = schedule_faults(graph, lossy)
    assert any("are fetched" in fault for fault in faults)
    assert any("is written" in fault for fault in faults)
    with pytest.raises(ScheduleError, match=r"layers that are not the graph's 5"):
        check_schedule(graph, replace(schedule, groups=schedule.groups[1:]))


def stays(group: Group) -> bool:
    """Whether a merged group begins with a kernel that stays."""
    tiling = group.layers[0].tiling
    return group.merged and isinstance(tiling, RowTiling) and not tiling.streamed


@pytest.fixture(scope="module")
def grouped() -> tuple[NetworkGraph, Schedule]:
    graph = case("residual").graph
    found = curve(graph, "merged")
    point = next(
        p for p in found.points if p.schedule.residents and any(map(stays, p.schedule.groups))
    )
    schedule = found.schedule(point.local_bytes)
    assert schedule is not None
    return graph, schedule


def with_group(schedule: Schedule, index: int, **changes: object) -> Schedule:
    groups = list(schedule.groups)
    groups[index] = replace(groups[index], **changes)  # type: ignore[arg-type]  # faults
    return replace(schedule, groups=tuple(groups))


def test_whereabouts_of_maps(grouped: tuple[NetworkGraph, Schedule]) -> None:
    graph, schedule = grouped
    assert schedule_faults(graph, schedule) == ()
    homeless = replace(schedule, residents=())
    assert any("have no place" in fault for fault in schedule_faults(graph, homeless))
    number = schedule.residents[0].first
    moved = replace(
        schedule, residents=(replace(schedule.residents[0], address=0), *schedule.residents[1:])
    )
    shifted = with_group(moved, number, address=0)
    assert any("overlap" in fault for fault in schedule_faults(graph, shifted))
    last = len(schedule.groups) - 1
    unstored = with_group(schedule, last, stored=frozenset())
    faults = schedule_faults(graph, unstored)
    assert any("the network's output" in fault for fault in faults)
    forgotten = replace(
        schedule, groups=tuple(replace(g, stored=frozenset()) for g in schedule.groups)
    )
    forgotten = replace(
        forgotten,
        groups=tuple(replace(g, resident=frozenset()) for g in forgotten.groups),
    )
    assert any("which is nowhere" in fault for fault in schedule_faults(graph, forgotten))
    invented = with_group(schedule, 0, resident=frozenset(["nobody"]))
    assert any("nobody brought it" in fault for fault in schedule_faults(graph, invented))
    kept = with_group(schedule, 0, kept=(graph.layers[-1].output,))
    assert any("cannot be kept" in fault for fault in schedule_faults(graph, kept))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"steps": 1_000_000}, "its rows make"),
        ({"firings": 0}, "0 firings"),
        ({"output_channel_tile": 10_000}, "output_channel_tile is 10000"),
        ({"output_channel_tile": 1}, "a step makes only some of the channels"),
    ],
)
def test_illegal_rows(
    grouped: tuple[NetworkGraph, Schedule], changes: dict[str, object], fault: str
) -> None:
    graph, schedule = grouped
    number = next(i for i, g in enumerate(schedule.groups) if stays(g))
    group = schedule.groups[number]
    first = group.layers[0]
    tiling = replace(first.tiling, **changes)  # type: ignore[arg-type]  # faults of any type
    broken = with_group(schedule, number, layers=(replace(first, tiling=tiling), *group.layers[1:]))
    assert any(fault in text for text in schedule_faults(graph, broken))
