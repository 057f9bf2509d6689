"""Random networks of fifty layers with branches: ordered policies, descending curves, replayed."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.schedule.search import budget_curve
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.reference import evaluate_reference, random_inputs, with_weights
from dataflow_sim.simulate.replay import replay
from tests.support.branches import branchy
from tests.support.curves import policies_are_ordered
from tests.support.runs import input_placements, outputs_of, proved


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(s, marks=pytest.mark.slow) for s in range(2, 9))]
)
def test_policies_are_ordered_and_replays_hold(seed: int) -> None:
    layers = 11 if seed == 1 else 50
    model = with_weights(branchy(seed, layers), seed=seed)
    graph = assign_precision(graph_from_model(model, "random"), Precision(32, 32, 32))
    assert len(graph.layers) >= layers - 1
    policies_are_ordered(graph)
    inputs = random_inputs({p.array: p.axes.shape for p in input_placements(graph)}, seed=2)
    (expected,) = evaluate_reference(model, dict(inputs)).values()
    found = budget_curve(graph, MemoryOptions(0, SINGLE, 32), "merged")
    merged = [p for p in found.points if any(g.merged for g in p.schedule.groups)]
    assert any(list(p.schedule.order) != sorted(p.schedule.order) for p in found.points)
    for point in (merged[0], merged[len(merged) // 2], merged[-1]):
        schedule = found.schedule(point.local_bytes)
        assert schedule is not None
        program = proved(graph, schedule)
        assert program.capacity_bytes == point.local_bytes
        result = replay(program, graph, inputs)
        output = outputs_of(graph, result.tensors, expected)["output"]
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5 * scale)
