"""Replay of resident maps and merged groups: the network's own output, at several budgets."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.program.instructions import Compute, Load, Program
from dataflow_sim.schedule.search import CurvePoint
from dataflow_sim.schedule.types import SINGLE, Group, MemoryOptions
from dataflow_sim.simulate.replay import replay
from tests.support.curves import curve
from tests.support.groups import grouped
from tests.support.runs import Case, case, case_of, outputs_of, proved
from tests.support.small import SLOW_LAST

EXACT = ("padded_chain", "residual", "shuffled")


def replays(found: Case, program: Program, exact: bool) -> None:
    result = replay(program, found.graph, found.inputs)
    output = outputs_of(found.graph, result.tensors, found.expected)["output"]
    if exact:
        np.testing.assert_array_equal(output, found.expected)
    else:
        scale = float(np.abs(found.expected).max())
        np.testing.assert_allclose(output, found.expected, rtol=1e-4, atol=1e-5 * scale)


def spread(points: tuple[CurvePoint, ...], count: int, most_steps: int) -> list[CurvePoint]:
    """A few points from end to end, programs of too many steps left out but for the shortest."""
    least = min(point.schedule.steps for point in points)
    short = [point for point in points if point.schedule.steps <= max(least, most_steps)]
    places = np.unique(np.linspace(0, len(short) - 1, count).astype(int))
    return [short[place] for place in places]


@pytest.mark.parametrize(
    ("policy", "double_buffer"),
    [
        ("merged", False),
        pytest.param("merged", True, marks=pytest.mark.slow),
        pytest.param("resident", False, marks=pytest.mark.slow),
        pytest.param("resident", True, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("count", [3, pytest.param(9, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SLOW_LAST)
def test_small_networks(name: str, count: int, policy: str, double_buffer: bool) -> None:
    found = case(name)
    curve_found = curve(found.graph, policy, double_buffer)
    for point in spread(curve_found.points, count, 1300 * count):
        schedule = curve_found.schedule(point.local_bytes)
        assert schedule is not None
        program = proved(found.graph, schedule)
        assert program.capacity_bytes == point.local_bytes
        replays(found, program, name in EXACT)


@pytest.mark.parametrize("height", [None, 5])
def test_rows_that_a_pooled_convolution_skips(height: int | None) -> None:
    """Of three rows of its body a window reads every other row of the map."""
    net = OnnxBuilder("skipping", (1, 3, 11, 9))
    before = net.convolution("before", "input", 4, 3)
    points = net.convolution("points", before, 5, 1, stride=2)
    model = net.model(net.pool("MaxPool", "pooled", points, 3, stride=2))
    found = case_of(model, "skipping")
    (_, layer) = found.graph.layers
    assert layer.pool is not None
    schedule = grouped(found.graph, MemoryOptions(0, SINGLE, 32), False, height=height)
    replays(found, proved(found.graph, schedule), exact=False)


def joins(graph: NetworkGraph, group: Group) -> bool:
    """Whether a merged group of several layers reads a concat or adds a map."""
    layers = [graph.layers[index] for index in group.members]
    several = group.merged and len(layers) > 1
    return several and any(len(x.input.segments) > 1 or x.operands for x in layers)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "densenet121"])
def test_groups_across_adds_and_concats(name: str) -> None:
    found = case(name, resolution=64)
    curve_found = curve(found.graph, "merged")
    joined = [
        point
        for point in curve_found.points
        if any(joins(found.graph, group) for group in point.schedule.groups)
    ]
    assert joined
    point = min(joined, key=lambda p: (p.schedule.steps, p.local_bytes))
    schedule = curve_found.schedule(point.local_bytes)
    assert schedule is not None
    replays(found, proved(found.graph, schedule), exact=False)


def test_groups_across_layers_that_enlarge() -> None:
    """A transposed convolution between convolutions of a group, resizings in another."""
    found = case("decoder")
    curve_found = curve(found.graph, "merged")
    ops = [layer.op for layer in found.graph.layers]

    def feeds_its_group(point: CurvePoint, op: str) -> bool:
        groups = [group for group in point.schedule.groups if group.merged]
        return any(op in [ops[index] for index in group.members[:-1]] for group in groups)

    enlarging = [
        point
        for point in curve_found.points
        if feeds_its_group(point, "ConvTranspose") and feeds_its_group(point, "Resize")
    ]
    assert enlarging
    for point in spread(tuple(enlarging), 3, 12_000):
        schedule = curve_found.schedule(point.local_bytes)
        assert schedule is not None
        replays(found, proved(found.graph, schedule), exact=False)


def without(program: Program, index: int) -> Program:
    instructions = (*program.instructions[:index], *program.instructions[index + 1 :])
    return Program(
        program.name, program.capacity_bytes, program.layers, program.tensors, instructions
    )


def test_a_row_that_is_not_loaded_and_a_part_that_is_missing_are_found() -> None:
    found = case("residual")
    curve_found = curve(found.graph, "merged")
    merged = [p for p in curve_found.points if any(g.merged for g in p.schedule.groups)]
    schedule = curve_found.schedule(merged[-1].local_bytes)
    assert schedule is not None
    program = proved(found.graph, schedule)
    rows = [
        index
        for index, x in enumerate(program.instructions)
        if isinstance(x, Load) and x.tensor == "input"
    ]
    for index in rows[::3]:
        with pytest.raises(ProgramError, match="missing or stale"):
            replay(without(program, index), found.graph, found.inputs)
    steps = [
        (index, x)
        for index, x in enumerate(program.instructions)
        if isinstance(x, Compute) and len(x.input) > 1
    ]
    index, step = steps[0]
    instructions = list(program.instructions)
    instructions[index] = step._replace(input=(*step.input[:-1], step.input[0]))
    twice = Program(
        program.name, program.capacity_bytes, program.layers, program.tensors, tuple(instructions)
    )
    with pytest.raises(ProgramError, match=rf"instruction {index} .*do not"):
        replay(twice, found.graph, found.inputs)
