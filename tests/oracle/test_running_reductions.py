"""Reductions over a whole height that merged groups carry from row to row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.program.instructions import Compute, Program
from dataflow_sim.schedule.check import schedule_faults
from dataflow_sim.schedule.types import DOUBLE, SINGLE, MemoryOptions, RowTiling, Schedule
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.replay import replay
from tests.support.groups import grouped
from tests.support.runs import Case, built_in, case, outputs_of, proved
from tests.support.small import pooled_towers

ROOMY = 1 << 20


def replays(found: Case, program: Program) -> None:
    result = replay(program, found.graph, found.inputs)
    output = outputs_of(found.graph, result.tensors, found.expected)["output"]
    scale = float(np.abs(found.expected).max())
    np.testing.assert_allclose(output, found.expected, rtol=1e-4, atol=1e-5 * scale)


def carrying(schedule: Schedule) -> list[str]:
    """Layers that carry their reduction."""
    tilings = [(c.layer, c.tiling) for c in schedule.layers]
    return [name for name, t in tilings if isinstance(t, RowTiling) and t.running]


def pointwise_and_mean(bits: int = 8) -> NetworkGraph:
    """A 1x1 convolution, 4 channels to 8, over 6 x 5 pixels, and the mean of these."""
    net = OnnxBuilder("mean", (1, 4, 6, 5))
    value = net.global_average_pool("mean", net.convolution("a", "input", 8, 1))
    graph = graph_from_model(net.model(value), "mean")
    return assign_precision(graph, Precision(bits, bits, 32))


def test_local_memory_by_hand() -> None:
    """Kernel, rows of 5 x 4 bytes, sums of 4 bytes, and the output row of 8 bytes."""
    graph = pointwise_and_mean()
    memory = MemoryOptions(0, SINGLE, 32)
    plain, running = (grouped(graph, memory, way) for way in (False, True))
    assert plain.local_bytes == 4 * 8 + 6 * 5 * 4 + 8
    assert running.local_bytes == 4 * 8 + 5 * 4 + 8 * 4 + 8
    assert carrying(running) == ["a"]
    assert plain.traffic_bytes() == running.traffic_bytes()
    apart = grouped(graph, replace(memory, accumulator_capacity_bytes=32), running=True)
    assert apart.local_bytes == 4 * 8 + 5 * 4 + 8
    assert apart.accumulator_bytes == 8 * 4
    (layer,) = running.layers
    # six steps read kernel and row; five write the sums, five read them; DMA in and out
    steps = 6 * (4 * 8 + 5 * 4) + 2 * 5 * 8 * 4 + 8
    assert layer.local_bits == 8 * (steps + 6 * 5 * 4 + 4 * 8 + 8)
    for schedule in (plain, running, apart):
        proved(graph, schedule)


def test_a_memory_that_is_too_small_carries_nothing() -> None:
    graph = pointwise_and_mean()
    for there, names in ((31, []), (32, ["a"])):
        memory = MemoryOptions(0, SINGLE, 32, accumulator_capacity_bytes=there)
        assert carrying(grouped(graph, memory, running=True)) == names
    # 8 sums of 13 bytes and a row of 20 are no fewer than 6 rows, of 12 bytes they are
    wide = MemoryOptions(0, SINGLE, 8 * 13)
    assert carrying(grouped(graph, wide, running=True)) == []
    assert carrying(grouped(graph, replace(wide, accumulator_bits=8 * 12), running=True)) == ["a"]


def test_results_share_the_accumulator_memory_by_time() -> None:
    """At once they lie above each other; what ends before the next begins leaves its place."""
    graph = case("pooled_towers").graph
    both = grouped(graph, MemoryOptions(0, SINGLE, 32, ROOMY), running=True)
    assert carrying(both) == ["b", "wide", "largest"]
    sizes = [2 * 4 * n for n in (6, 5 * 4, 5)]
    assert both.accumulator_bytes == sum(sizes)
    less = MemoryOptions(0, SINGLE, 32, sum(sizes) - 1)
    assert carrying(grouped(graph, less, running=True)) == ["b", "wide"]
    turns = case("pooled_volume").graph
    apart = grouped(turns, MemoryOptions(0, SINGLE, 32, ROOMY), running=True)
    assert carrying(apart) == ["mean", "c"]
    assert apart.accumulator_bytes == max(2 * 4 * 4, 2 * 6 * 4)


WAYS = [(None, 0), (3, 2), (2, 1)]


@pytest.mark.parametrize("room", [None, ROOMY, 60])
@pytest.mark.parametrize(("height", "streamed"), WAYS)
@pytest.mark.parametrize("name", ["pooled_towers", "squeeze_excite", "pooled_volume"])
def test_the_replay_gives_the_networks_output(
    name: str, height: int | None, streamed: int, room: int | None
) -> None:
    found = case(name)
    memory = MemoryOptions(0, SINGLE if streamed == 1 else DOUBLE, 32, room)
    schedule = grouped(found.graph, memory, True, 0, height, streamed)
    assert carrying(schedule)
    replays(found, proved(found.graph, schedule))


@pytest.mark.parametrize(("weights", "maps", "sums"), [(8, 8, 32), (3, 5, 13)])
def test_odd_widths(weights: int, maps: int, sums: int) -> None:
    graph = assign_precision(
        graph_from_model(pooled_towers(), "pooled_towers"), Precision(weights, maps, 32)
    )
    for room in (None, ROOMY):
        for height, streamed in WAYS:
            memory = MemoryOptions(0, DOUBLE, sums, room)
            schedule = grouped(graph, memory, True, 0, height, streamed, 10_000)
            assert carrying(schedule)
            proved(graph, schedule)


@pytest.mark.parametrize(
    ("name", "into", "pooled"), [("mobilenet_v1", 1024, 1024), ("mobilenet_v2", 320, 1280)]
)
def test_the_last_layers_of_mobilenets(name: str, into: int, pooled: int) -> None:
    """Last convolution with its pooling, fully connected: kernels stay, 32-bit sums."""
    graph = built_in(name)
    kernels = into * pooled + pooled * 1000
    before = kernels + 7 * 7 * into + pooled
    after = kernels + 7 * into + 4 * pooled + pooled
    if name == "mobilenet_v1":
        assert (before, after) == (2_123_776, 2_084_864)
    else:
        assert (before, after) == (1_706_560, 1_698_240)
    first = len(graph.layers) - 2
    memory = MemoryOptions(0, SINGLE, 32)
    schedules = [grouped(graph, memory, way, first) for way in (False, True)]
    there = replace(memory, accumulator_capacity_bytes=1 << 16)
    schedules.append(grouped(graph, there, True, first))
    needs = [schedule.groups[-1].local_bytes for schedule in schedules]
    assert needs == [before, after, after - 4 * pooled]


def without(program: Program, index: int) -> Program:
    kept = (*program.instructions[:index], *program.instructions[index + 1 :])
    return replace(program, instructions=kept)


def test_a_row_left_out_or_taken_twice_is_found() -> None:
    found = case("pooled_towers")
    memory = MemoryOptions(0, SINGLE, 32)
    program = proved(found.graph, grouped(found.graph, memory, running=True))
    steps = [
        index
        for index, x in enumerate(program.instructions)
        if isinstance(x, Compute) and x.body_rows is not None and not (x.first or x.last)
    ]
    for index in (steps[0], steps[-1]):
        fewer = without(program, index)
        with pytest.raises(ProgramError, match=r"pools \d+ elements, row by row"):
            count(fewer)
        with pytest.raises(ProgramError, match="missing or stale"):
            replay(fewer, found.graph, found.inputs)
        twice = (*program.instructions[: index + 1], *program.instructions[index:])
        with pytest.raises(ProgramError, match="missing or stale"):
            replay(replace(program, instructions=twice), found.graph, found.inputs)


def test_only_a_pooling_over_all_rows_runs() -> None:
    graph = case("pooled_towers").graph
    schedule = grouped(graph, MemoryOptions(0, SINGLE, 32), running=True)
    (group,) = schedule.groups
    first = group.layers[0]
    assert isinstance(first.tiling, RowTiling)
    layers = (replace(first, tiling=replace(first.tiling, running=True)), *group.layers[1:])
    broken = replace(schedule, groups=(replace(group, layers=layers),))
    assert schedule_faults(graph, schedule) == ()
    assert any("carries a reduction" in fault for fault in schedule_faults(graph, broken))
