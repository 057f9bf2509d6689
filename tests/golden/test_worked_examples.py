"""Worked examples with exact answers, single layers and one network."""

from __future__ import annotations

import pytest

from dataflow_sim.graph.analyses import layer_macs, live_peak_bytes
from dataflow_sim.graph.layer import Window
from dataflow_sim.hardware import load_hardware
from dataflow_sim.pipeline import load_network, run
from dataflow_sim.schedule.bounds import compulsory_bytes, layer_floor_bytes
from dataflow_sim.simulate.ledger import count
from tests.support.runs import built_in, scheduled, single_convolution

LARGE = 64 << 20


def test_a_valid_convolution_with_large_memory() -> None:
    """3x3, 13x13x256 -> 11x11x384: 43,264 + 884,736 + 46,464 bytes."""
    graph = single_convolution((1, 256, 13, 13), 384, Window(kernel=(3, 3)))
    schedule, program = scheduled(graph, LARGE)
    by_reason = {key.reason: value for key, value in count(program).traffic_bytes().items()}
    assert by_reason == {"input_read": 43_264, "weight_fetch": 884_736, "output_write": 46_464}
    assert sum(by_reason.values()) == 974_464 == compulsory_bytes(graph)
    assert sum(schedule.traffic_bytes().values()) == 974_464


def test_conv4_2_of_vgg16_with_large_memory() -> None:
    """401,408 + 2,359,296 + 401,408 bytes."""
    graph = built_in("vgg16")
    layer = next(layer for layer in graph.layers if layer.name == "conv4_2")
    assert layer_floor_bytes(graph, layer) == 3_162_112
    schedule, _ = scheduled(graph, LARGE)
    chosen = next(chosen for chosen in schedule.layers if chosen.layer == "conv4_2")
    assert sum(chosen.traffic_bits.values()) == 8 * 3_162_112


def test_mobilenet_v1() -> None:
    graph = built_in("mobilenet_v1")
    weights = [graph.tensors[name].elements for layer in graph.layers for name in layer.weights]
    assert sum(weights) == 4_209_088
    assert sum(map(layer_macs, graph.layers)) == 568_740_352
    assert live_peak_bytes(graph) == 112 * 112 * (32 + 64) == 1_204_224
    assert compulsory_bytes(graph) == 4_209_088 + 150_528 + 1_000


def test_one_dram_byte_costs_eighty_macs() -> None:
    result = run(load_network("mobilenet_v1"), load_hardware("bare"))
    per_mac = result.energy.mac_pj / result.macs_executed
    per_byte = result.energy.dram_pj / result.traffic.total_bytes
    assert per_mac == 1.0
    assert per_byte == 80 * per_mac
    assert result.energy.mac_pj == pytest.approx(0.569e9, rel=1e-3)


def test_layer_by_layer_densenet_without_retiling() -> None:
    """Every layer's input, weights and output once, by hand over the published shapes."""
    total = 224 * 224 * 3 + 64 * 3 * 49 + 56 * 56 * 64
    channels, side = 64, 56
    for block, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            plane = side * side
            total += plane * channels + channels * 128 + plane * 128
            total += plane * 128 + 128 * 32 * 9 + plane * 32
            channels += 32
        if block < 3:
            total += side * side * channels + channels * channels // 2
            channels, side = channels // 2, side // 2
            total += side * side * channels
    total += 49 * 1024 + 1024 + 1024 + 1024 * 1000 + 1000
    schedule, _ = scheduled(built_in("densenet121"), LARGE)
    assert sum(schedule.traffic_bytes().values()) == total == 28_682_664
