"""Budget curves of the built-in networks: published floors, and what merging must reach."""

from __future__ import annotations

import pytest

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.types import Schedule
from tests.support.curves import curve, moved_bytes, policies_are_ordered, two_convolutions
from tests.support.runs import built_in, proved

KIB = 1024


def test_two_valid_convolutions_merge_in_7968_bytes() -> None:
    """36x36x16 -> 34x34x16 -> 32x32x16: 41,728 bytes move, from 7,968 bytes of memory up.

    Kernels 2 x 2,304, three rows of 576, three rows of 544; the finished row of 512 lies
    where the dead input row was.
    """
    graph = two_convolutions()
    found = curve(graph, "merged")
    assert found.points[-1].local_bytes == 7_968
    assert found.points[-1].dram_bytes == 41_728 == compulsory_bytes(graph)
    schedule = found.schedule(7_968)
    assert schedule is not None
    assert [group.merged for group in schedule.groups] == [True]
    proved(graph, schedule)


def test_mobilenet_v1_with_whole_maps_needs_its_largest_pair() -> None:
    """112 x 112 x (32 + 64) bytes of maps and 32 of a kernel."""
    points = curve(built_in("mobilenet_v1"), "resident").points
    assert points[-1].dram_bytes == 4_360_616
    assert points[-1].local_bytes == 1_204_224 + 32


@pytest.mark.parametrize(
    ("name", "kib", "megabytes"),
    [
        ("mobilenet_v1", 128, 6.3),
        ("mobilenet_v1", 256, 4.6),
        pytest.param("mobilenet_v2", 128, 4.3, marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", 256, 3.621288, marks=pytest.mark.slow),
        pytest.param("resnet50", 256, 37.37, marks=pytest.mark.slow),
    ],
)
def test_merging_reaches(name: str, kib: int, megabytes: float) -> None:
    assert moved_bytes(curve(built_in(name), "merged"), kib * KIB) <= megabytes * 1e6


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v1",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("mobilenet_v2", "resnet50", "vgg16")
        ),
    ],
)
def test_curves_of_a_built_in_network(name: str) -> None:
    graph = built_in(name)
    policies_are_ordered(graph)
    points = curve(graph, "merged").points
    assert points[-1].dram_bytes == compulsory_bytes(graph)
    assert points[-1].local_bytes <= 64 << 20
    layerwise = curve(graph, "layerwise").points
    assert moved_bytes(curve(graph, "layerwise"), 1 << 40) == layerwise[-1].dram_bytes


def merged_layers(graph: NetworkGraph, schedule: Schedule) -> list[Layer]:
    return [
        layer
        for group in schedule.groups
        if group.merged and len(group.members) > 1
        for layer in (graph.layers[index] for index in group.members)
    ]


@pytest.mark.parametrize("kib", [64, 256, 1024])
@pytest.mark.parametrize("policy", ["resident", "merged"])
@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v1",
        pytest.param("mobilenet_v2", marks=pytest.mark.slow),
        pytest.param("resnet50", marks=pytest.mark.slow),
    ],
)
def test_what_is_estimated_is_counted(name: str, policy: str, kib: int) -> None:
    graph = built_in(name)
    found = curve(graph, policy)
    schedule = found.schedule(kib * KIB)
    assert schedule is not None
    proved(graph, schedule)
    assert sum(schedule.traffic_bytes().values()) == moved_bytes(found, kib * KIB)


@pytest.mark.slow
def test_resnet50_merges_across_adds() -> None:
    graph = built_in("resnet50")
    schedule = curve(graph, "merged").schedule(256 * KIB)
    assert schedule is not None
    assert any("Add" in layer.post.ops for layer in merged_layers(graph, schedule))


@pytest.mark.slow
def test_densenet121() -> None:
    """At most 13 MB at 256 KiB; groups contain concats; every policy in its place."""
    graph = built_in("densenet121")
    policies_are_ordered(graph)
    found = curve(graph, "merged")
    assert found.points[-1].dram_bytes == compulsory_bytes(graph)
    assert moved_bytes(found, 256 * KIB) <= 13e6
    schedule = found.schedule(256 * KIB)
    assert schedule is not None
    joined = [x for x in merged_layers(graph, schedule) if len(x.input.segments) > 1]
    assert joined
    for kib in (64, 256, 512):
        there = found.schedule(kib * KIB)
        assert there is not None
        proved(graph, there)
