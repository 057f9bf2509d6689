"""The compute array: lanes that work, Winograd, zeros that are skipped; by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dataflow_sim.energy.compute import (
    by_winograd,
    kind_of,
    lanes_in_use,
    layer_compute,
    winograd_part,
)
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.pipeline import RunOptions, prepare, run
from tests.support.changed import changed, machine

ARRAY = {"compute__array": "{input_channels: 16, output_channels: 16}"}


def one_layer(
    inputs: int, outputs: int, kernel: int = 3, side: int = 8, groups: int = 1, stride: int = 1
) -> NetworkGraph:
    net = OnnxBuilder("one", (1, inputs, side, side))
    value = net.convolution("conv", "input", outputs, kernel, groups=groups, stride=stride)
    return graph_from_model(net.model(value), "one")


@pytest.mark.parametrize(
    ("inputs", "outputs", "part"),
    [
        (16, 16, Fraction(1)),
        (17, 16, Fraction(17, 32)),
        (16, 17, Fraction(17, 32)),
        (3, 64, Fraction(3, 16)),
        (96, 90, Fraction(90, 96)),
        (8, 8, Fraction(1, 4)),
    ],
)
def test_channels_that_do_not_fill_the_lanes(inputs: int, outputs: int, part: Fraction) -> None:
    graph, hardware = one_layer(inputs, outputs), machine(**ARRAY)
    assert lanes_in_use(hardware, graph.layers[0]) == part
    found = run(graph, hardware)
    # the array has 256 MACs a cycle, of which that part works
    cycles = -(-found.macs_executed // (256 * part))
    assert found.layers[0].utilisation == pytest.approx(float(part))
    assert found.latency_s >= cycles / 500e6
    assert lanes_in_use(machine(), graph.layers[0]) == 1


def test_a_depthwise_layer_has_one_lane_unless_the_array_has_a_way() -> None:
    (layer,) = one_layer(40, 40, groups=40).layers
    assert kind_of(layer) == "depthwise"
    assert lanes_in_use(machine(**ARRAY), layer) == Fraction(1, 256)
    keys = {"compute__array": "{input_channels: 16, output_channels: 16, depthwise_channels: 16}"}
    assert lanes_in_use(machine(**keys), layer) == Fraction(40, 48) * Fraction(16, 256)


def test_pixels_are_lanes_too() -> None:
    graph = one_layer(16, 16, side=6)
    keys = {"compute__array": "{pixels: 32}"}
    assert lanes_in_use(machine(**keys), graph.layers[0]) == Fraction(36, 64)


def test_stated_utilisation_goes_by_the_kind_of_layer() -> None:
    hardware = machine(compute__utilisation="{convolution: 50%, fully_connected: 0.25}")
    graph = changed("mobilenet_v1@0.25-32")
    ready = prepare(graph, hardware, RunOptions())
    found = {kind_of(each): layer_compute(hardware, ready, each) for each in ready.layers}
    assert found["convolution"].utilisation == 0.5
    assert found["fully_connected"].utilisation == 0.25
    assert found["depthwise"].utilisation == 1.0
    assert found["convolution"].macs_per_cycle == 128


@pytest.mark.parametrize(
    ("graph", "applies"),
    [
        (one_layer(4, 4), True),
        (one_layer(4, 4, kernel=5), False),
        (one_layer(4, 4, stride=2), False),
        (one_layer(4, 4, groups=4), False),
        (one_layer(4, 4, kernel=1), False),
    ],
)
def test_winograd_is_for_dense_3x3_layers_of_stride_1(graph: NetworkGraph, applies: bool) -> None:
    assert by_winograd(graph.layers[0]) is applies


def test_tiles_of_winograd_that_leave_the_plane_are_made_whole() -> None:
    (layer,) = one_layer(4, 4, side=7).layers
    assert winograd_part(layer, 2) == Fraction(4 * 4 * 16, 9 * 49)
    assert winograd_part(layer, 4) == Fraction(2 * 2 * 36, 9 * 49)
    found = run(one_layer(4, 4, side=7), machine(compute__winograd="{tile: 2}"))
    assert found.macs_executed == 4 * 4 * 16 * 16  # tiles x taps x pairs of channels


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        ({}, 1.0),
        ({"compute__zero_skipping": "{weights: true}"}, 0.25),
        ({"compute__zero_skipping": "{activations: true}"}, 0.5),
        ({"compute__zero_skipping": "{weights: true, activations: true}"}, 0.125),
    ],
)
def test_multiplications_by_zero_are_left_out(keys: dict[str, str], left: float) -> None:
    net = OnnxBuilder("two", (1, 4, 8, 8))
    value = net.convolution("one", "input", 8, 3)
    graph = graph_from_model(net.model(net.convolution("two", value, 8, 3)), "two")
    from dataflow_sim.whatif import parse

    sparse = parse(["sparsity=0.75", "map_sparsity=0.5"]).apply(graph)
    found = run(sparse, machine(**keys))
    assert found.macs == run(graph, machine()).macs
    assert found.layers[1].macs_executed == found.layers[1].macs * left
    # the network's input is told to have no zeros
    own = 0.25 if "weights" in str(keys) else 1.0
    assert found.layers[0].macs_executed == found.layers[0].macs * own
    assert found.energy.mac_pj == found.macs_executed * 1.0
