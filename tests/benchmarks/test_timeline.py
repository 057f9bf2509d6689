"""Speed of the timeline, measured: `pytest tests/benchmarks -n 0`."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware, load_hardware
from dataflow_sim.pipeline import RunOptions, load_network, run_in_full
from dataflow_sim.program.instructions import Program
from dataflow_sim.schedule.types import MemoryOptions
from dataflow_sim.simulate.ledger import count
from dataflow_sim.timing import follow, time_on
from tests.support.runs import buffering, case, least_of, scheduled

Benchmark = Any
_SECONDS = 5.0


def timed(graph: NetworkGraph, hardware: Hardware, program: Program) -> float:
    """Seconds of one core to follow a program and to time it."""
    start = time.process_time()
    time_on(follow(graph, hardware, [program]), hardware)
    return time.process_time() - start


@pytest.mark.parametrize("policy", ["layerwise", "merged"])
@pytest.mark.parametrize("doubled", ["false", "true"])
def test_resnet_50_at_256_kib(benchmark: Benchmark, policy: str, doubled: str) -> None:
    keys = {"local_memory.capacity": "256KiB", "local_memory.double_buffer": doubled}
    hardware = load_hardware("bare", keys)
    full = run_in_full(load_network("resnet50"), hardware, RunOptions(policy))
    program = full.cold.counts.program
    assert program is not None
    seconds: list[float] = []
    benchmark.pedantic(
        lambda: seconds.append(timed(full.graph, hardware, program)), rounds=3, iterations=1
    )
    benchmark.extra_info["instructions"] = len(program.instructions)
    assert min(seconds) < _SECONDS


def test_a_program_of_hundreds_of_thousands_of_instructions(benchmark: Benchmark) -> None:
    """MobileNetV2 in the least memory that it runs in; beside what its ledger takes."""
    graph = case("tiny_mobilenet_v2").graph
    least = least_of(graph, MemoryOptions(0, buffering(True), 32))
    _, program = scheduled(graph, int(least * 1.3), True, policy="merged")
    hardware = load_hardware("bare")
    seconds: list[float] = []
    benchmark.pedantic(
        lambda: seconds.append(timed(graph, hardware, program)), rounds=2, iterations=1
    )
    start = time.process_time()
    count(program)
    counted = time.process_time() - start
    benchmark.extra_info["instructions"] = len(program.instructions)
    benchmark.extra_info["microseconds_an_instruction"] = (
        1e6 * min(seconds) / len(program.instructions)
    )
    assert min(seconds) < counted
