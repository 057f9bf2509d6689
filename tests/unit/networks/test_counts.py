"""Counts that are known to the last digit: parameters, and MACs of the exporters' files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow_sim.graph.analyses import layer_macs, live_elements
from tests.support.models import references
from tests.support.zoo import graph_of

# learned parameters, normalisation statistics excluded, as published with the graphs
PARAMETERS = {
    "densenet121": 7_978_856,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v1@0.75": 2_585_560,
    "mobilenet_v1@0.5": 1_331_592,
    "mobilenet_v1@0.25": 470_072,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
}
FILES = {
    "densenet121": "tv_densenet121",
    "mobilenet_v1": "timm_mobilenetv1_100",
    "mobilenet_v2": "tv_mobilenet_v2",
    "resnet50": "tv_resnet50_script17",
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_exact(name: str) -> None:
    assert graph_of(name).parameters == PARAMETERS[name]


@pytest.mark.parametrize("name", FILES)
def test_macs_equal_those_of_the_exported_file(name: str, shared: Path) -> None:
    macs = sum(map(layer_macs, graph_of(name).layers))
    assert macs == references(shared)[FILES[name]].macs


def test_the_largest_pair_of_mobilenet_v1() -> None:
    assert max(live_elements(graph_of("mobilenet_v1"))) == 112 * 112 * (32 + 64)
