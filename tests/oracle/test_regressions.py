"""What random networks have found, each as the smallest network that shows it.

Every breakpoint of every policy is lowered, counted and replayed, so that what was wrong at one
of them cannot come back at another.
"""

from __future__ import annotations

import pytest

from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.schedule.search import POLICIES, budget_curve
from dataflow_sim.schedule.types import (
    SINGLE,
    MemoryOptions,
)
from tests.support.replayed_cases import Case, on_machine, replayed
from tests.support.runs import proved

PLAIN = MemoryOptions(0, SINGLE, 32)


def holds_everywhere(case: Case) -> None:
    """Programs of all breakpoints are counted as estimated and give the network's outputs."""
    for policy in POLICIES:
        found = budget_curve(case.graph, case.memory, policy)
        for point in found.points:
            schedule = found.schedule(point.local_bytes)
            assert schedule is not None
            replayed(case, schedule, proved(case.graph, schedule))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_no_window_begins_behind_the_map(op: str) -> None:
    """Of 8 elements every other one, rounded up: four, not five, whatever ONNX infers."""
    net = OnnxBuilder("rounded_up", (1, 1, 2, 8))
    pooled = net.pool(op, "pooled", "input", 1, 2, ceil=True)
    assert net.shape(pooled) == (1, 1, 2, 5)
    model = net.model(net.activation("out", pooled))
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 1
    model.graph.output[0].type.tensor_type.shape.dim[3].dim_value = 4
    assert graph_from_model(model, "rounded_up").layers[0].output_shape == (1, 1, 1, 4)
    holds_everywhere(on_machine(model, PLAIN))


def test_a_file_may_state_windows_that_begin_behind_the_map() -> None:
    """As files do whose shapes ONNX's inference has filled in: what follows is for that size."""
    net = OnnxBuilder("rounded_up", (1, 1, 2, 8))
    pooled = net.pool("MaxPool", "pooled", "input", 1, 2, ceil=True)
    model = net.model(pooled, net.activation("out", pooled))
    graph = graph_from_model(model, "rounded_up")
    assert graph.layers[0].output_shape == (1, 1, 2, 5)
