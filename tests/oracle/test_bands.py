"""Bands of rows, column by column: against sets of elements, against rows alone, replayed."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import numpy as np
import pytest

from dataflow_sim.choosing import price, rates
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import load_hardware
from dataflow_sim.pipeline import RunOptions, load_network, memory_options, prepare
from dataflow_sim.schedule.bands import bands, macs_again
from dataflow_sim.schedule.group_kernels import KernelSizes
from dataflow_sim.schedule.objectives import OBJECTIVES, Objective
from dataflow_sim.schedule.search import Curve, budget_curve, schedule_network
from dataflow_sim.schedule.tile_costs import tile_table
from dataflow_sim.schedule.tile_regions import TileFrame
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.trials import Trial
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.replay import replay
from tests.oracle.test_tiles_in_groups import MEMORY, QUICK, chain, drawn_chain
from tests.oracle.tile_oracle import walk
from tests.support.curves import curve, moved_bytes
from tests.support.runs import buffering, case, outputs_of, proved


@pytest.mark.parametrize("seed", range(40))
def test_element_by_element(seed: int) -> None:
    slides, size = drawn_chain(Random(seed))
    if min(size) < 1:
        pytest.skip("a map of nothing")
    graph = chain(slides, size)
    frame = TileFrame(RowTables(graph, MEMORY), tuple(range(len(slides))))
    kernels = [KernelSizes(0, 0, 0, 0, 0, can_stream=False)] * len(slides)
    outside, going = np.array([[False]]), np.array([[[False, True]]])
    heights = []
    for group in bands(frame):
        heights.append(group.tile.rows)
        expected = walk(slides, size, group.tile, ["cache-x"] * len(slides))
        table = tile_table(group, kernels, SINGLE, outside, going, [()])
        assert table.local_bytes.item() == expected.peak
        _, _, rows, columns = graph.layers[-1].output_shape
        assert table.dram_bits.item() == 8 * (expected.read + rows * columns)
        once = [each.output_shape[2] * each.output_shape[3] for each in graph.layers]
        made = [whole * (1 + part) for whole, part in zip(once, macs_again(group), strict=True)]
        assert made == expected.made
    rows = graph.layers[-1].output_shape[2]
    assert heights == sorted(set(heights), reverse=True)
    assert heights[-1:] == ([1] if rows > 1 else [])


def by_bands(found: Curve) -> list[int]:
    """Points of a curve in whose plans some group runs by bands."""
    return [
        number
        for number, point in enumerate(found.points)
        if any(decision.tile is not None for decision in point.plan)
    ]


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", QUICK)
def test_replay_of_what_the_search_chooses(name: str, double: bool) -> None:
    found = case(name)
    curve_of = curve(found.graph, "merged", double)
    chosen = by_bands(curve_of)
    for number in chosen[:: max(1, len(chosen) // 2)]:
        local = curve_of.points[number].local_bytes
        schedule = curve_of.schedule(local)
        assert schedule is not None
        assert schedule.local_bytes <= local
        program = proved(found.graph, schedule)
        if len(program.instructions) > 60_000:
            continue
        result = replay(program, found.graph, found.inputs)
        output = outputs_of(found.graph, result.tensors, found.expected)["output"]
        scale = np.abs(found.expected).max()
        np.testing.assert_allclose(output, found.expected, rtol=1e-3, atol=1e-3 * scale)


def test_many_networks_have_them() -> None:
    assert sum(bool(by_bands(curve(case(name).graph, "merged"))) for name in QUICK) >= 8


def plain_curve(
    monkeypatch: pytest.MonkeyPatch, graph: NetworkGraph, memory: MemoryOptions
) -> Curve:
    with monkeypatch.context() as patch:
        patch.setattr(Trial, "also", lambda trial, kinds: trial)
        return budget_curve(graph, memory, "merged")


@pytest.mark.parametrize("name", QUICK)
def test_neither_they_nor_rows_handed_over_ever_cost(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = case(name).graph
    plain = plain_curve(monkeypatch, graph, MemoryOptions(0, buffering(False), 32))
    found = curve(graph, "merged")
    assert not by_bands(plain)
    for point in plain.points:
        assert moved_bytes(found, point.local_bytes) <= point.dram_bytes


def test_what_is_computed_again_costs_energy_and_time() -> None:
    cheap = Objective(per_bit=4, compute_costs=(100, 1000))
    bits = np.array([10, 20])
    assert cheap.cost((0, 1), bits).tolist() == [40, 80]
    again = (Fraction(1, 2), Fraction(1, 8))
    assert cheap.cost((0, 1), bits, again).tolist() == [40 + 50 + 125, 80 + 175]
    slow = Objective(0, 1, (640, 6400))
    assert slow.cost((0, 1), bits).tolist() == [7040, 7040]
    assert slow.cost((0, 1), bits, again).tolist() == [7040 + 320 + 800] * 2


@pytest.mark.slow
def test_energy_weighs_macs_against_dram() -> None:
    """Where MACs are dear nothing is made again; the best in energy never takes more of it."""
    tiled = []
    for mac in ("0.1pJ", "10000pJ"):
        hardware = load_hardware("bare", {"local_memory.capacity": "4KiB", "energy.mac": mac})
        graph = prepare(load_network("mobilenet_v1@0.25-64"), hardware, RunOptions())
        memory = memory_options(hardware)
        (objective,) = OBJECTIVES["energy"](rates(graph, hardware))
        best = schedule_network(graph, memory, "merged", objective=objective)
        least = schedule_network(graph, memory, "merged")
        assert any(group.tile for group in least.groups)
        assert price(graph, hardware, best)[0] <= price(graph, hardware, least)[0]
        tiled.append(any(group.tile for group in best.groups))
    assert tiled == [True, False]
