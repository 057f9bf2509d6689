"""Convolutions over volumes: what becomes a loop nest, and its numbers by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.errors import ScheduleError
from dataflow_sim.explanation import explain
from dataflow_sim.graph.analyses import layer_macs, layer_macs_without_padding
from dataflow_sim.graph.layer import Layer, LayerKind, PlaneWindow, Window
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision, drop_vectors
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.pipeline import RunOptions
from dataflow_sim.report.explanation import explain_tables
from dataflow_sim.schedule.amounts import tiling_costs
from dataflow_sim.schedule.bounds import (
    compulsory_bytes,
    layer_bound_bytes,
    layer_floor_bytes,
    window_reuse,
)
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.footprints import axis_tiles, layer_axes
from dataflow_sim.schedule.frontier import layer_frontier
from dataflow_sim.schedule.problem import layer_problem
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.schedule.types import (
    DOUBLE,
    SINGLE,
    Buffering,
    LayerTiling,
    MemoryOptions,
    PartialSums,
)
from dataflow_sim.simulate.replay import replay
from tests.support.curves import curve
from tests.support.runs import case, outputs_of, proved
from tests.support.small import volume_convolution, volumes

Triple = tuple[int, int, int]


def graph_of(model: onnx.ModelProto) -> NetworkGraph:
    graph = graph_from_model(model, "volume")
    return drop_vectors(assign_precision(graph, Precision(8, 8, 32)))


def single(
    shape: tuple[int, int, int, int, int],
    channels: int,
    kernel: Triple,
    stride: Triple = (1, 1, 1),
    dilation: Triple = (1, 1, 1),
    pad: Triple = (0, 0, 0),
) -> NetworkGraph:
    """A network of one convolution over a volume, padded alike before and behind."""
    net = OnnxBuilder("single", shape)
    value = volume_convolution(
        net, "conv", "input", channels, kernel, strides=stride, dilations=dilation, pads=pad * 2
    )
    return graph_of(net.model(value))


def only(graph: NetworkGraph) -> Layer:
    (layer,) = graph.layers
    return layer


def total(graph: NetworkGraph, capacity: int) -> int:
    schedule = schedule_network(graph, MemoryOptions(capacity, SINGLE, 32), "layerwise")
    proved(graph, schedule)
    return sum(schedule.traffic_bytes().values())


def test_plain_numbers() -> None:
    """2 channels of 4x6x5 by 3 kernels of 3x3x3: 2x4x3 results of each."""
    graph = single((1, 2, 4, 6, 5), 3, (3, 3, 3))
    layer = only(graph)
    assert layer.kind is LayerKind.CONVOLUTION
    assert (layer.input.shape, layer.output_shape) == ((1, 2, 4, 30), (1, 3, 2, 12))
    assert layer_macs(layer) == layer_macs_without_padding(layer) == 3 * 24 * 2 * 27
    assert graph.parameters == 3 * 2 * 27 + 3
    assert total(graph, 1 << 20) == 2 * 120 + 3 * 2 * 27 + 3 * 24
    problem = layer_problem(graph, layer, MemoryOptions(0, SINGLE, 32))
    # one line of one plane, all channels: 3 planes of 3 lines of 5, read for each of the 4 lines
    tiling = LayerTiling("PMK", PartialSums.NONE, 1, 3, 2, 1, 1, 3, 8)
    costs = tiling_costs(problem, tiling)
    assert costs is not None
    assert int(costs.local_bytes[0]) == 2 * 3 * 3 * 5 + 3 * 2 * 27 + 3 * 3
    assert int(costs.input_elements[0]) == 4 * (4 * 3 * 5)  # planes roll, lines do not
    assert int(costs.dram_bits[0]) == 8 * (2 * 240 + 3 * 2 * 27 + 3 * 24)


def test_the_axes_of_a_volume() -> None:
    layer = only(single((1, 2, 8, 9, 7), 4, (3, 3, 2), (2, 2, 1), pad=(1, 1, 0)))
    inside = Window(kernel=(3, 2), stride=(2, 1), pad=(1, 0))
    plane = PlaneWindow((9, 7), (5, 6), inside)
    assert layer.window == Window((3, 6), (2, 1), (1, 1), (1, 0), plane=plane)
    rows, columns = layer_axes(layer)
    assert (rows.input_size, rows.output_size) == (8, 4)
    assert (columns.input_size, columns.output_size) == (63, 30)
    tiles = axis_tiles(columns)
    assert tiles.size.tolist() == [6, 12, 18, 30]
    # lines 0 to 1, 1 to 3, 3 to 5, 5 to 7, 7 to 8 of 7 elements
    assert tiles.input_sum.tolist()[0] == 7 * (2 + 3 + 3 + 3 + 2)
    assert tiles.input_largest.tolist() == [7 * 3, 7 * 5, 7 * 6, 7 * 9]
    assert columns.input_span(columns.body_span(6, 12))[:2] == (7, 28)


def test_one_tap_in_the_plane_is_a_convolution_of_rows() -> None:
    """Its columns are cut anywhere, as of any other map."""
    layer = only(single((1, 2, 8, 5, 6), 4, (3, 1, 1), (2, 1, 1), pad=(1, 0, 0)))
    assert layer.window == Window((3, 1), (2, 1), (1, 1), (1, 0))
    padded = only(single((1, 2, 8, 5, 6), 4, (3, 1, 1), pad=(0, 0, 1)))
    assert padded.window.plane is not None
    strided = only(single((1, 2, 8, 5, 6), 4, (1, 1, 1), (1, 2, 1)))
    assert strided.window.plane is not None


def elements_that_meet_a_tap(
    size: Triple, body: Triple, kernel: Triple, stride: Triple, dilation: Triple, pad: Triple
) -> tuple[set[Triple], int, int]:
    """Elements that any output depends on, products without padding, most outputs an element is in.

    By definition: every output, every tap.
    """
    uses: dict[Triple, int] = {}
    for place in product(*map(range, body)):
        for tap in product(*map(range, kernel)):
            at = [place[a] * stride[a] - pad[a] + tap[a] * dilation[a] for a in range(3)]
            if all(0 <= at[a] < size[a] for a in range(3)):
                key = (at[0], at[1], at[2])
                uses[key] = uses.get(key, 0) + 1
    return set(uses), sum(uses.values()), max(uses.values(), default=0)


@st.composite
def windows(draw: st.DrawFn) -> tuple[Triple, Triple, Triple, Triple, Triple]:
    """Input size, kernel, stride, dilation, padding."""
    kernel, stride, dilation = (
        (draw(st.integers(1, n)), draw(st.integers(1, n)), draw(st.integers(1, n)))
        for n in (3, 3, 2)
    )
    reach = [(kernel[axis] - 1) * dilation[axis] + 1 for axis in range(3)]
    pads = [draw(st.integers(0, min(2, reach[axis] - 1))) for axis in range(3)]
    sizes = [draw(st.integers(max(1, reach[axis] - 2 * pads[axis]), 7)) for axis in range(3)]
    pad = (pads[0], pads[1], pads[2])
    return (sizes[0], sizes[1], sizes[2]), kernel, stride, dilation, pad


@given(windows())
def test_macs_floor_and_reuse_by_definition(
    drawn: tuple[Triple, Triple, Triple, Triple, Triple],
) -> None:
    size, kernel, stride, dilation, pad = drawn
    graph = single((1, 1, *size), 1, kernel, stride, dilation, pad)
    layer = only(graph)
    rows, columns = layer.output_shape[2:]
    body = [
        (size[a] + 2 * pad[a] - (kernel[a] - 1) * dilation[a] - 1) // stride[a] + 1
        for a in range(3)
    ]
    assert (rows, columns) == (body[0], body[1] * body[2])
    shape = (body[0], body[1], body[2])
    needed, products, most = elements_that_meet_a_tap(size, shape, kernel, stride, dilation, pad)
    assert layer_macs(layer) == rows * columns * np.prod(kernel)
    assert layer_macs_without_padding(layer) == products
    floor = len(needed) + int(np.prod(kernel)) + rows * columns
    assert layer_floor_bytes(graph, layer) == compulsory_bytes(graph) == floor
    assert most <= window_reuse(layer)
    problem = layer_problem(graph, layer, MemoryOptions(0, SINGLE, 8))
    frontier = layer_frontier(problem)
    assert frontier.dram_bits[-1] >= 8 * floor
    for local, bits in zip(frontier.local_bytes, frontier.dram_bits, strict=True):
        assert bits >= 8 * layer_bound_bytes(graph, layer, int(local))


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "reuse"),
    [
        ((3, 3, 3), (1, 1, 1), (1, 1, 1), 27),
        ((3, 7, 7), (1, 2, 2), (1, 1, 1), 3 * 4 * 4),
        ((1, 1, 1), (2, 2, 2), (1, 1, 1), 1),
        ((3, 3, 3), (2, 2, 2), (2, 1, 4), 3 * 2 * 3),
    ],
)
def test_reuse(kernel: Triple, stride: Triple, dilation: Triple, reuse: int) -> None:
    graph = single((1, 1, 12, 12, 12), 1, kernel, stride, dilation)
    assert window_reuse(only(graph)) == reuse


def test_whole_lines_are_read() -> None:
    """Of a strided 1x1x1 kernel every other plane and line is read, but of these all elements."""
    graph = single((1, 1, 4, 6, 8), 1, (1, 1, 1), (2, 2, 2))
    assert layer_floor_bytes(graph, only(graph)) == 2 * 3 * 4 + 1 + 2 * 3 * 4
    least = int(
        layer_frontier(
            layer_problem(graph, only(graph), MemoryOptions(0, SINGLE, 32))
        ).dram_bits.min()
    )
    assert least == 8 * (2 * 3 * 8 + 1 + 2 * 3 * 4)
    # with the whole plane as one tile the lines between are read too
    whole = LayerTiling("PMK", PartialSums.NONE, 1, 1, 1, 1, 2, 12, 1)
    costs = tiling_costs(layer_problem(graph, only(graph), MemoryOptions(0, SINGLE, 32)), whole)
    assert costs is not None
    assert int(costs.input_elements[0]) == 2 * 5 * 8


def test_a_tile_that_cuts_a_line_is_refused() -> None:
    graph = single((1, 2, 4, 6, 5), 3, (3, 3, 3))
    schedule = schedule_network(graph, MemoryOptions(1 << 20, SINGLE, 32), "layerwise")
    (group,) = schedule.groups
    (layer,) = group.layers
    assert isinstance(layer.tiling, LayerTiling)
    for columns, legal in ((12, True), (6, True), (4, False), (13, False)):
        tiling = replace(layer.tiling, column_tile=columns, steps=-(-12 // columns))
        changed = replace(group, layers=(replace(layer, tiling=tiling),))
        other = replace(schedule, groups=(changed,))
        if legal:
            check_schedule(graph, other)
        else:
            with pytest.raises(ScheduleError, match="column_tile"):
                check_schedule(graph, other)


def kinds(model: onnx.ModelProto) -> dict[str, LayerKind]:
    return {layer.name: layer.kind for layer in graph_of(model).layers}


def test_a_computed_kernel_is_streamed() -> None:
    net = OnnxBuilder("computed", (1, 2, 4, 4, 4))
    kernel = net.input("kernel", (3, 2, 3, 3, 3))
    model = net.model(net.node("Conv", "conv", ["input", kernel]))
    assert kinds(model) == {"conv": LayerKind.STREAMED}


def test_what_folds_into_a_volume() -> None:
    """Normalisation, activation, a shortcut; in front of one that others read too."""
    net = OnnxBuilder("folds", (1, 4, 4, 5, 5))
    value = volume_convolution(net, "a", "input", 4, (3, 3, 3), pads=[1] * 6)
    value = net.activation("pre.relu", net.batch_norm("pre", value))
    value = net.add("sum", volume_convolution(net, "b", value, 4, (3, 3, 3), pads=[1] * 6), value)
    before = net.activation("before.relu", net.batch_norm("before", value))
    left = volume_convolution(net, "c", before, 2, (1, 3, 3), bias=False)
    graph = graph_of(net.model(net.concat("both", [left, left]), value))
    layers = {layer.name: layer for layer in graph.layers}
    assert layers["a"].post.ops == ("BatchNormalization", "Relu")
    assert [view.shape for view in layers["b"].operands] == [(1, 4, 4, 25)]
    assert layers["c"].pre.ops == ("BatchNormalization", "Relu")
    assert all(layers[name].kind is LayerKind.CONVOLUTION for name in "abc")


def test_planes_are_pooled_whole_or_by_a_layer_of_their_own() -> None:
    net = OnnxBuilder("pooled", (1, 2, 4, 5, 6))
    whole = volume_convolution(net, "a", "input", 3, (3, 3, 3), pads=[1] * 6)
    whole = net.global_average_pool("a.mean", whole)
    part = volume_convolution(net, "b", "input", 3, (3, 3, 3), pads=[1] * 6)
    part = net.pool("MaxPool", "b.pool", net.reshape("flat", part, (1, 3, 4, 30)), (2, 3), (2, 3))
    graph = graph_of(net.model(whole, part))
    layers = {layer.name: layer for layer in graph.layers}
    assert sorted(layers) == ["a", "b", "b.pool"]
    assert layers["a"].output_shape == (1, 3, 1, 1)
    assert layers["b"].pool is None
    for capacity in (400, 4000, 1 << 20):
        total(graph, capacity)


def test_explain_names_the_three_axes() -> None:
    graph = graph_from_model(volumes(), "volumes")
    hardware = load_hardware("bare", {"local_memory.capacity": "600B"})
    found = explain(graph, hardware, RunOptions(), "stem")
    layer = found.layer
    assert (layer.kernel, layer.stride, layer.pad) == ((3, 3, 2), (1, 2, 2), (1, 1, 0))
    assert layer.plane == (9, 8)
    assert sum(buffer.size_bytes for buffer in found.buffers) == found.local_bytes
    table = explain_tables(found)[0]
    assert ("volume", "rows are depth, columns the lines of planes of 9x8") in table.rows
    assert ("operation", "Conv 3x3x2, stride 1x2x2, pad 1x1x0") in table.rows


@pytest.mark.parametrize("double", [False, True], ids=["single", "double"])
def test_volumes_run_by_planes_in_merged_groups(double: bool) -> None:
    """Every budget at which a group holds two windows over planes, counted and replayed."""
    found = case("volumes")
    curve_found = curve(found.graph, "merged", double)
    planes = [layer.window.plane is not None for layer in found.graph.layers]
    points = [
        point
        for point in curve_found.points
        if any(g.merged and sum(planes[i] for i in g.members) > 1 for g in point.schedule.groups)
    ]
    assert points
    for point in points[:: max(1, len(points) // 4)]:
        schedule = curve_found.schedule(point.local_bytes)
        assert schedule is not None
        program = proved(found.graph, schedule)
        result = replay(program, found.graph, found.inputs)
        output = outputs_of(found.graph, result.tensors, found.expected)["output"]
        scale = float(np.abs(found.expected).max())
        np.testing.assert_allclose(output, found.expected, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("policy", ["layerwise", "resident", "merged"])
@pytest.mark.parametrize("doubled", [SINGLE, DOUBLE], ids=["single", "double"])
def test_more_memory_never_costs(policy: str, doubled: Buffering) -> None:
    graph = case("volumes").graph
    totals = []
    for capacity in (700, 900, 1500, 2500, 4000, 7000, 1 << 16):
        schedule = schedule_network(graph, MemoryOptions(capacity, doubled, 32), policy)
        proved(graph, schedule)
        totals.append(sum(schedule.traffic_bytes().values()))
    assert totals == sorted(totals, reverse=True)
