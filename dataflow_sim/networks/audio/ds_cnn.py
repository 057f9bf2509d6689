"""DS-CNN (Zhang et al., "Hello Edge", arXiv:1711.07128): keyword spotting on microcontrollers.

One second of sound as 49 x 10 MFCC (40 ms windows 20 ms apart, 10 features each) to 12 classes:
a 10x4 convolution, 4 or 5 depthwise separable ones, the mean over the plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx

from dataflow_sim.networks.builder import OnnxBuilder, same_pads
from dataflow_sim.networks.row import BuiltIn, Parameter, Published

_FEATURES = 10
_CLASSES = 12
_KERNEL = (10, 4)

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Size:
    """Channels, depthwise separable blocks, and the strides of the first two layers."""

    channels: int
    blocks: int
    first_stride: Pair
    second_stride: int


# the strides are those of the authors' code; with them the paper's counts are met
SIZES = {
    "ds_cnn_s": Size(64, 4, (2, 2), 1),
    "ds_cnn_m": Size(172, 4, (2, 1), 2),
    "ds_cnn_l": Size(276, 5, (2, 1), 2),
}


def _layer(
    net: OnnxBuilder,
    name: str,
    value: str,
    channels: int,
    kernel: Pair,
    stride: Pair = (1, 1),
    groups: int = 1,
) -> str:
    pad = same_pads(net.shape(value)[2:], kernel, stride)
    return net.unit(name, value, channels, kernel, stride=stride, pad=pad, groups=groups)


def ds_cnn(name: str, frames: int, size: Size) -> onnx.ModelProto:
    """DS-CNN; the input is (1, 1, `frames`, 10 features)."""
    net = OnnxBuilder(name, (1, 1, frames, _FEATURES))
    channels = size.channels
    value = _layer(net, "conv1", "input", channels, _KERNEL, size.first_stride)
    for place in range(1, size.blocks + 1):
        stride = size.second_stride if place == 1 else 1
        value = _layer(net, f"block{place}.dw", value, channels, (3, 3), (stride, stride), channels)
        value = _layer(net, f"block{place}.pw", value, channels, (1, 1))
    pooled = net.global_average_pool("pool", value)
    return net.model(net.fully_connected("fc", pooled, _CLASSES))


_SOURCE = "arXiv:1711.07128, operations of its best networks, two of them a MAC"
# half the operations of the table, which counts a product and its addition as two
_PUBLISHED_MACS = {"ds_cnn_s": 2_700_000, "ds_cnn_m": 9_900_000, "ds_cnn_l": 28_450_000}

NETWORKS = tuple(
    BuiltIn(
        name,
        "keyword spotting",
        f"a 10x4 convolution, {size.blocks} depthwise separable ones of {size.channels} channels",
        "arXiv:1711.07128, section 4: its networks for three sizes of microcontroller",
        partial(ds_cnn, size=size),
        (Parameter("frames", 49, 1, 4096, "windows of sound, 20 ms apart"),),
        published=(Published(_SOURCE, macs=_PUBLISHED_MACS[name]),),
    )
    for name, size in SIZES.items()
)
