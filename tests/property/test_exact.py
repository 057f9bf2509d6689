"""The exact search against trying everything, and its plans against their own costs."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.schedule.assemble import Assembler
from dataflow_sim.schedule.baseline import IMPOSSIBLE, Baseline
from dataflow_sim.schedule.cuts import find_cuts
from dataflow_sim.schedule.exact import Solved, schedule_exactly, solve
from dataflow_sim.schedule.exact_space import ExactSpace
from dataflow_sim.schedule.lives import MapLives, shared_constants
from dataflow_sim.schedule.options import Options
from dataflow_sim.schedule.planner import Planner
from dataflow_sim.schedule.search import budget_curve
from dataflow_sim.schedule.types import MemoryOptions
from tests.oracle.row_pipeline_networks import network as drawn_network
from tests.property.test_curves import EVERYTHING, Exhaustive, unpruned
from tests.property.test_schedules import networks
from tests.support.runs import buffering, proved
from tests.support.small import SMALL

pytest.importorskip("ortools")

WORK = 20.0


def least(space: ExactSpace, capacity_bytes: int) -> Solved:
    """What the exact search finds without knowing anything."""
    return solve(space, capacity_bytes, ((), IMPOSSIBLE), 0, WORK)


def check(graph: NetworkGraph, memory: MemoryOptions, budgets: int) -> None:
    """At some points of the fast search's front, and a byte short of them."""
    baseline = Baseline(graph, memory)
    planner = Planner(graph, memory, baseline, True, EVERYTHING)
    front = planner.search(lambda done, total: None)
    everything = unpruned(graph, memory, baseline)
    reference = Exhaustive(graph, everything.lives, everything)
    lives = MapLives(graph, cuts=find_cuts(graph))
    options = Options(graph, memory, lives, baseline, EVERYTHING, may_merge=True)
    space = ExactSpace(options)
    assembler = Assembler(graph, "merged", memory, options)
    points = list(zip(front.local_bytes.tolist(), front.costs.tolist(), strict=True))
    for place in range(0, len(points), max(1, len(points) // budgets)):
        local, bits = points[place]
        found = least(space, local)
        assert found.bound_bits == found.plan_bits == bits == reference.least_bits(local)
        assert found.plan is not None
        schedule = assembler.assemble(found.plan, local)
        assert sum(sum(layer.traffic_bits.values()) for layer in schedule.layers) == bits
        before = least(space, local - 1)
        if place:
            assert before.bound_bits == before.plan_bits == points[place - 1][1]
        else:
            assert before.plan is None
            assert before.bound_bits == IMPOSSIBLE


@settings(max_examples=12)
@given(networks(), st.booleans())
def test_it_is_as_good_as_trying_everything(graph: NetworkGraph, double_buffer: bool) -> None:
    check(graph, MemoryOptions(0, buffering(double_buffer), 32), 3)


@pytest.mark.parametrize("seed", [3, 7, 11])
def test_sweeps(seed: int) -> None:
    graph = drawn_network(Random(seed), sweeps=True)
    check(graph, MemoryOptions(0, buffering(seed % 2 == 0), 32), 3)


@pytest.mark.parametrize("name", ["residual", "concatenated", "squeeze_excite"])
def test_small_networks(name: str) -> None:
    graph = assign_precision(graph_from_model(SMALL[name](), name), Precision(8, 8, 32))
    check(graph, MemoryOptions(0, buffering(False), 16), 6)


def test_a_known_plan_is_a_start_and_stays_where_it_is_the_best() -> None:
    graph = assign_precision(graph_from_model(SMALL["residual"](), "r"), Precision(8, 8, 32))
    memory = MemoryOptions(0, buffering(False), 32)
    baseline = Baseline(graph, memory)
    planner = Planner(graph, memory, baseline, True, EVERYTHING)
    front = planner.search(lambda done, total: None)
    middle = len(front.costs) // 2
    ((plan, _),) = planner.plans.of(np.array([middle]))
    lives = MapLives(graph, cuts=find_cuts(graph))
    space = ExactSpace(Options(graph, memory, lives, baseline, EVERYTHING, may_merge=True))
    local, bits = int(front.local_bytes[middle]), int(front.costs[middle])
    found = solve(space, local, (plan, bits), 0, WORK)
    assert (found.plan, found.plan_bits, found.bound_bits) == (None, bits, bits)
    again = solve(space, local, (plan, bits + 1), 0, WORK)
    assert again.plan is not None
    assert again.plan_bits == bits
    assert again == solve(space, local, (plan, bits + 1), 0, WORK)
    # without time to work nothing is proved beyond what is known of every schedule
    idle = solve(space, local, (plan, bits), bits // 2, 1e-9)
    assert bits // 2 <= idle.bound_bits <= bits == idle.plan_bits


def test_constants_that_several_layers_read() -> None:
    """They may be pinned: with them the best of both spaces, as in the fast search."""
    net = OnnxBuilder("shared", (1, 4, 6, 6))
    table = net.weight("table", (1, 4, 6, 6))
    value = net.add("first", net.convolution("a", "input", 4, 3), table)
    value = net.add("second", net.convolution("b", value, 4, 3), table)
    model = net.model(net.convolution("c", value, 2, 1))
    graph = assign_precision(graph_from_model(model, "shared"), Precision(8, 8, 32))
    assert shared_constants(graph)
    memory = MemoryOptions(0, buffering(False), 32)
    found = budget_curve(graph, memory, "merged")
    for point in found.points:
        here = replace(memory, capacity_bytes=point.local_bytes)
        schedule, proof = schedule_exactly(graph, here, "merged", WORK, known=found)
        assert proof.bound_bytes <= proof.dram_bytes <= proof.fast_bytes == point.dram_bytes
        proved(graph, schedule)
