"""Published times of chips, by the timeline; what stands between them and ours is said."""

from __future__ import annotations

import pytest

from dataflow_sim.energy.compute import lanes_in_use
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.pipeline import ReadRequest, RunOptions, load_network, run
from dataflow_sim.results import RunResult
from dataflow_sim.timeline_study import study

# Chen et al., JSSC 2017: AlexNet, batch 4, 200 MHz: processing time in ms (without what DRAM adds),
# MMAC, active processing elements of 168
EYERISS = {
    "conv1": (16.5, 421.66, 154),
    "conv2": (39.2, 895.79, 135),
    "conv3": (21.8, 598.1, 156),
    "conv4": (16.0, 448.6, 156),
    "conv5": (10.0, 299.0, 156),
}


@pytest.fixture(scope="module")
def alexnet_on_eyeriss() -> RunResult:
    graph = load_network("alexnet_caffe", ReadRequest(batch=4))
    return run(graph, load_hardware("eyeriss"), RunOptions(layers="conv1:conv5"))


@pytest.mark.parametrize("layer", EYERISS)
def test_eyeriss_processes_alexnet(alexnet_on_eyeriss: RunResult, layer: str) -> None:
    """Within 20 %: filling and draining of the array, and scratch pads that are loaded between
    passes, are not modelled, so that ours are shorter."""
    published_ms, mmac, _ = EYERISS[layer]
    assert alexnet_on_eyeriss.timeline is not None
    (times,) = [each for each in alexnet_on_eyeriss.timeline.layers if each.name == layer]
    (counts,) = [each for each in alexnet_on_eyeriss.layers if each.name == layer]
    assert counts.macs / 1e6 == pytest.approx(mmac, rel=1e-3)
    assert times.compute_s * 1e3 == pytest.approx(published_ms, rel=0.2)
    assert times.compute_s * 1e3 < published_ms


@pytest.mark.parametrize("layer", EYERISS)
def test_eyeriss_has_so_many_elements_active(layer: str) -> None:
    """Kernel rows by strips of output rows; of conv1 the paper counts whole strips of 14, which
    are 55 rows in four."""
    graph = load_network("alexnet_caffe", ReadRequest(batch=4))
    (found,) = [each for each in graph.layers if each.name == layer]
    active = 168 * lanes_in_use(load_hardware("eyeriss"), found)
    assert float(active) == pytest.approx(EYERISS[layer][2], rel=0.02)


MACHINES = ("bare", "vision_processor")


def mlp0() -> NetworkGraph:
    """Five fully connected layers, 20 M weights, batch 200; five equal layers are assumed."""
    net = OnnxBuilder("mlp0", (200, 2000, 1, 1))
    value = "input"
    for number in range(5):
        value = net.activation(f"relu{number}", net.convolution(f"fc{number}", value, 2000, 1))
    return graph_from_model(net.model(value), "mlp0")


def test_tpu_v1_waits_for_the_weights_of_mlp0() -> None:
    """Jouppi et al., ISCA 2017, tables 1 and 3: 12.3 of 92 TOPS, the array active in 12.7 % of the
    cycles, the rest stalls on weights.  Within 20 %: layers are assumed equal, and the host's part
    is left out."""
    found = run(mlp0(), load_hardware("tpu_v1"), RunOptions("resident", in_flight=2))
    assert found.parameters == pytest.approx(20e6, rel=1e-3)
    times = found.timeline
    assert times is not None
    assert 2 * found.macs / times.period_s / 1e12 == pytest.approx(12.3, rel=0.2)
    assert times.engines[0].busy_s / times.period_s == pytest.approx(0.127, rel=0.2)
    waits = times.engines[0].waits_s
    assert max(waits, key=lambda cause: waits[cause]) == "weights"


@pytest.mark.parametrize(
    ("network", "name"),
    [
        *((network, name) for network in ("mobilenet_v1", "vgg16") for name in MACHINES),
        ("mobilenet_v1", "eyeriss"),
    ],
)
def test_the_knee_of_the_roofline_is_where_the_formula_puts_it(network: str, name: str) -> None:
    """Peak over bandwidth (Williams et al., 2009); layers stand under the roof, VGG16's to the
    right of MobileNetV1's."""
    hardware = load_hardware(name)
    found = study(load_network(network), hardware).roofline
    peak = 2 * hardware.compute.fastest_macs_per_cycle * hardware.compute.clock_hertz
    knee = peak / hardware.dram.bandwidth_bytes_per_second
    assert found.knee_operations_per_byte == pytest.approx(knee)
    for point in (found.network, *found.layers):
        assert point.operations_per_byte is not None
        roof = min(peak, point.operations_per_byte * hardware.dram.bandwidth_bytes_per_second)
        assert point.roof_operations_per_second == pytest.approx(roof)
        assert point.reached_operations_per_second <= roof * (1 + 1e-9)


def test_vgg16_stands_right_of_the_knee_and_mobilenet_v1_left() -> None:
    hardware = load_hardware("vision_processor")
    small, large = (study(load_network(n), hardware).roofline for n in ("mobilenet_v1", "vgg16"))
    sides = [found.network.operations_per_byte for found in (small, large)]
    assert sides[0] is not None
    assert sides[1] is not None
    assert sides[0] < small.knee_operations_per_byte < sides[1]
