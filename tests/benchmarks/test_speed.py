"""Speed, measured: `pytest tests/benchmarks -n 0`.

Targets are ratios between two things measured in one run, where they can be.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import pytest

from dataflow_sim.graph.layer import Window
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks import build_network
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.pipeline import RunOptions, curve, load_network, run
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.footprints import axis_tiles
from dataflow_sim.schedule.frontier import layer_frontier
from dataflow_sim.schedule.problem import layer_problem
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.ledger import count
from tests.support.plain_search import plain_frontier
from tests.support.runs import built_in, scheduled, single_convolution

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


def test_frontiers_of_three_networks_within_two_seconds(benchmark: Benchmark) -> None:
    """From a cold start, on one core."""
    problems = [
        layer_problem(graph, layer, MemoryOptions(0, SINGLE, 8))
        for graph in map(built_in, ("mobilenet_v2", "resnet50", "vgg16"))
        for layer in graph.layers
    ]
    seconds = []

    def search() -> None:
        layer_frontier.cache_clear()
        axis_tiles.cache_clear()
        start = time.process_time()
        for problem in problems:
            layer_frontier(problem)
        seconds.append(time.process_time() - start)

    benchmark.pedantic(search, rounds=3)
    assert min(seconds) < 2.0


def test_the_search_is_a_hundred_times_faster_than_plain_python(benchmark: Benchmark) -> None:
    """On the same space of one layer, pinning included, with the same frontier."""
    graph = single_convolution((1, 24, 14, 14), 32, Window((3, 3), pad=(1, 1)))
    problem = layer_problem(graph, graph.layers[0], MemoryOptions(0, SINGLE, 8))
    start = time.process_time()
    slow = plain_frontier(problem)
    plain_seconds = time.process_time() - start
    seconds = []

    def search() -> None:
        layer_frontier.cache_clear()
        start = time.process_time()
        found = layer_frontier(problem)
        seconds.append(time.process_time() - start)
        points = zip(found.local_bytes.tolist(), found.dram_bits.tolist(), strict=True)
        assert list(points) == slow

    benchmark.pedantic(search, rounds=3)
    assert plain_seconds >= 100 * min(seconds)


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


LIMITS_S = {"mobilenet_v1": 1.0, "resnet50": 3.0, "densenet121": 5.0, "inception_v3": 10.0}


@pytest.mark.parametrize("name", LIMITS_S)
def test_a_merged_curve(benchmark: Benchmark, name: str) -> None:
    """All breakpoints from a cold start, addresses included, on one core."""
    graph, machine = load_network(name), load_hardware("bare")
    seconds = []

    def whole() -> None:
        layer_frontier.cache_clear()
        start = time.perf_counter()
        curve(graph, machine, RunOptions(policy="merged"))
        seconds.append(time.perf_counter() - start)

    benchmark.pedantic(whole, rounds=2)
    assert min(seconds) <= LIMITS_S[name]


def chain(layers: int) -> NetworkGraph:
    """Convolutions in line, 3x3 and 1x1 in turn, 16 channels of 28x28."""
    net = OnnxBuilder("chain", (1, 16, 28, 28))
    value = "input"
    for number in range(layers):
        value = net.convolution(f"c{number}", value, 16, 1 + 2 * (number % 2))
    return graph_from_model(net.model(value), "chain")


def test_long_chains(benchmark: Benchmark) -> None:
    """A thousand layers within 20 s, two thousand in at most 2.5 times that, within 1 GB."""
    machine = load_hardware("bare")
    seconds = []

    def whole(layers: int) -> None:
        graph = chain(layers)
        start = time.perf_counter()
        curve(graph, machine, RunOptions(policy="merged"))
        seconds.append(time.perf_counter() - start)

    benchmark.pedantic(whole, (1000,), rounds=1)
    whole(2000)
    assert seconds[0] <= 20
    assert seconds[1] <= 2.5 * seconds[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= 1_000_000
