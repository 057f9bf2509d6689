from __future__ import annotations

import pytest

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.analyses import layer_macs, live_elements
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks import BUILT_IN, build_network

# parameters and MACs of convolutions and fully connected layers at 224 x 224: published
# (torchvision, the authors' repositories), normalisation statistics excluded
COUNTS = {
    "densenet121": (7_978_856, 2_834_161_664),
    "mobilenet_v1": (4_231_976, 568_740_352),
    "mobilenet_v1@0.75": (2_585_560, 325_400_448),
    "mobilenet_v1@0.5": (1_331_592, 149_497_088),
    "mobilenet_v1@0.25": (470_072, 41_030_272),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "resnet50": (25_557_032, 4_089_184_256),
    "vgg16": (138_357_544, 15_470_264_320),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_macs_are_exact(name: str) -> None:
    graph = graph_from_model(build_network(name), name)
    assert (graph.parameters, sum(map(layer_macs, graph.layers))) == COUNTS[name]
    assert not graph.warnings


def test_every_built_in_network_is_counted_here() -> None:
    assert set(BUILT_IN) <= set(COUNTS)


def test_the_largest_pair_of_mobilenet_v1() -> None:
    graph = graph_from_model(build_network("mobilenet_v1"), "mobilenet_v1")
    assert max(live_elements(graph)) == 112 * 112 * (32 + 64)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilnet_v1", "did you mean 'mobilenet_v1'"),
        ("nothing", "give an .onnx file"),
        ("vgg16@0.5", "no width multiplier"),
        ("mobilenet_v1@0", "width '0'"),
        ("mobilenet_v1@wide", "width 'wide'"),
        ("mobilenet_v1@", "width ''"),
        ("mobilenet_v1@nan", "width 'nan'"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with pytest.raises(NetworkError) as caught:
        build_network(name)
    assert message in str(caught.value)
