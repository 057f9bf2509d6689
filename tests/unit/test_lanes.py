"""Lanes of a network: no two maps alive share one, and chains are straight."""

from __future__ import annotations

import random

import pytest

from dataflow_sim.hardware import load_hardware
from dataflow_sim.pipeline import RunOptions, load_network
from dataflow_sim.report.page.lanes import LaneEdge, LaneGraph, _lanes, lane_graph
from dataflow_sim.reviewing import review


def spans(lanes: list[int], edges: list[LaneEdge]) -> list[tuple[int, int, int]]:
    """Lane, first and last row of what every row makes."""
    ends = list(range(len(lanes)))
    for edge in edges:
        ends[edge.source] = max(ends[edge.source], edge.target)
    return [(lane, row, end) for row, (lane, end) in enumerate(zip(lanes, ends, strict=True))]


@pytest.mark.parametrize("seed", range(200))
def test_no_two_maps_alive_share_a_lane(seed: int) -> None:
    chance = random.Random(seed)
    rows = chance.randint(1, 40)
    edges = sorted(
        (
            LaneEdge(source, target, "", 1, "dram")
            for target in range(1, rows)
            for source in chance.sample(range(target), chance.randint(0, min(3, target)))
        ),
        key=lambda each: (each.target, each.source),
    )
    lanes = _lanes(rows, edges)
    found = spans(lanes, edges)
    for lane, first, last in found:
        inside = [each for each in found if each[0] == lane and first < each[1] < last]
        assert inside == []
    # never more lanes than maps that are alive at some row, and the one that is made there
    alive = max(sum(first < row < last for _, first, last in found) + 1 for row in range(rows))
    assert max(lanes) + 1 <= alive + 1


def graph_of(name: str, policy: str) -> LaneGraph:
    found = review(load_network(name), load_hardware("bare"), RunOptions(policy=policy))
    return lane_graph(found.run, found.edges)


def test_a_chain_is_one_lane() -> None:
    graph = graph_of("mobilenet_v1@0.25-32", "layerwise")
    assert graph.lanes == 1
    assert [row.op for row in graph.rows][:2] == ["input", "Conv"]
    assert [(edge.source, edge.target) for edge in graph.edges] == [
        (row, row + 1) for row in range(len(graph.rows) - 1)
    ]


def test_a_shortcut_is_a_second_lane_and_rows_are_in_the_order_of_groups() -> None:
    graph = graph_of("mobilenet_v2@0.35-32", "resident")
    assert graph.lanes == 2
    groups = [row.group for row in graph.rows if row.group is not None]
    assert groups == sorted(groups)
    assert all(edge.source < edge.target for edge in graph.edges)
