"""Energy and time: counts times cost, component by component."""

from __future__ import annotations

import pytest

from dataflow_sim.hardware import load_hardware
from dataflow_sim.pipeline import RunOptions, load_network, run
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_costs import WEIGHTS, WRITES
from dataflow_sim.traffic import Reason

NETWORK = "mobilenet_v1@0.25"


def result(options: RunOptions | None = None, /, **overrides: str) -> RunResult:
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return run(load_network(NETWORK), load_hardware("bare", dotted), options)


def closed_form(found: RunResult) -> float:
    assert found.timeline is not None
    return found.timeline.closed_form_latency_s


def test_the_breakdown_adds_up_to_the_last_float() -> None:
    found = result(energy__local="0.2pJ/bit", energy__static_power="50mW")
    energy = found.to_json()["energy_pj"]
    assert isinstance(energy, dict)
    assert energy["total"] == energy["mac"] + energy["dram"] + energy["local"] + energy["static"]
    assert energy["idle"] == 0
    assert all(energy[part] > 0 for part in ("mac", "dram", "local", "static"))
    layers = [layer.energy for layer in found.layers]
    assert found.energy.mac_pj == sum(e.mac_pj for e in layers)
    assert found.energy.dram_pj == sum(e.dram_pj for e in layers)


# a machine with everything that costs energy
EVERYTHING = {
    "energy__mac": "1pJ",
    "energy__local_read": "1pJ/bit",
    "energy__local_write": "2pJ/bit",
    "energy__static_power": "10mW",
    "dram__energy": "10pJ/bit",
    "dram__background_power": "5mW",
    "flash": "{bandwidth: 1GB/s, energy: 4pJ/bit}",
    "system_cache": "{capacity: 256KiB, energy: 3pJ/bit}",
}
PARTS = ("mac", "dram_access", "dram_background", "local", "static", "flash", "system_cache")


@pytest.mark.parametrize(
    ("key", "twice", "component"),
    [
        ("energy__mac", "2pJ", "mac"),
        ("dram__energy", "20pJ/bit", "dram_access"),
        ("dram__background_power", "10mW", "dram_background"),
        ("energy__static_power", "20mW", "static"),
        ("flash__energy", "8pJ/bit", "flash"),
        ("system_cache__energy", "6pJ/bit", "system_cache"),
    ],
)
def test_doubling_a_cost_moves_its_component_alone(key: str, twice: str, component: str) -> None:
    first, second = (
        result(None, **keys).energy.to_json() for keys in (EVERYTHING, {**EVERYTHING, key: twice})
    )
    assert all(first[part] > 0 for part in PARTS)
    for part in PARTS:
        factor = 2 if part == component else 1
        assert second[part] == pytest.approx(factor * first[part], rel=1e-12)


def test_local_memory_costs_by_direction() -> None:
    """What a step in one piece does: DMA in, operands read, results written, DMA out."""
    keys = {"local_memory__capacity": "64MiB"}
    reads = result(None, energy__local_read="1pJ/bit", **keys)
    writes = result(None, energy__local_write="1pJ/bit", **keys)
    both = result(None, energy__local="1pJ/bit", **keys)
    for read, write, layer in zip(reads.layers, writes.layers, both.layers, strict=True):
        moved = 8 * layer.traffic.total_bytes
        # every byte goes in once and out once, whichever way it came
        assert read.energy.local_pj == write.energy.local_pj == moved
        assert layer.energy.local_pj == 2 * moved


def test_background_power_lasts_as_long_as_the_run_on_every_channel() -> None:
    found = result(None, dram__background_power="5mW", dram__channels="3")
    assert found.energy.dram_background_pj == pytest.approx(3 * 5e-3 * found.latency_s * 1e12)
    assert found.energy.dram_pj == found.energy.dram_access_pj + found.energy.dram_background_pj


def test_channels_and_other_masters_change_the_bandwidth() -> None:
    keys = {"compute__clock": "100GHz", "compute__macs_per_cycle": "65536"}  # DRAM alone decides
    one, three = result(None, **keys), result(None, dram__channels="3", **keys)
    half = result(None, dram__share="50%", **keys)
    assert one.latency_s == pytest.approx(one.traffic.total_bytes / 6.4e9, rel=1e-3)
    assert three.latency_s == pytest.approx(one.latency_s / 3, rel=1e-2)
    assert half.latency_s == pytest.approx(2 * one.latency_s, rel=1e-3)


def test_weights_from_a_flash_are_not_drams() -> None:
    plain = result(None)
    flash = result(None, flash="{bandwidth: 1MB/s, energy: 4pJ/bit}")
    weights = plain.traffic.of(*WEIGHTS)
    assert flash.traffic == plain.traffic
    assert flash.energy.flash_pj == 8 * weights * 4.0
    assert flash.energy.dram_pj == 8 * (plain.traffic.total_bytes - weights) * 10.0
    assert flash.timeline is not None
    assert flash.timeline.limited_by == "flash"
    assert all(layer.limited_by in ("flash", "latency") for layer in flash.layers)
    assert flash.latency_s == pytest.approx(weights / 1e6, rel=0.01)
    assert closed_form(flash) == pytest.approx(weights / 1e6, rel=0.01)


