"""How close one layer alone comes to what no schedule can beat, over networks and budgets."""

from __future__ import annotations

from math import sqrt

import pytest

from dataflow_sim.graph.analyses import layer_macs_without_padding
from dataflow_sim.graph.layer import Layer, LayerKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.alone import any_problem, frontier
from dataflow_sim.schedule.bounds import layer_bound_bytes, layer_floor_bytes
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from tests.support.runs import built_in

NETWORKS = (
    *("alexnet", "densenet121", "efficientnet_b0", "googlenet", "inception_v3"),
    *("mobilenet_v1", "mobilenet_v2", "resnet50", "squeezenet1_1", "vgg16"),
)
BUDGETS = tuple(1 << power for power in range(14, 23))


def leading_bytes(graph: NetworkGraph, layer: Layer, budget: int) -> float:
    """The larger of each tensor once and 2·MACs / sqrt(R·S), 8 bit.

    R is in how many outputs of a channel an input meets the channel's kernel, on average:
    kernel area over strides (Chen et al., arXiv:1911.05662).
    """
    floor = layer_floor_bytes(graph, layer)
    if layer.kind is not LayerKind.CONVOLUTION or layer.weight is None:
        return floor
    (kh, kw), (sh, sw) = layer.window.kernel, layer.window.stride
    reuse = kh * kw / (sh * sw)
    return max(floor, 2 * layer_macs_without_padding(layer) / sqrt(reuse * budget))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_lies_between_its_bound_and_1_6_of_the_leading_term(name: str) -> None:
    """8 bit, sums too, single buffers."""
    graph = built_in(name, accumulator=8)
    for layer in graph.layers:
        found = frontier(any_problem(graph, layer, MemoryOptions(0, SINGLE, 8)))
        for budget in BUDGETS:
            choice = found.best(budget)
            assert choice is not None, f"{layer.name} does not fit {budget}"
            moved = -(-choice.dram_bits // 8)
            where = f"{layer.name} at {budget}: {moved}"
            assert layer_bound_bytes(graph, layer, budget) <= moved, where
            assert moved <= 1.6 * leading_bytes(graph, layer, budget), where
