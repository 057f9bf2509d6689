"""Properties of schedules: more memory never costs, bounds hold, nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.errors import DoesNotFitError
from dataflow_sim.graph.layer import Window
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.schedule.bounds import compulsory_bytes, layer_bound_bytes, layer_floor_bytes
from dataflow_sim.schedule.frontier import layer_frontier
from dataflow_sim.schedule.problem import layer_problem
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.schedule.types import DOUBLE, SINGLE, Buffering, MemoryOptions
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.occupancy import occupancy
from tests.support.runs import (
    CLASSIC,
    buffering,
    built_in,
    layer_curve,
    least_budget,
    least_of,
    proved,
    scheduled,
    single_convolution,
    unpacked,
)

KIB = 1024


def total(graph: NetworkGraph, budget: int, double_buffer: bool = False) -> int:
    memory = MemoryOptions(budget, buffering(double_buffer), 32)
    return sum(schedule_network(graph, memory, "layerwise").traffic_bytes().values())


@pytest.mark.parametrize("name", CLASSIC)
def test_more_memory_never_costs_traffic(name: str) -> None:
    graph = built_in(name)
    budgets = [KIB << power for power in range(4, 17)]
    totals = [total(graph, budget) for budget in budgets]
    assert all(after <= before for before, after in pairwise(totals))
    floor = sum(layer_floor_bytes(graph, layer) for layer in graph.layers)
    assert totals[-1] == floor >= compulsory_bytes(graph)


@pytest.mark.parametrize("name", CLASSIC)
def test_layer_bounds_lie_below_every_point_of_the_frontier(name: str) -> None:
    graph = built_in(name, accumulator=8)
    memory = MemoryOptions(0, SINGLE, 8)
    for layer in graph.layers:
        frontier = layer_frontier(layer_problem(graph, layer, memory))
        for local, bits in zip(frontier.local_bytes, frontier.dram_bits, strict=True):
            assert layer_bound_bytes(graph, layer, int(local)) * 8 <= bits


@pytest.mark.parametrize("double_buffer", [False, True])
@pytest.mark.parametrize("name", ["mobilenet_v1@0.25", "resnet50"])
def test_the_least_memory_works_and_one_byte_less_does_not(name: str, double_buffer: bool) -> None:
    graph = built_in(name)
    least = least_budget(graph, double_buffer)
    schedule_network(graph, MemoryOptions(least, buffering(double_buffer), 32), "layerwise")
    with pytest.raises(DoesNotFitError) as caught:
        schedule_network(graph, MemoryOptions(least - 1, buffering(double_buffer), 32), "layerwise")
    assert caught.value.needed_bytes == least
    assert caught.value.available_bytes == least - 1


def test_a_budget_at_a_breakpoint_gives_its_bytes_and_one_less_the_point_before() -> None:
    graph = single_convolution((1, 24, 20, 20), 36, Window(kernel=(3, 3), pad=(1, 1)))
    local, bits = layer_curve(graph)
    assert len(local) > 10
    for index in range(len(local)):
        assert total(graph, int(local[index])) * 8 == bits[index]
        if index:
            assert total(graph, int(local[index]) - 1) * 8 == bits[index - 1]


@st.composite
def networks(draw: st.DrawFn) -> NetworkGraph:
    """Random networks with branches, residuals, concats, strides, groups and pooling."""
    side, channels = draw(st.integers(4, 12)), draw(st.integers(1, 5))
    net = OnnxBuilder("random", (draw(st.integers(1, 2)), channels, side, side))
    values: dict[str, int] = {"input": side}
    ends = ["input"]
    for index in range(draw(st.integers(2, 7))):
        source = draw(st.sampled_from(ends[-3:]))
        size, depth = values[source], net.channels(source)
        kind = draw(st.sampled_from(["conv", "conv", "group", "pool", "relu", "norm", "join"]))
        name = f"v{index}"
        stride = draw(st.sampled_from([1, 1, 2])) if size > 3 else 1
        if kind in ("conv", "group"):
            groups = depth if kind == "group" else 1
            out = depth * draw(st.integers(1, 2)) if kind == "group" else draw(st.integers(1, 6))
            kernel = draw(st.sampled_from([1, 3, 5]))
            bias = draw(st.booleans())
            net.convolution(name, source, out, kernel, stride=stride, groups=groups, bias=bias)
            size = (size - 1) // stride + 1
        elif kind == "pool" and size > 3:
            net.pool(draw(st.sampled_from(["MaxPool", "AveragePool"])), name, source, 3, stride, 1)
            size = (size - 1) // stride + 1
        elif kind == "norm":
            net.batch_norm(name, source)
        elif kind == "join":
            other = draw(st.sampled_from([v for v in ends if values[v] == size]))
            if net.channels(other) == depth and draw(st.booleans()):
                net.add(name, source, other)
            else:
                net.concat(name, [source, other])
        else:
            net.activation(name, source)
        values[name] = size
        ends.append(name)
    closing = net.convolution("closing", ends[-1], draw(st.integers(1, 4)), 1)
    graph = graph_from_model(net.model(closing), "random")
    bits = draw(st.sampled_from([3, 8]))
    return assign_precision(graph, Precision(bits, bits, 32))


@pytest.mark.parametrize("sums", [64, 4096, 1 << 20])
def test_layer_bounds_count_the_memory_of_partial_sums(sums: int) -> None:
    graph = unpacked(built_in("resnet50", accumulator=8), 16)
    memory = MemoryOptions(0, SINGLE, 8, sums)
    for layer in graph.layers:
        frontier = layer_frontier(layer_problem(graph, layer, memory))
        for local, bits in zip(frontier.local_bytes, frontier.dram_bits, strict=True):
            assert layer_bound_bytes(graph, layer, int(local) + sums) * 8 <= bits


switches = st.builds(Buffering, st.booleans(), st.booleans(), st.booleans(), st.booleans())


@settings(max_examples=25)
@given(
    networks(),
    switches,
    st.sampled_from([None, 1, 40, 300, 5000]),
    st.sampled_from([1, 1, 2, 16, 64]),
    st.integers(1, 20),
    st.data(),
)
def test_random_networks_in_any_memory(
    graph: NetworkGraph,
    doubled: Buffering,
    sums: int | None,
    unit: int,
    local: int,
    data: st.DataObject,
) -> None:
    graph = unpacked(graph, local)
    memory = MemoryOptions(0, doubled, 32, sums, unit)
    least = least_of(graph, memory)
    assert least <= least_of(graph, replace(memory, doubled=DOUBLE))
    assert least >= least_of(graph, replace(memory, doubled=SINGLE))
    assert least >= least_of(graph, replace(memory, alignment_bytes=1))
    factor = data.draw(st.sampled_from([1.0, 1.7, 4.0]))
    memory = replace(memory, capacity_bytes=int(least * factor))
    layerwise = schedule_network(graph, memory, "layerwise")
    merged = schedule_network(graph, memory, "merged")
    for schedule in (layerwise, merged):
        proved(graph, schedule)
    one, other = (sum(each.traffic_bytes().values()) for each in (layerwise, merged))
    assert other <= one
    if sums is not None:
        more = replace(memory, accumulator_capacity_bytes=2 * sums)
        schedule = schedule_network(graph, more, "layerwise")
        assert sum(schedule.traffic_bytes().values()) <= one


@settings(max_examples=60)
@given(networks(), st.booleans(), st.sampled_from([1.0, 1.7, 4.0, 100.0]))
def test_random_networks_count_as_estimated(
    graph: NetworkGraph, double_buffer: bool, factor: float
) -> None:
    budget = int(least_budget(graph, double_buffer) * factor)
    schedule, program = scheduled(graph, budget, double_buffer)
    ledger = count(program)
    assert schedule.traffic_bytes() == ledger.traffic_bytes()
    assert [c.macs_executed for c in schedule.layers] == list(ledger.macs_executed)
    moved = zip(ledger.local_read_bits, ledger.local_write_bits, strict=True)
    assert [c.local_bits for c in schedule.layers] == [read + write for read, write in moved]
    assert [c.local_write_bits for c in schedule.layers] == list(ledger.local_write_bits)
    assert occupancy(program).peak_bytes <= budget
    assert sum(ledger.traffic_bytes().values()) >= compulsory_bytes(graph)
