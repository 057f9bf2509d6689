"""Merged groups of layers against a simulator that makes and counts every row."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.schedule.group_kernels import kernel_sizes, streamed_sets
from dataflow_sim.schedule.layout import GroupRun, group_layout
from dataflow_sim.schedule.lives import MapLives
from dataflow_sim.schedule.merging import MergedGroup
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import DOUBLE, SINGLE, Buffering, MemoryOptions
from tests.oracle import row_pipeline_oracle as oracle
from tests.oracle.row_pipeline_networks import network
from tests.support.runs import unpacked
from tests.support.small import SLOW_LAST, SMALL

HEIGHTS = (None, 2, 3, 5)
PLAIN = MemoryOptions(0, SINGLE, 32)
SUPPRESSED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def flags(random: Random, choices: int, *shape: int) -> np.ndarray:
    """No flag, every flag, and some random ones."""
    size = int(np.prod(shape))
    rows = [[0] * size, [1] * size]
    rows += [[random.randrange(2) for _ in range(size)] for _ in range(choices - 2)]
    return np.array(rows, dtype=bool).reshape(choices, *shape)


def check_layout(tables: RowTables, run: GroupRun, local_bytes: int) -> None:
    """The buffers never overlap in time and address, and need what the closed form says."""
    found = group_layout(tables, run)
    buffers = list(zip(found.lives, found.addresses, strict=True))
    for place, ((size, first, last), address) in enumerate(buffers):
        assert first <= last
        assert address >= 0
        assert address % tables.memory.alignment_bytes == 0
        assert address + size <= found.height
        for (other_size, other_first, other_last), other in buffers[:place]:
            together = first <= other_last and other_first <= last
            assert not together or address + size <= other or other + other_size <= address
    moments = {first for _, first, _ in found.lives}
    largest = max(
        (sum(s for s, first, last in found.lives if first <= now <= last) for now in moments),
        default=0,
    )
    assert largest == local_bytes
    assert found.height >= local_bytes


def check_group(
    tables: RowTables, group: MergedGroup, run: GroupRun, memory: MemoryOptions, random: Random
) -> None:
    """Compare a group with the simulation, for several residencies and streamed kernels."""
    graph = tables.graph
    doubled, unit = run.doubled, memory.alignment_bytes
    kernels = [kernel_sizes(graph, layer, doubled.weights, unit) for layer in graph.layers]
    double = oracle.Double(doubled.inputs, doubled.weights, doubled.outputs)
    carry = oracle.Carry(memory.accumulator_bits, memory.accumulator_capacity_bytes)
    first, last = run.members[0], run.members[-1]
    running = carry if run.running else None
    chip = oracle.Chip(memory.accumulator_bits, unit)
    simulated = oracle.execute(graph, first, last + 1, run.stripe_rows, double, running, chip)
    carried = {
        run.members[place]: (found.life.row_bytes, found.address)
        for place, found in group.timetable.carried.items()
    }
    assert carried == {i: (held.size, held.address) for i, held in simulated.held.items()}
    names = [found.name for found in group.timetable.outside()]
    leaving = [found.name for found in group.outgoing]
    assert sorted(names) == sorted(simulated.outside)
    assert sorted(leaving) == sorted(simulated.outgoing)
    sets = [(), *streamed_sets(kernels, run.members)]
    outside, going = flags(random, 3, len(names)), flags(random, 4, len(leaving), 2)
    going[:, :, 1] |= ~going[:, :, 0]  # what is not resident is stored
    table = group.table(outside, going, sets)
    assert table.local_bytes.shape == table.dram_bits.shape == (3, 4, len(sets))
    laid_out = random.randrange(table.local_bytes.size)
    for number, (p, q, count) in enumerate(np.ndindex(table.local_bytes.shape)):
        resident = {name for name, flag in zip(names, outside[p], strict=True) if flag}
        resident |= {name for name, flag in zip(leaving, going[q, :, 0], strict=True) if flag}
        stored = {name for name, flag in zip(leaving, going[q, :, 1], strict=True) if flag}
        streamed = frozenset(sets[count])
        choice = oracle.Choice(frozenset(resident), frozenset(stored), streamed)
        counted = oracle.measure(simulated, choice)
        found = oracle.Totals(
            int(table.local_bytes[p, q, count]), int(table.dram_bits[p, q, count])
        )
        assert found == counted, (run, choice)
        if number == laid_out:
            tiles = tuple((index, 1) for index, _ in sorted(streamed))
            pinned = tuple((index, stay) for index, stay in sorted(streamed) if stay)
            chosen = GroupRun(
                run.members,
                run.stripe_rows,
                tiles,
                choice.resident,
                choice.stored,
                run.doubled,
                running=run.running,
                pinned=pinned,
            )
            check_layout(tables, chosen, counted.local_bytes)


def compare(
    graph: NetworkGraph,
    start: int,
    height: int | None,
    doubled: Buffering,
    random: Random,
    memory: MemoryOptions = PLAIN,
    running: bool = False,
) -> int:
    """Let a group of at most seven layers grow from `start`; compare it after every layer."""
    tables, unit = RowTables(graph, memory), memory.alignment_bytes
    kernels = [kernel_sizes(graph, layer, doubled.weights, unit) for layer in graph.layers]
    readers = MapLives(graph).readers
    group = MergedGroup(tables, kernels, readers, height, doubled, running)
    for index in range(start, min(len(graph.layers), start + 7)):
        if not tables.mergeable[index]:
            break
        group = group.grown(index, keep=False)
        nothing = frozenset[str]()
        run = GroupRun(group.members, height, (), nothing, nothing, doubled, running=running)
        check_group(tables, group, run, memory, random)
    return len(group.members)


def some_memory(random: Random) -> MemoryOptions:
    """Accumulators of some width, with or without a memory of their own; some alignment."""
    room = random.choice((None, None, 8, 40, 1 << 20))
    bits, unit = random.choice((8, 20, 32)), random.choice((1, 1, 2, 16, 64))
    return MemoryOptions(0, SINGLE, bits, room, unit)


def some_buffering(random: Random) -> Buffering:
    return Buffering(*(random.random() < 0.5 for _ in range(4)))


def two_convolutions() -> NetworkGraph:
    """36x36x16 to 34x34x16 to 32x32x16, 3x3 kernels, no padding, no bias."""
    net = OnnxBuilder("two", (1, 16, 36, 36))
    value = "input"
    for name in ("a", "b"):
        inputs = [value, net.weight(f"{name}.weight", (16, 16, 3, 3))]
        value = net.node("Conv", name, inputs, kernel_shape=[3, 3])
    return assign_precision(graph_from_model(net.model(value), "two"), Precision(8, 8, 32))


def test_two_convolutions_by_hand() -> None:
    # while a row of the middle map is made: three rows of 36 x 16, three of 34 x 16, the kernels
    local_bytes = 3 * 36 * 16 + 3 * 34 * 16 + 2 * 9 * 16 * 16
    assert local_bytes == 7968
    graph = two_convolutions()
    stored = frozenset({"b"})
    simulated = oracle.execute(graph, 0, 2, None, oracle.Double())
    dram_bytes = 36 * 36 * 16 + 32 * 32 * 16 + 2 * 9 * 16 * 16
    assert dram_bytes == 41728
    counted = oracle.measure(simulated, oracle.Choice(stored=stored))
    assert counted == oracle.Totals(local_bytes, 8 * dram_bytes)
    assert compare(graph, 0, None, SINGLE, Random(0)) == 2
    run = GroupRun((0, 1), None, (), frozenset(), stored, SINGLE)
    assert group_layout(RowTables(graph, PLAIN), run).height == local_bytes


def test_rows_first_needed_out_of_order_by_hand() -> None:
    """With double buffers no row may come later than the firing that first needs it."""
    net = OnnxBuilder("shortcut", (1, 1, 8, 8))
    short = net.convolution("short", "input", 1, 1, stride=2)
    model = net.model(net.convolution("main", "input", 1, 3, stride=2))
    model.graph.output.append(helper.make_tensor_value_info(short, TensorProto.FLOAT, None))
    graph = assign_precision(graph_from_model(model, "shortcut"), Precision(8, 8, 32))
    # stripe 1 of the shortcut: input rows 3 to 7, its rows 1 to 3, row 1 of the other output,
    # the kernels; it needs rows 4 and 6, and row 5 is first needed after row 6
    stored = frozenset({"short", "main"})
    simulated = oracle.execute(graph, 0, 2, 4, oracle.Double(True, True, True))
    counted = oracle.measure(simulated, oracle.Choice(stored=stored))
    assert counted.local_bytes == 5 * 8 + 3 * 4 + 4 + 1 + 9
    assert compare(graph, 0, 4, DOUBLE, Random(0)) == 2


@pytest.mark.parametrize("name", SLOW_LAST)
def test_small_networks(name: str) -> None:
    graph = assign_precision(graph_from_model(SMALL[name](), name), Precision(8, 8, 32))
    random = Random(name)
    for start in range(len(graph.layers)):
        height, doubled = random.choice(HEIGHTS), some_buffering(random)
        compare(graph, start, height, doubled, random, some_memory(random), start % 2 == 0)


def check_random_network(random: Random, sweeps: bool = False) -> None:
    graph = network(random, sweeps)
    start = random.randrange(len(graph.layers))
    if random.random() < 0.5:
        graph = unpacked(graph, random.choice((8, 13, 32)))
    height, doubled = random.choice(HEIGHTS), some_buffering(random)
    memory, running = some_memory(random), random.random() < 0.6
    compare(graph, start, height, doubled, random, memory, running)


@given(st.randoms(use_true_random=False))
@settings(max_examples=300, suppress_health_check=SUPPRESSED)
def test_random_networks(random: Random) -> None:
    check_random_network(random)


@given(st.randoms(use_true_random=False))
@settings(max_examples=200, suppress_health_check=SUPPRESSED)
def test_random_networks_with_sweeps(random: Random) -> None:
    check_random_network(random, sweeps=True)


@pytest.mark.soak
@given(st.integers(0), st.booleans())
@settings(max_examples=10000, suppress_health_check=SUPPRESSED)
def test_many_random_networks(seed: int, sweeps: bool) -> None:
    check_random_network(Random(seed), sweeps)
