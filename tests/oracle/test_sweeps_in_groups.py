"""Sweeps as members of merged groups: by hand, and the closed form against the ledger."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from dataflow_sim.graph.layer import Layer, LayerKind, Segment, Tensor, TensorKind, View, WeightRole
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.graph.region import Shape4
from dataflow_sim.graph.sweep import Cut, Sweep, SweepKind
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.program.instructions import Load, Stream
from dataflow_sim.schedule.check import schedule_faults
from dataflow_sim.schedule.group_kernels import kernel_sizes
from dataflow_sim.schedule.lives import MapLives
from dataflow_sim.schedule.merging import MergedGroup, most_firings
from dataflow_sim.schedule.rows import Obstacle, layer_rows, obstacle
from dataflow_sim.schedule.search import budget_curve, schedule_network
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import DOUBLE, SINGLE, MemoryOptions, RowTiling
from tests.oracle.row_pipeline_networks import network
from tests.support.groups import grouped
from tests.support.runs import proved

PLAIN = MemoryOptions(0, SINGLE, 32)
BY_ROWS = (Cut("P", 2),)
BY_COLUMNS = (Cut("N", 2),)


def view(name: str, shape: Shape4) -> View:
    return View((Segment(name, 0, shape[1]),), shape)


def attention_and_projection(tokens: int, depth: int, wide: int, keys: int) -> NetworkGraph:
    """One head over `keys` keys, and a linear layer behind it; queries, keys, values come in."""
    lies, those = (1, depth, tokens, 1), (1, depth, keys, 1)
    sweep = Sweep(
        kind=SweepKind.ATTENTION,
        batch=1,
        groups=1,
        rows=tokens,
        parts=(keys,),
        views=(BY_ROWS, BY_COLUMNS, BY_COLUMNS),
        outputs=(BY_ROWS,),
        sums=depth + 2,
    )
    attend = Layer(
        name="attend",
        op="Attention",
        kind=LayerKind.STREAMED,
        input=view("q", lies),
        operands=(view("k", those), view("v", those)),
        output="a",
        body_shape=lies,
        output_shape=lies,
        stated_macs=2 * tokens * keys * depth,
        sweep=sweep,
    )
    out = (1, wide, tokens, 1)
    project = Layer(
        name="project",
        op="Conv",
        kind=LayerKind.CONVOLUTION,
        input=view("a", lies),
        output="y",
        body_shape=out,
        output_shape=out,
        weight="w",
    )
    inputs = ("q", "k", "v")
    tensors = {
        n: Tensor(n, TensorKind.INPUT, s, 8)
        for n, s in zip(inputs, (lies, those, those), strict=True)
    }
    tensors["a"] = Tensor("a", TensorKind.MAP, lies, 8)
    tensors["y"] = Tensor("y", TensorKind.OUTPUT, out, 8)
    tensors["w"] = Tensor("w", TensorKind.WEIGHT, (wide, depth, 1, 1), 8, WeightRole.KERNEL)
    return NetworkGraph("head", (attend, project), tensors, inputs, ("y",), wide * depth)


def test_one_head_by_hand() -> None:
    """Keys and values wait whole; a query comes, its result goes through the projection."""
    tokens, depth, wide, keys = 7, 4, 6, 5
    graph = attention_and_projection(tokens, depth, wide, keys)
    schedule = grouped(graph, PLAIN, running=False)
    (group,) = schedule.groups
    # while a query is answered: keys, values, the query, the result; then the result, its row
    held = 2 * keys * depth + wide * depth
    assert group.local_bytes == held + max(2 * depth, depth + wide) == 40 + 24 + 10
    dram = tokens * depth + 2 * keys * depth + wide * depth + tokens * wide
    assert sum(schedule.traffic_bytes().values()) == dram
    attend, project = group.layers
    assert attend.tiling == RowTiling(False, depth, tokens, tokens)
    assert attend.macs_executed == 2 * tokens * keys * depth
    # every step reads a query, all keys and all values, and writes a result; DMA brings each once
    steps = tokens * (depth + 2 * keys * depth + depth)
    assert attend.local_bits == 8 * (steps + tokens * depth + 2 * keys * depth)
    assert project.macs_executed == tokens * depth * wide
    program = proved(graph, schedule)
    loads = [x.tensor for x in program.instructions if isinstance(x, Load)]
    assert loads.count("k") == loads.count("v") == keys
    assert loads.index("k") < loads.index("v") < len(loads) - 1 - loads[::-1].index("q")


def test_what_a_step_reads_by_hand() -> None:
    """With stripes of three queries a step answers three; the last one answers one."""
    graph = attention_and_projection(7, 4, 6, 5)
    schedule = grouped(graph, PLAIN, running=False, height=3)
    (group,) = schedule.groups
    assert [
        layer.tiling.firings for layer in group.layers if isinstance(layer.tiling, RowTiling)
    ] == [3, 3]
    # three queries, three results, then three rows
    assert group.local_bytes == 40 + 24 + max(3 * 4 + 3 * 4, 3 * 4 + 3 * 6)
    program = proved(graph, schedule)
    steps = [x for x in program.instructions if isinstance(x, Stream)]
    assert [sum(part.box.elements for part in step.writes) for step in steps] == [12, 12, 4]
    assert [sum(part.box.elements for part in step.reads) for step in steps] == [52, 52, 44]


def normalised(rows: int, columns: int, channels: int) -> NetworkGraph:
    """A linear layer by pixel, a norm over the planes, another linear layer; nothing is counted
    of the norm's constants."""
    net = OnnxBuilder("normalised", (1, channels, rows, columns))
    a = net.node(
        "Conv", "a", ["input", net.weight("a.w", (channels, channels, 1, 1))], kernel_shape=[1, 1]
    )
    n = net.instance_norm("n", a)
    b = net.node(
        "Conv", "b", [n, net.weight("b.w", (channels, channels, 1, 1))], kernel_shape=[1, 1]
    )
    graph = graph_from_model(net.model(b), "normalised")
    return assign_precision(graph, Precision(8, 8, 32))


