"""Replay of a cold frame and of a warm one behind it, with another input: the network's output."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.program.instructions import Load
from dataflow_sim.schedule.standing import standing_items
from dataflow_sim.simulate.reference import evaluate_reference, random_inputs
from dataflow_sim.simulate.replay import Replayed, replay
from tests.support.curves import curve
from tests.support.frames import both_proved, frames_of
from tests.support.runs import Arrays, Case, case, input_placements, outputs_of
from tests.support.small import SMALL

FEW = ("depthwise", "padded_chain", "residual")


def another_input(found: Case) -> Arrays:
    shapes = {place.array: place.axes.shape for place in input_placements(found.graph)}
    return random_inputs(shapes, seed=3)


def agrees(found: Case, result: Replayed, inputs: Arrays) -> None:
    (expected,) = evaluate_reference(found.model, dict(inputs)).values()
    output = outputs_of(found.graph, result.tensors, expected)["output"]
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("policy", "double_buffer"),
    [
        *(("layerwise", False), ("merged", True)),
        *(pytest.param("merged", False, marks=pytest.mark.slow),),
        *(pytest.param("resident", True, marks=pytest.mark.slow),),
    ],
)
@pytest.mark.parametrize(
    "name",
    [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in sorted(SMALL)],
)
def test_cold_then_warm(name: str, policy: str, double_buffer: bool) -> None:
    """With room for some of the weights, and for all."""
    found = case(name)
    points = curve(found.graph, policy, double_buffer)
    weights = sum(item.local_bytes for item in standing_items(found.graph))
    least = points.points[len(points.points) // 2].local_bytes
    second = another_input(found)
    stood = 0
    for capacity in (least + weights // 2, points.points[-1].local_bytes + weights):
        schedules = frames_of(found.graph, points, capacity, 50, double_buffer)
        cold, warm = both_proved(found.graph, schedules)
        first = replay(cold, found.graph, found.inputs)
        agrees(found, first, found.inputs)
        later = replay(warm, found.graph, second, first)
        agrees(found, later, second)
        agrees(found, replay(warm, found.graph, found.inputs, later), found.inputs)
        saved = sum(isinstance(x, Load) for x in cold.instructions)
        saved -= sum(isinstance(x, Load) for x in warm.instructions)
        assert saved == len(schedules.warm.standing)
        stood = max(stood, saved)
    assert stood == sum(len(item.tensors) for item in standing_items(found.graph))


def test_a_warm_program_needs_what_a_cold_one_left() -> None:
    found = case("depthwise")
    points = curve(found.graph, "merged")
    weights = sum(item.local_bytes for item in standing_items(found.graph))
    capacity = points.points[-1].local_bytes + weights
    cold, warm = both_proved(found.graph, frames_of(found.graph, points, capacity, 50))
    with pytest.raises((ProgramError, KeyError)):
        replay(warm, found.graph, found.inputs)
    other = frames_of(found.graph, points, capacity + 4, 50)
    larger, _ = both_proved(found.graph, other)
    left = replay(larger, found.graph, found.inputs)
    with pytest.raises(ProgramError, match="bytes of local memory were left"):
        replay(warm, found.graph, found.inputs, left)
    unread = replay(cold, found.graph, found.inputs)
    emptied = replace(unread, shadows={})
    with pytest.raises(ProgramError, match="is to stand where nothing was left"):
        replay(warm, found.graph, found.inputs, emptied)
