"""Figures that others published, reproduced by count or by search."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.graph.layer import Window
from dataflow_sim.graph.network import NetworkGraph
from tests.support.runs import layer_curve, single_convolution


def best_at(graph: NetworkGraph, budget: int) -> int:
    local, bits = layer_curve(graph, accumulator=8)
    return int(bits[np.searchsorted(local, budget, side="right") - 1]) // 8


@pytest.mark.parametrize(
    ("budget", "elements"), [(65_536, 5.572e6), (262_144, 3.51e6), (524_288, 3_162_112)]
)
def test_conv4_2_of_vgg16_alone_with_eight_bit_sums(budget: int, elements: float) -> None:
    """Best tilings by exhaustive search elsewhere: 5.571 M at 64 K, 3.564 M at 256 K and with
    pinning 3.51 M, then compulsory; figures rounded to three places."""
    window = Window(kernel=(3, 3), pad=(1, 1))
    graph = single_convolution((1, 512, 28, 28), 512, window)
    assert best_at(graph, budget) <= elements


# channels and sizes of the convolutions of VGG16: maps read, maps made, rows and columns
VGG16 = (
    *((3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112)),
    *((128, 256, 56), (256, 256, 56), (256, 256, 56), (256, 512, 28)),
    *((512, 512, 28), (512, 512, 28), (512, 512, 14), (512, 512, 14), (512, 512, 14)),
)


@pytest.mark.parametrize(("budget", "elements"), [(65_536, 58.58e6), (262_144, 41.36e6)])
def test_all_convolutions_of_vgg16_alone_with_eight_bit_sums(budget: int, elements: float) -> None:
    """Sums of the best tilings by exhaustive search elsewhere, without pinning."""
    window = Window(kernel=(3, 3), pad=(1, 1))
    best = [
        best_at(single_convolution((1, read, side, side), made, window), budget)
        for read, made, side in VGG16
    ]
    assert sum(best) <= elements
