"""What a timeline tells of layers, buses and frames, in the cases that go wrong most easily."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from dataflow_sim.energy.compute import lanes_in_use
from dataflow_sim.errors import TooLongError
from dataflow_sim.hardware import scaled
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.pipeline import RunOptions, run
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_timeline import TimelineResult
from dataflow_sim.timeline_study import study
from tests.support.changed import changed, machine
from tests.support.commands import in_process

SMALL = "mobilenet_v1@0.25-32"


def times(result: RunResult) -> TimelineResult:
    assert result.timeline is not None
    return result.timeline


def test_the_port_serves_a_load_that_a_step_waits_for_once() -> None:
    """One layer in one step, DRAM and port of 1 GB/s: input and kernel in, then the step's own
    bits, then the result out: each byte of DRAM passes the port at the same time."""
    net = OnnxBuilder("one", (1, 8, 16, 16))
    graph = graph_from_model(net.model(net.convolution("conv", "input", 8, 3)), "one")
    keys = {"dram__bandwidth": "1GB/s", "local_memory__bandwidth": "1GB/s"}
    found = run(graph, machine(**keys))
    moved = 8 * 256 + 8 * 8 * 9 + 8 * 256
    assert found.traffic.total_bytes == moved
    assert found.latency_s == pytest.approx(2 * moved / 1e9)


@pytest.mark.parametrize("hardware", ["vision_processor", "ethos_u55_128", "mobile_npu"])
@pytest.mark.parametrize("policy", ["layerwise", "merged"])
def test_frames_in_flight_are_no_faster_than_any_engine(hardware: str, policy: str) -> None:
    network, slow = changed(SMALL), machine(hardware, dram__bandwidth="1GB/s")
    alone = times(run(network, slow, RunOptions(policy)))
    two = times(run(network, slow, RunOptions(policy, in_flight=2)))
    assert two.period_s <= alone.period_s == alone.latency_s
    assert two.period_s >= max(engine.busy_s for engine in two.engines) * (1 - 1e-12)


def test_layers_reach_no_more_than_the_pins_and_their_parts_make_up_the_whole() -> None:
    keys = {"dram__burst": "64B", "command_stream": "{per_layer: 100B, per_step: 8B}"}
    found = times(run(changed(SMALL), machine(**keys), RunOptions("merged")))
    (bus,) = found.buses
    served = 0.0
    for layer in found.layers:
        assert layer.achieved_bytes_per_second <= bus.pins_bytes_per_second * (1 + 1e-9)
        served += layer.achieved_bytes_per_second * layer.latency_s
    assert served == pytest.approx(bus.moved_bytes)
    assert sum(layer.dram_busy_s for layer in found.layers) == pytest.approx(bus.busy_s)


def test_a_layer_without_time_is_limited_by_nothing() -> None:
    """A pooling of a map that stays, on a machine without a vector unit."""
    net = OnnxBuilder("net", (1, 8, 8, 8))
    value = net.convolution("conv", "input", 8, 3)
    value = net.pool("MaxPool", "pool", value, 2, 2)
    graph = graph_from_model(net.model(net.convolution("last", value, 8, 1)), "net")
    found = run(graph, machine(pooling="separate"), RunOptions("resident"))
    limits = {layer.name: (layer.latency_s, layer.limited_by) for layer in found.layers}
    assert limits["pool"] == (0.0, "nothing")


def test_the_verdict_names_the_memory_that_takes_longest() -> None:
    fast = RunOptions(frames_per_second=100.0)
    flash = times(run(changed(SMALL), machine("cortex_m7"), fast)).verdict
    port = times(run(changed(SMALL), machine(local_memory__bandwidth="20MB/s"), fast)).verdict
    assert flash is not None
    assert port is not None
    assert flash.bus == "flash"
    assert (port.bus, port.verdict) == ("local memory", "bandwidth-bound")


@pytest.mark.parametrize(
    "keys",
    [
        {"dram__bandwidth": "1B/s"},
        {"compute__clock": "1Hz"},
        {"dma__setup": "1000s"},
    ],
)
def test_what_takes_longer_than_a_timeline_is_told_by_the_closed_form(keys: dict[str, str]) -> None:
    slow = machine(**keys)
    found = run(changed("mobilenet_v1@0.25-64"), slow)
    assert found.timeline is None
    assert found.latency_s > 1000
    assert "latency of the closed form only" in found.warnings[0]
    with pytest.raises(TooLongError, match="raise dram"):
        study(changed("mobilenet_v1@0.25-64"), slow)


@pytest.mark.parametrize("factor", [Fraction(1, 2), Fraction(2)])
def test_more_macs_are_more_for_depthwise_layers_too(factor: Fraction) -> None:
    array = "{input_channels: 16, output_channels: 16, depthwise_channels: 32}"
    (layer,) = [each for each in changed(SMALL).layers if each.name == "conv12.dw"]
    before = machine(compute__array=array)
    after = scaled(before, "MACs", factor)
    rates = [
        each.compute.fastest_macs_per_cycle * lanes_in_use(each, layer) for each in (before, after)
    ]
    assert lanes_in_use(after, layer) <= 1
    assert rates[1] == rates[0] * factor


def test_a_quicker_clock_idles_more_and_ranges_hold_the_nominal() -> None:
    keys = {"compute__clock": "200MHz..400MHz..800MHz", "energy__idle_mac": "1pJ"}
    found = run(changed(SMALL), machine(**keys, dram__bandwidth="1GB/s"))
    assert found.price_range is not None
    low, high = (energy.total_pj for energy in found.price_range.energy)
    assert low <= found.energy.total_pj <= high
    assert found.price_range.latency_s[0] <= found.latency_s <= found.price_range.latency_s[1]


def test_what_a_cache_without_a_rate_moves_is_not_on_the_track_of_dram(tmp_path: Path) -> None:
    cache = "system_cache={capacity: 128KiB, energy: 1pJ/bit}"
    asked = ("timeline", SMALL, "--hw", "bare", "--local-memory", "8KiB", "--set", cache)
    done = in_process((*asked, "--out", "out"), tmp_path)
    assert done.code == 0, done.stderr
    trace = json.loads((tmp_path / "out" / "trace.json").read_text())["traceEvents"]
    dram = [e["tid"] for e in trace if e["ph"] == "M" and "dram" in e["args"]["name"]]
    moved = sum(e["args"]["bytes"] for e in trace if e["ph"] == "X" and e["tid"] in dram)
    found = json.loads((tmp_path / "out" / "timeline.json").read_text())
    assert moved == found["dram"]["total_bytes"]
    assert any("system cache" in e["args"]["name"] for e in trace if e["ph"] == "M")
