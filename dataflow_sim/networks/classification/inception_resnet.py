"""Inception-ResNet V2 (Szegedy et al., arXiv:1602.07261), figure 15, as released.

A residual module widens its branches to the maps of its input, scales the result and adds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.classification.inception import (
    Branches,
    branches,
    module,
    reduction,
    stem,
)
from dataflow_sim.networks.row import BuiltIn, Published, resolution


@dataclass(frozen=True, slots=True)
class Residual:
    """A kind of residual module: branches of (maps, kernel), and what the result is scaled by."""

    branches: Branches
    scale: float


# on planes of 35, 17 and 8
_A = Residual((((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3))), 0.17)
_B = Residual((((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1)))), 0.1)
_C = Residual((((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1)))), 0.2)
_LAST = Residual(_C.branches, 1.0)

_FIRST: Branches = (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)))
_TO_17: Branches = (((384, 3),), ((256, 1), (256, 3), (384, 3)))
_TO_8: Branches = (
    ((256, 1), (384, 3)),
    ((256, 1), (288, 3)),
    ((256, 1), (288, 3), (320, 3)),
)


def _residual(
    net: OnnxBuilder, name: str, value: str, residual: Residual, activation: str | None = "Relu"
) -> str:
    joined = net.concat(f"{name}.concat", branches(net, name, value, residual.branches))
    wide = net.convolution(f"{name}.expand", joined, net.channels(value), 1, bias=True)
    if residual.scale != 1.0:
        factor = net.constant(f"{name}.factor", residual.scale)
        wide = net.multiply(f"{name}.scale", wide, factor)
    value = net.add(f"{name}.add", value, wide)
    return value if activation is None else net.activation(f"{name}.relu", value, activation)


def inception_resnet_v2(name: str, resolution: int) -> onnx.ModelProto:
    """Inception-ResNet V2 with its classifier."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = module(net, "5b", stem(net, "input"), _FIRST, 64)
    for place in range(1, 11):
        value = _residual(net, f"block35_{place}", value, _A)
    value = reduction(net, "6a", value, _TO_17)
    for place in range(1, 21):
        value = _residual(net, f"block17_{place}", value, _B)
    value = reduction(net, "7a", value, _TO_8)
    for place in range(1, 10):
        value = _residual(net, f"block8_{place}", value, _C)
    value = _residual(net, "block8_10", value, _LAST, activation=None)
    value = net.unit("conv_last", value, 1536, 1)
    return net.model(net.fully_connected("fc", net.global_average_pool("pool", value), 1000))


NETWORKS = (
    BuiltIn(
        "inception_resnet_v2",
        "classification",
        "40 residual Inception modules on planes of 35, 17 and 8",
        "arXiv:1602.07261, figures 15 to 19 and table 1, as released",
        inception_resnet_v2,
        (resolution(299, least=75),),
        deviations=(
            "the stem is that of Inception V3 with one more module, as in the release, not that "
            "of figure 3",
            "10, 20 and 10 modules of 320, 1088 and 2080 maps, as in the release; the figures "
            "have 5, 10 and 5 of 384, 1154 and 2048",
            "without the auxiliary classifier, which serves training only",
        ),
        published=(
            Published(
                "a published count of the framework's graph, half of all operations",
                55_843_464,
                13_188_640_000,
            ),
        ),
    ),
)
