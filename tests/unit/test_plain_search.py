"""The search against every tiling of whole small layers, in plain Python."""

from __future__ import annotations

import pytest

from dataflow_sim.graph.layer import Window
from dataflow_sim.schedule.frontier import layer_frontier
from dataflow_sim.schedule.problem import layer_problem
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from tests.support.plain_search import plain_frontier
from tests.support.runs import single_convolution


@pytest.mark.parametrize("accumulator_bits", [8, 32])
@pytest.mark.parametrize(
    ("shape", "channels", "window"),
    [
        ((1, 6, 7, 6), 8, Window((3, 3), pad=(1, 1))),
        ((1, 9, 5, 4), 5, Window()),
        ((1, 4, 9, 9), 7, Window((3, 3), (2, 2), pad=(1, 1))),
        ((1, 12, 1, 1), 10, Window()),
    ],
    ids=["3x3", "1x1", "strided", "fully connected"],
)
def test_the_frontier_is_that_of_every_tiling_one_by_one(
    shape: tuple[int, int, int, int], channels: int, window: Window, accumulator_bits: int
) -> None:
    graph = single_convolution(shape, channels, window)
    memory = MemoryOptions(0, SINGLE, accumulator_bits)
    problem = layer_problem(graph, graph.layers[0], memory)
    found = layer_frontier(problem)
    points = zip(found.local_bytes.tolist(), found.dram_bits.tolist(), strict=True)
    assert list(points) == plain_frontier(problem)