def test_set_up_of_transfers_takes_time_and_dma_channels_share_it() -> None:
    """One layer in one step: input and kernel in, the result out; nothing beside a set-up but
    another one's."""
    keys = {"local_memory__capacity": "64MiB", "compute__clock": "100GHz"}
    plain, slow = result(None, **keys), result(None, dma__setup="1us", **keys)
    four = result(None, dma__setup="1us", dma__channels="4", **keys)
    transfers = 3 * len(plain.layers)
    assert slow.latency_s - plain.latency_s == pytest.approx(transfers * 1e-6, rel=1e-3)
    assert plain.latency_s < four.latency_s < slow.latency_s
    assert closed_form(slow) - closed_form(plain) == pytest.approx(transfers * 1e-6)
    assert closed_form(four) - closed_form(plain) == pytest.approx(transfers * 1e-6 / 4)


def test_bursts_are_padded_at_the_end_of_every_transfer() -> None:
    keys = {"local_memory__capacity": "64MiB"}
    plain, burst = result(None, **keys), result(None, dram__burst="64B", **keys)
    for fine, coarse in zip(plain.layers, burst.layers, strict=True):
        moved = [each for each in fine.traffic.by_reason.values() if each]
        padding = sum(-each % 64 for each in moved)  # each reason is one transfer here
        assert coarse.traffic.of(Reason.BURST_PADDING) == padding
        assert coarse.traffic.total_bytes == fine.traffic.total_bytes + padding
        assert coarse.traffic.total_bytes % 64 == 0
    json = burst.to_json()["dram"]
    assert isinstance(json, dict)
    parts = ("weight", "map_read", "map_write", "partial_sum", "input", "output", "burst_padding")
    assert json["total_bytes"] == sum(json[f"{part}_bytes"] for part in parts)


def test_commands_are_fetched_for_layers_and_for_steps() -> None:
    found = result(None, command_stream="{per_layer: 100B, per_step: 8B}")
    for layer in found.layers:
        assert layer.traffic.of(Reason.COMMAND_FETCH) == 100 + 8 * layer.steps
    total = found.traffic.of(Reason.COMMAND_FETCH)
    assert total == 100 * len(found.layers) + 8 * found.steps
    assert found.traffic.total_bytes == result(None).traffic.total_bytes + total


def test_local_bandwidth_limits_what_passes_in_and_out() -> None:
    found = result(None, local_memory__bandwidth="10MB/s", energy__local="1pJ/bit")
    assert all(layer.limited_by == "local memory" for layer in found.layers)
    everything = sum(layer.energy.local_pj for layer in found.layers) / 8 / 10e6
    assert closed_form(found) == pytest.approx(everything, rel=0.01)
    # one port serves steps and DMA, so that nothing passes beside anything else
    assert everything <= found.latency_s <= 1.01 * everything


def test_reads_and_writes_may_cost_differently() -> None:
    base = result()
    written = base.traffic.of(*WRITES)
    read = base.traffic.total_bytes - written
    only_writes = result(dram__energy_read="0pJ/bit")
    assert only_writes.energy.dram_pj == written * 8 * 10.0
    only_reads = result(dram__energy_write="0pJ/bit")
    assert only_reads.energy.dram_pj == read * 8 * 10.0


def test_without_second_buffers_compute_and_dram_take_turns() -> None:
    found = result()
    expected = 0.0
    for layer in found.layers:
        compute = -(-layer.macs_executed // 256) / 500e6
        dram = layer.traffic.total_bytes / 6.4e9
        expected += compute + dram
    assert closed_form(found) == pytest.approx(expected)
    assert found.latency_s == pytest.approx(expected, rel=0.01)
    assert found.latency_s == pytest.approx(sum(layer.latency_s for layer in found.layers))
    assert found.energy.static_pj == 0.0


@pytest.mark.parametrize("policy", ["layerwise", "merged"])
@pytest.mark.parametrize("hardware", ["vision_processor", "mobile_npu", "microcontroller_npu"])
def test_the_closed_form_is_near_to_the_timeline(hardware: str, policy: str) -> None:
    """With second buffers what fills and drains is an estimate; its error is in every result."""
    small = load_network("mobilenet_v1@0.25-64")
    found = run(small, load_hardware(hardware), RunOptions(policy))
    assert found.timeline is not None
    error = closed_form(found) / found.latency_s - 1
    assert found.timeline.closed_form_error == error
    assert abs(error) < 0.05


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


def test_two_readers_of_one_map_in_a_tiled_group_are_proved() -> None:
    """Which of the two reads a cell of it first the program decides, not the closed form."""
    hardware = load_hardware("bare", {"local_memory.capacity": "16KiB"})
    found = run(load_network("squeezenet1_1@64"), hardware, RunOptions(policy="merged"))
    assert found.counted


def test_what_a_cache_takes_off_dram_does_not_beat_the_bound() -> None:
    plain = result(None)
    cached = result(None, system_cache="{capacity: 8MiB}")
    assert cached.traffic.total_bytes < plain.traffic.total_bytes
    assert cached.gap == plain.gap >= 1
