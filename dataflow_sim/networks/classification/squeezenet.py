"""SqueezeNet (Iandola et al., arXiv:1602.07360), table 1, and its cheaper release 1.1.

A fire module squeezes with 1x1 convolutions and expands with 1x1 and 3x3 side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Published, resolution

# squeezed maps of fire2 to fire9; each of the two expansions has four times as many
_SQUEEZED = (16, 16, 32, 32, 48, 48, 64, 64)


@dataclass(frozen=True, slots=True)
class Release:
    """Maps and kernel of the first convolution, and the layers that a pooling follows."""

    channels: int
    kernel: int
    pooled: tuple[int, int, int]


RELEASES = {
    "squeezenet1_0": Release(96, 7, (1, 4, 8)),
    "squeezenet1_1": Release(64, 3, (1, 3, 5)),
}


def _rectified(net: OnnxBuilder, name: str, value: str, channels: int, kernel: int) -> str:
    value = net.convolution(name, value, channels, kernel, bias=True)
    return net.activation(f"{name}.relu", value)


def fire(net: OnnxBuilder, name: str, value: str, squeezed: int) -> str:
    """A fire module: `squeezed` maps, then 8 x `squeezed`."""
    value = _rectified(net, f"{name}.squeeze1x1", value, squeezed, 1)
    wide = [
        _rectified(net, f"{name}.expand{side}x{side}", value, 4 * squeezed, side) for side in (1, 3)
    ]
    return net.concat(f"{name}.concat", wide)


def squeezenet(name: str, resolution: int, release: Release) -> onnx.ModelProto:
    """A SqueezeNet; its classifier is a 1x1 convolution and a mean over the plane."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = net.convolution(
        "conv1", "input", release.channels, release.kernel, stride=2, pad=0, bias=True
    )
    value = net.activation("conv1.relu", value)
    for layer in range(1, 10):
        if layer > 1:
            value = fire(net, f"fire{layer}", value, _SQUEEZED[layer - 2])
        if layer in release.pooled:
            value = net.pool("MaxPool", f"pool{layer}", value, 3, 2, ceil=True)
    value = _rectified(net, "conv10", value, 1000, 1)
    value = net.global_average_pool("pool10", value)
    return net.model(net.node("Flatten", "flatten", [value]))


_COUNTED = "a published count of the framework's graph, half of all operations"

NETWORKS = (
    BuiltIn(
        "squeezenet1_0",
        "classification",
        "8 fire modules behind a 7x7 convolution",
        "arXiv:1602.07360, table 1",
        partial(squeezenet, release=RELEASES["squeezenet1_0"]),
        (resolution(least=29),),
        deviations=(
            "the first convolution is not padded, as in the release: planes of 109 and 54 where "
            "the table has 111 and 55",
        ),
        published=(
            Published(_COUNTED, 1_248_424, 823_670_000),
            Published(
                "arXiv:1704.04861, table 9",
                1_250_000,
                1_700_000_000,
                because="the figure is twice the MACs: 1,665 million operations on the planes of "
                "111, 55, 27 and 13 of the paper, 1,638 million on those here",
            ),
        ),
    ),
    BuiltIn(
        "squeezenet1_1",
        "classification",
        "8 fire modules behind a 3x3 convolution, pooled early",
        "the authors' release 1.1 of arXiv:1602.07360",
        partial(squeezenet, release=RELEASES["squeezenet1_1"]),
        (resolution(least=25),),
        published=(Published(_COUNTED, 1_235_496, 352_020_000),),
    ),
)
