"""Every tiling of the space, good or bad, lowers to a program that counts and computes right."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.amounts import tiling_costs
from dataflow_sim.schedule.estimate import TrafficHistory, layer_schedule
from dataflow_sim.schedule.frontier import layer_frontier
from dataflow_sim.schedule.problem import layer_problem
from dataflow_sim.schedule.types import (
    Group,
    LayerTiling,
    MemoryOptions,
    Packing,
    Schedule,
)
from dataflow_sim.simulate.replay import replay
from tests.oracle.test_closed_form import tilings
from tests.support.runs import buffering, case, outputs_of, proved

NETWORKS = ("concatenated", "depthwise", "padded_chain", "pooled_classifier", "residual")
_MOST_STEPS = 2000


def drawn(
    data: st.DataObject, graph: NetworkGraph, memory: MemoryOptions
) -> tuple[LayerTiling, ...]:
    """Any legal tiling of one layer; of the others the best in plenty of memory."""
    found = []
    place = data.draw(st.integers(0, len(graph.layers) - 1))
    for index, layer in enumerate(graph.layers):
        problem = layer_problem(graph, layer, memory)
        if index == place:
            tiling = data.draw(tilings(problem).filter(partial(tiling_costs, problem)))
            assume(tiling.steps <= _MOST_STEPS)
        else:
            best = layer_frontier(problem).best(1 << 20)
            assert best is not None
            tiling = best.tiling
        found.append(tiling)
    return tuple(found)


def schedule_of(
    graph: NetworkGraph, chosen: tuple[LayerTiling, ...], memory: MemoryOptions
) -> Schedule:
    """Every layer alone, tiled as given, in a memory that just holds them."""
    history = TrafficHistory(graph)
    groups = []
    nothing: frozenset[str] = frozenset()
    for index, tiling in enumerate(chosen):
        layer = graph.layers[index]
        stored = frozenset(layer.outputs)
        costs = tiling_costs(layer_problem(graph, layer, memory), tiling)
        assert costs is not None
        made = layer_schedule(graph, index, tiling, memory, history, nothing, stored, ())
        size = int(costs.local_bytes[0])
        one = (made,)
        groups.append(
            Group((index,), False, Packing.RINGS, None, one, nothing, stored, (), 0, size)
        )
    capacity = max(group.local_bytes for group in groups)
    options = replace(memory, capacity_bytes=capacity)
    return Schedule(graph.name, "layerwise", options, tuple(groups))


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=10, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_any_tilings_of_a_network(name: str, data: st.DataObject) -> None:
    found = case(name)
    memory = MemoryOptions(0, buffering(data.draw(st.booleans())), 32)
    chosen = drawn(data, found.graph, memory)
    program = proved(found.graph, schedule_of(found.graph, chosen, memory))
    result = replay(program, found.graph, found.inputs)
    output = outputs_of(found.graph, result.tensors, found.expected)["output"]
    scale = float(np.abs(found.expected).max())
    np.testing.assert_allclose(output, found.expected, rtol=1e-4, atol=1e-5 * scale)
