"""ResNet (He et al., arXiv:1512.03385), table 1: basic blocks to depth 34, bottlenecks beyond.

Where a bottleneck halves the plane, the paper strides its first 1x1 ("v1"); later code strides
the 3x3 ("v1.5"), which keeps the whole input in sight and costs about 6 % more MACs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Published, resolution


@dataclass(frozen=True, slots=True)
class Depth:
    """A column of table 1: blocks a stage, whether they are bottlenecks, which of their
    convolutions strides (counted from 1)."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool = True
    strided: int = 2


DEPTHS = {
    "resnet18": Depth((2, 2, 2, 2), bottleneck=False, strided=1),
    "resnet34": Depth((3, 4, 6, 3), bottleneck=False, strided=1),
    "resnet50": Depth((3, 4, 6, 3)),
    "resnet101": Depth((3, 4, 23, 3)),
    "resnet152": Depth((3, 8, 36, 3)),
    "resnet50_v1": Depth((3, 4, 6, 3), strided=1),
    "resnet101_v1": Depth((3, 4, 23, 3), strided=1),
    "resnet152_v1": Depth((3, 8, 36, 3), strided=1),
}
_COUNTED = "a published count of the framework's graph"
_PUBLISHED = {
    "resnet18": Published(_COUNTED, 11_689_512, 1_820_410_000),
    "resnet50": Published(_COUNTED, 25_557_032, 4_110_480_000),
    "resnet101": Published(_COUNTED, 44_549_160, 7_830_480_000),
    "resnet152": Published(_COUNTED, 60_192_808, 11_554_380_000),
    "resnet50_v1": Published(_COUNTED, 25_557_032, 3_877_950_000),
    "resnet101_v1": Published(_COUNTED, 44_549_160, 7_597_950_000),
}


def stem(net: OnnxBuilder, value: str) -> str:
    """The 7x7 convolution and the pooling: a quarter of the rows and columns."""
    value = net.unit("conv1", value, 64, 7, stride=2)
    return net.pool("MaxPool", "pool1", value, 3, 2, 1)


def block(
    net: OnnxBuilder,
    name: str,
    value: str,
    width: int,
    depth: Depth,
    *,
    stride: int = 1,
    dilation: int = 1,
) -> str:
    """A basic block or a bottleneck; the shortcut is projected where shapes differ."""
    kernels = (1, 3, 1) if depth.bottleneck else (3, 3)
    channels = 4 * width if depth.bottleneck else width
    shortcut = value
    if stride > 1 or net.channels(value) != channels:
        shortcut = net.unit(f"{name}.shortcut", value, channels, 1, stride=stride, activation=None)
    for place, kernel in enumerate(kernels, start=1):
        last = place == len(kernels)
        value = net.unit(
            f"{name}.conv{place}",
            value,
            channels if last else width,
            kernel,
            stride=stride if place == depth.strided else 1,
            dilation=dilation if kernel == 3 else 1,
            activation=None if last else "Relu",
        )
    return net.activation(f"{name}.relu", net.add(f"{name}.add", value, shortcut))


def stage(
    net: OnnxBuilder, number: int, value: str, depth: Depth, stride: int = 1, dilation: int = 1
) -> str:
    """All blocks of one of the stages 1 to 4; the first of them strides."""
    for place in range(depth.blocks[number - 1]):
        value = block(
            net,
            f"stage{number}.block{place + 1}",
            value,
            64 << (number - 1),
            depth,
            stride=stride if place == 0 else 1,
            dilation=dilation,
        )
    return value


def resnet(name: str, resolution: int, depth: Depth) -> onnx.ModelProto:
    """A ResNet with its classifier."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = stem(net, "input")
    for number in (1, 2, 3, 4):
        value = stage(net, number, value, depth, stride=1 if number == 1 else 2)
    return net.model(net.fully_connected("fc", net.global_average_pool("pool", value), 1000))


def _row(name: str, depth: Depth) -> BuiltIn:
    kind = "bottlenecks" if depth.bottleneck else "basic blocks"
    where = f", stride in the {'3x3' if depth.strided == 2 else '1x1'}" * depth.bottleneck
    return BuiltIn(
        name,
        "classification",
        f"{sum(depth.blocks)} residual {kind}{where}",
        "arXiv:1512.03385, table 1",
        partial(resnet, depth=depth),
        (resolution(),),
        deviations=("the stride is in the 3x3, as in later code",)
        if depth.strided == 2
        else ("shortcuts are projected where shapes differ (option B of the paper)",),
        published=tuple(filter(None, [_PUBLISHED.get(name)])),
    )


NETWORKS = tuple(_row(name, depth) for name, depth in DEPTHS.items())
