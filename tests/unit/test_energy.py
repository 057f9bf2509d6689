"""Energy and time: counts times cost, component by component."""

from __future__ import annotations

import pytest

from dataflow_sim.hardware import load_hardware
from dataflow_sim.pipeline import RunOptions, load_network, run
from dataflow_sim.results import WEIGHTS, WRITES, RunResult

NETWORK = "mobilenet_v1@0.25"


def result(options: RunOptions | None = None, /, **overrides: str) -> RunResult:
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return run(load_network(NETWORK), load_hardware("bare", dotted), options)


def test_the_breakdown_adds_up_to_the_last_float() -> None:
    found = result(energy__local="0.2pJ/bit", energy__static_power="50mW")
    energy = found.to_json()["energy_pj"]
    assert isinstance(energy, dict)
    assert energy["total"] == energy["mac"] + energy["dram"] + energy["local"] + energy["static"]
    assert all(energy[part] > 0 for part in ("mac", "dram", "local", "static"))
    layers = [layer.energy for layer in found.layers]
    assert found.energy.mac_pj == sum(e.mac_pj for e in layers)
    assert found.energy.dram_pj == sum(e.dram_pj for e in layers)


@pytest.mark.parametrize(
    ("key", "once", "twice", "component"),
    [
        ("energy__mac", "1pJ", "2pJ", "mac_pj"),
        ("dram__energy", "10pJ/bit", "20pJ/bit", "dram_pj"),
        ("energy__local", "1pJ/bit", "2pJ/bit", "local_pj"),
        ("energy__static_power", "10mW", "20mW", "static_pj"),
    ],
)
def test_doubling_a_cost_moves_its_component_alone(
    key: str, once: str, twice: str, component: str
) -> None:
    first, second = result(None, **{key: once}).energy, result(None, **{key: twice}).energy
    for part in ("mac_pj", "dram_pj", "local_pj", "static_pj"):
        factor = 2 if part == component else 1
        assert getattr(second, part) == pytest.approx(factor * getattr(first, part), rel=1e-12)


def test_reads_and_writes_may_cost_differently() -> None:
    base = result()
    written = base.traffic.of(*WRITES)
    read = base.traffic.total_bytes - written
    only_writes = result(dram__energy_read="0pJ/bit")
    assert only_writes.energy.dram_pj == written * 8 * 10.0
    only_reads = result(dram__energy_write="0pJ/bit")
    assert only_reads.energy.dram_pj == read * 8 * 10.0


def test_latency_is_the_longer_of_compute_and_dram_layer_by_layer() -> None:
    found = result()
    expected = 0.0
    for layer in found.layers:
        compute = -(-layer.macs_executed // 256) / 500e6
        dram = layer.traffic.total_bytes / 6.4e9
        assert layer.latency_s == max(compute, dram)
        assert layer.limited_by == ("compute" if compute > dram else "dram")
        expected += layer.latency_s
    assert found.latency_s == expected
    assert found.energy.static_pj == 0.0


def test_required_bandwidth_needs_a_frame_rate() -> None:
    assert result().required_gb_s is None
    found = result(RunOptions(frames_per_second=30.0))
    assert found.required_gb_s == found.traffic.total_bytes * 30 / 1e9


def test_local_bits_are_dma_and_operands_of_each_step() -> None:
    """One layer in one step: each byte crosses the port twice, in and out."""
    found = result(local_memory__capacity="64MiB", energy__local="1pJ/bit")
    whole = [layer for layer in found.layers if layer.steps == 1]
    assert len(whole) == len(found.layers)
    for layer in whole:
        assert layer.energy.local_pj == 2 * 8 * layer.traffic.total_bytes


def test_widths_scale_the_cost_of_a_mac() -> None:
    narrow = result(RunOptions(weight_bits=4))
    assert narrow.energy.mac_pj == 0.5 * result().energy.mac_pj
    large = {"local_memory__capacity": "64MiB"}
    narrow, wide = result(RunOptions(weight_bits=4), **large), result(None, **large)
    assert 2 * narrow.traffic.of(*WEIGHTS) == wide.traffic.of(*WEIGHTS)
