"""The other nests that are told beside the chosen one, against all tilings of a layer."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import prod

import pytest

from dataflow_sim.graph.layer import Window
from dataflow_sim.schedule.alone import any_problem
from dataflow_sim.schedule.alternatives import best_of_each_nest
from dataflow_sim.schedule.amounts import tiling_costs
from dataflow_sim.schedule.footprints import tile_sizes
from dataflow_sim.schedule.frontier import layer_frontier
from dataflow_sim.schedule.nest import nest_loops, nest_name
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.types import ORDERS, LayerTiling, MemoryOptions, PartialSums
from tests.support.runs import buffering, single_convolution


@lru_cache(maxsize=4)
def every_tiling(problem: LayerProblem) -> tuple[tuple[LayerTiling, int, int], ...]:
    """All legal tilings with all tile sizes: local bytes, DRAM bits.

    Of those with the least tile of each trip count also all with pinned channels that save
    fetches.
    """
    extents = (
        problem.output_channels,
        problem.input_channels,
        problem.batch,
        problem.rows.output_size,
        problem.columns.output_size,
    )
    found = []
    for sizes in product(*(range(1, extent + 1) for extent in extents)):
        steps = prod(-(-extent // size) for extent, size in zip(extents, sizes, strict=True))
        for order, sums in product(ORDERS, PartialSums):
            m, k, n, r, c = sizes
            tiling = LayerTiling(order, sums, 1, m, k, n, r, c, steps)
            costs = tiling_costs(problem, tiling)
            if costs is None:
                continue
            bits = int(costs.dram_bits[0])
            found.append((tiling, int(costs.local_bytes[0]), bits))
            least = all(size in tile_sizes(n) for size, n in zip(sizes, extents, strict=True))
            if not least or sums is PartialSums.SPILLED:
                continue
            pins = [(n + 1, 0) for n in range(extents[0])] + [(0, n + 1) for n in range(extents[1])]
            for m, k in pins:
                pinned = replace(tiling, pinned_output_channels=m, pinned_input_channels=k)
                costs = tiling_costs(problem, pinned)
                if costs is not None and costs.dram_bits[0] < bits:
                    found.append((pinned, int(costs.local_bytes[0]), int(costs.dram_bits[0])))
    return tuple(found)


@pytest.mark.parametrize("more", [0, 20, 40, 60, 90, 120, 200])
@pytest.mark.parametrize("double_buffer", [False, True])
def test_the_best_of_each_nest_is_the_best_of_all_tilings(more: int, double_buffer: bool) -> None:
    graph = single_convolution((1, 3, 5, 4), 4, Window((3, 3), pad=(1, 1)))
    problem = any_problem(graph, graph.layers[0], MemoryOptions(0, buffering(double_buffer), 32))
    assert isinstance(problem, LayerProblem)
    tilings = every_tiling(problem)
    capacity = min(local for _, local, _ in tilings) + more
    best: dict[tuple[tuple[str, ...], PartialSums], int] = {}
    for tiling, local, bits in tilings:
        if local <= capacity:
            key = (nest_name(nest_loops(problem, tiling)), tiling.partial_sums)
            best[key] = min(best.get(key, bits), bits)
    choices = best_of_each_nest(problem, capacity)
    found = {
        (nest_name(nest_loops(problem, c.tiling)), c.tiling.partial_sums): c.dram_bits
        for c in choices
    }
    assert found == best
    of_all = layer_frontier(problem).best(capacity)
    assert of_all is not None
    assert of_all.dram_bits == choices[0].dram_bits
    for choice in choices:
        costs = tiling_costs(problem, choice.tiling)
        assert costs is not None
        assert choice.tiling.steps == int(costs.steps[0])
        assert choice.local_bytes == int(costs.local_bytes[0]) <= capacity
        assert choice.dram_bits == int(costs.dram_bits[0])
