"""Speed of DRAM, measured: `pytest tests/benchmarks -n 0`."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dataflow_sim.hardware import DramConfig, dram_of, load_hardware
from dataflow_sim.pipeline import RunOptions, load_network
from dataflow_sim.request_streams import play_stream
from dataflow_sim.results_of_dram import RequestStream
from dataflow_sim.timeline_study import study

Benchmark = Any
_REQUESTS = 100_000
_SECONDS = 2.0
_QUICKER = 3.0  # the closed form, times


def mobilenet_v2() -> RequestStream:
    """The first 10^5 requests of a channel, layer by layer at 256 KiB."""
    keys = {"dram.preset": "lpddr4", "dram.model": "efficiency", "dram.layout": "row-major"}
    hardware = load_hardware("bare", {"local_memory.capacity": "256KiB", **keys})
    found = study(load_network("mobilenet_v2"), hardware, RunOptions("layerwise"), requests=True)
    first = found.requests[0]
    return RequestStream(first.name, first.addresses[:_REQUESTS], first.writes[:_REQUESTS])


def seconds(dram: DramConfig, stream: RequestStream) -> float:
    """Seconds of one core to play a stream."""
    start = time.process_time()
    play_stream(dram, stream)
    return time.process_time() - start


def test_a_trace_of_mobilenet_v2(benchmark: Benchmark) -> None:
    stream = mobilenet_v2()
    assert len(stream.addresses) == _REQUESTS
    by_bank, closed = (dram_of("lpddr4", model=model) for model in ("banks", "efficiency"))
    taken: list[float] = []
    benchmark.pedantic(lambda: taken.append(seconds(by_bank, stream)), rounds=3, iterations=1)
    assert min(taken) < _SECONDS
    assert min(taken) > _QUICKER * min(seconds(closed, stream) for _ in range(3))


@pytest.mark.parametrize("preset", ["lpddr4-3200", "hbm2", "gddr6"])
def test_rows_in_any_order(benchmark: Benchmark, preset: str) -> None:
    """The slowest stream: every access opens a row."""
    addresses = [(number * 7919 % 65536) * 8192 for number in range(_REQUESTS // 5)]
    stream = RequestStream("any", addresses, [False] * len(addresses))
    taken: list[float] = []
    dram = dram_of(preset, model="banks")
    benchmark.pedantic(lambda: taken.append(seconds(dram, stream)), rounds=1, iterations=1)
    assert min(taken) < _SECONDS