def test_a_norm_over_rows_by_hand() -> None:
    """The map before the norm waits whole, and goes row by row as the norm makes its rows."""
    rows, columns, channels = 6, 5, 3
    graph = normalised(rows, columns, channels)
    norm = graph.layers[1]
    assert norm.sweep is not None
    schedule = grouped(graph, PLAIN, running=False)
    (group,) = schedule.groups
    row = columns * channels
    constants = sum(
        -(-graph.tensors[name].elements * graph.tensors[name].bits // 8)
        for layer in graph.layers
        for name in layer.weights
    )
    # the whole map, the first row that is made of it, two statistics a channel
    assert group.local_bytes == constants + rows * row + row + 2 * channels * 4
    moved = sum(schedule.traffic_bytes().values())
    assert moved == 2 * rows * row + constants
    chosen = group.layers[1]
    assert chosen.tiling == RowTiling(False, channels, rows, rows)
    # one step reads the map, the others a row; statistics are written once, read by the others
    read = (rows + rows - 1) * row * 8 + (rows - 1) * 2 * channels * 32
    written = rows * row * 8 + 2 * channels * 32
    vectors = graph.tensors[norm.weights[0]]
    fetched = vectors.elements * vectors.bits
    assert chosen.local_bits == read + written + rows * fetched + fetched
    proved(graph, schedule)
    # in one firing nothing is carried, and both maps are there whole
    whole = grouped(graph, PLAIN, running=False, height=rows)
    assert whole.groups[0].local_bytes == constants + 2 * rows * row
    proved(graph, whole)


def test_rows_that_lie_along_the_same_loop_need_their_own() -> None:
    """Softmax over the columns of a plane takes row by row, over its rows the whole plane."""
    for axis, whole in ((3, False), (2, True)):
        net = OnnxBuilder("softmax", (1, 2, 5, 4))
        pixels = net.convolution("pixels", "input", 2, 3)
        graph = graph_from_model(net.model(net.softmax("s", pixels, axis)), "softmax")
        layer = graph.layers[1]
        assert layer.sweep is not None
        assert obstacle(graph, layer) is None
        rows = layer_rows(layer)
        (needs,) = rows.views
        assert [needs.rows(row).length for row in range(2)] == ([5, 4] if whole else [1, 1])
        assert rows.sums == (2 * 2 * 4 if whole else 0)


def test_what_cannot_run_by_rows_says_why() -> None:
    graph = attention_and_projection(7, 4, 6, 5)
    attend = graph.layers[0]
    assert attend.sweep is not None
    state = replace(attend, sweep=replace(attend.sweep, kind=SweepKind.RECURRENT))
    assert obstacle(graph, state) is Obstacle.STREAMED
    assert obstacle(graph, replace(attend, sweep=None)) is Obstacle.STREAMED
    assert obstacle(graph, replace(attend, extra_outputs=("b",))) is Obstacle.OUTPUTS
    keys = replace(graph.tensors["k"], kind=TensorKind.WEIGHT)
    assert obstacle(graph.with_tensors([keys]), attend) is Obstacle.CONSTANT


def test_faults_of_a_sweep_by_rows_are_found() -> None:
    graph = attention_and_projection(7, 4, 6, 5)
    schedule = grouped(graph, PLAIN, running=False)
    (group,) = schedule.groups
    first = group.layers[0]
    assert isinstance(first.tiling, RowTiling)
    for change, fault in (
        ({"streamed": True}, "no kernel to stream"),
        ({"firings": 8, "steps": 8}, "8 firings, legal is 1 to 7"),
        ({"steps": 6}, "6 steps stated"),
    ):
        tiling = replace(first.tiling, **change)
        layers = (replace(first, tiling=tiling), *group.layers[1:])
        broken = replace(schedule, groups=(replace(group, layers=layers),))
        assert any(fault in each for each in schedule_faults(graph, broken))


def drawn(seed: int) -> tuple[NetworkGraph, MemoryOptions, Random]:
    """A network with sweeps, of some widths, and how its memory is buffered."""
    random = Random(seed)
    graph = network(random, sweeps=True)
    room = random.choice((None, 40, 1 << 20))
    doubled = random.choice((SINGLE, DOUBLE))
    return graph, MemoryOptions(0, doubled, random.choice((8, 13, 32)), room), random


def check_group(seed: int) -> int:
    """The last layers of a network that run by rows, as one group; how many are sweeps."""
    graph, memory, random = drawn(seed)
    able = RowTables(graph, memory).mergeable
    first = len(able)
    while first and able[first - 1]:
        first -= 1
    if first == len(able):
        return 0
    height = random.choice((None, None, 1, 2, 3))
    streamed = 0 if height is None else random.randint(0, 2)
    schedule = grouped(graph, memory, random.random() < 0.5, first, height, streamed)
    proved(graph, schedule)
    return sum(layer.sweep is not None for layer in graph.layers[first:])


def test_the_ledger_counts_what_the_closed_form_says() -> None:
    assert sum(check_group(seed) for seed in range(60)) > 60


def check_search(seed: int) -> int:
    """Curves descend, merging never costs, chosen schedules are proved; sweeps that merged."""
    graph, memory, random = drawn(seed)
    merged, resident = (budget_curve(graph, memory, p).points for p in ("merged", "resident"))
    for one, other in pairwise(merged):
        assert one.local_bytes < other.local_bytes
        assert one.dram_bytes > other.dram_bytes
    for point in resident:
        best = [p.dram_bytes for p in merged if p.local_bytes <= point.local_bytes]
        assert best
        assert best[-1] <= point.dram_bytes
    found = 0
    for point in random.sample(merged, min(4, len(merged))):
        here = replace(memory, capacity_bytes=point.local_bytes)
        schedule = schedule_network(graph, here, "merged")
        proved(graph, schedule)
        assert sum(schedule.traffic_bytes().values()) == point.dram_bytes
        for group in schedule.groups:
            if group.merged and len(group.members) > 1:
                found += sum(graph.layers[i].sweep is not None for i in group.members)
    return found


def test_searched_schedules_are_proved() -> None:
    assert sum(check_search(seed) for seed in range(8)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_more_searched_schedules_are_proved(seed: int) -> None:
    check_search(seed)
    check_group(seed)


@pytest.mark.parametrize("seed", [0, 7, 15, 23, 29])
def test_firings_are_foretold_from_the_finest_timetable(seed: int) -> None:
    """In stripes of any height, which the search tries only where they can pay."""
    graph, memory, _ = drawn(seed)
    tables, readers = RowTables(graph, memory), MapLives(graph).readers
    kernels = [kernel_sizes(graph, layer, weights_doubled=False) for layer in graph.layers]

    def group_of(height: int | None, last: int) -> MergedGroup:
        group = MergedGroup(tables, kernels, readers, height, SINGLE)
        for index in range(last):
            group = group.grown(index, keep=False)
        return group

    last = next((i for i, able in enumerate(tables.mergeable) if not able), len(graph.layers))
    assert any(layer.sweep is not None for layer in graph.layers[:last])
    rows = graph.layers[0].input.shape[2]
    heights = np.arange(1, rows + 1)
    foretold = most_firings(group_of(None, last), -(-rows // heights), heights)
    for height, expected in zip(heights.tolist(), foretold.tolist(), strict=True):
        table = group_of(height, last).timetable
        assert [len(firings) for firings in table.firings] == expected
