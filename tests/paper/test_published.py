"""Figures that others published, reproduced by count or by search."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.layer import Window
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks import BUILT_IN, build_network
from tests.support.runs import layer_curve, single_convolution


def published(shared: Path, table: str, key: str) -> dict[str, dict[str, str]]:
    with (shared / "reference" / table).open() as file:
        return {row[key]: row for row in csv.DictReader(file)}


def test_parameters_and_macs_of_the_table(shared: Path) -> None:
    rows = published(shared, "networks.csv", "network")
    for name in BUILT_IN:
        graph = graph_from_model(build_network(name), name)
        assert graph.parameters == int(rows[name]["params"])
        macs = sum(map(layer_macs, graph.layers)) / 1e6
        assert macs == pytest.approx(float(rows[name]["mmacs"]), rel=0.014)


def best_at(graph: NetworkGraph, budget: int) -> int:
    local, bits = layer_curve(graph, accumulator=8)
    return int(bits[np.searchsorted(local, budget, side="right") - 1]) // 8


@pytest.mark.parametrize(
    ("budget", "elements"), [(65_536, 5.572e6), (262_144, 3.564e6), (524_288, 3_162_112)]
)
def test_conv4_2_of_vgg16_alone_with_eight_bit_sums(budget: int, elements: float) -> None:
    """Best tilings by exhaustive search elsewhere: 5.571 M at 64 K, 3.564 M at 256 K, then
    compulsory; figures rounded to three places."""
    window = Window(kernel=(3, 3), pad=(1, 1))
    graph = single_convolution((1, 512, 28, 28), 512, window)
    assert best_at(graph, budget) <= elements
