"""Speed, measured: `pytest tests/benchmarks -n 0`.

Targets are ratios between two things measured in one run, where they can be.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks import build_network
from dataflow_sim.pipeline import RunOptions, curve, load_network, run
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.frontier import layer_frontier
from dataflow_sim.schedule.problem import layer_problem
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.ledger import count
from tests.support.runs import built_in, scheduled

Benchmark = Any


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "densenet121"])
def test_reading(benchmark: Benchmark, name: str) -> None:
    model = build_network(name)
    benchmark(lambda: graph_from_model(model, name))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "vgg16", "densenet121"])
def test_all_frontiers_of_a_network(benchmark: Benchmark, name: str) -> None:
    graph = built_in(name)
    problems = [layer_problem(graph, x, MemoryOptions(0, SINGLE, 32)) for x in graph.layers]

    def search() -> None:
        layer_frontier.cache_clear()
        for problem in problems:
            layer_frontier(problem)

    benchmark(search)


@pytest.mark.parametrize("name", ["mobilenet_v1", "densenet121"])
def test_a_whole_run(benchmark: Benchmark, name: str) -> None:
    graph, machine = load_network(name), load_hardware("bare")

    def whole() -> None:
        layer_frontier.cache_clear()
        run(graph, machine)

    benchmark(whole)


def test_counting_costs_at_most_two_and_a_half_lowerings(benchmark: Benchmark) -> None:
    graph = built_in("mobilenet_v1")
    schedule, program = scheduled(graph, 16 << 10)

    def seconds(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    lowering = min(seconds(lambda: lower(graph, schedule)) for _ in range(3))
    counting = min(seconds(lambda: count(program)) for _ in range(3))
    benchmark(lambda: count(program))
    assert counting <= 2.5 * lowering


@pytest.mark.parametrize(("name", "limit_s"), [("mobilenet_v1", 2.0), ("densenet121", 20.0)])
def test_a_merged_curve(benchmark: Benchmark, name: str, limit_s: float) -> None:
    """All breakpoints from a cold start, addresses included, on one core."""
    graph, machine = load_network(name), load_hardware("bare")
    seconds = []

    def whole() -> None:
        layer_frontier.cache_clear()
        start = time.perf_counter()
        curve(graph, machine, RunOptions(policy="merged"))
        seconds.append(time.perf_counter() - start)

    benchmark.pedantic(whole, rounds=2)
    assert min(seconds) <= limit_s
