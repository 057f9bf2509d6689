"""VGG (Simonyan and Zisserman, arXiv:1409.1556), configurations A, B, D and E of table 1."""

from __future__ import annotations

from functools import partial

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Published, resolution

# 3x3 convolutions in each of the five stages
_REPEATS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
_CHANNELS = (64, 128, 256, 512, 512)
_TABLE = "torchvision 0.2 graphs counted with activations"
_PUBLISHED = {
    "vgg11": Published("arXiv:1409.1556, table 2", parameters=133_000_000),
    "vgg13": Published("arXiv:1409.1556, table 2", parameters=133_000_000),
    "vgg16": Published(_TABLE, 138_357_544, 15_480_100_000),
    "vgg19": Published(_TABLE, 143_667_240, 19_642_550_000),
}


def features(net: OnnxBuilder, value: str, repeats: tuple[int, ...]) -> str:
    """The five stages, each ending in a 2x2 pooling."""
    for stage, (channels, times) in enumerate(zip(_CHANNELS, repeats, strict=True), start=1):
        for repeat in range(1, times + 1):
            layer = f"conv{stage}_{repeat}"
            value = net.convolution(layer, value, channels, 3, bias=True)
            value = net.activation(f"{layer}.relu", value)
        value = net.pool("MaxPool", f"pool{stage}", value, 2, 2)
    return value


def vgg(name: str, resolution: int, repeats: tuple[int, ...]) -> onnx.ModelProto:
    """VGG with its three fully connected layers."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = features(net, "input", repeats)
    for layer in ("fc6", "fc7"):
        value = net.activation(f"{layer}.relu", net.fully_connected(layer, value, 4096))
    return net.model(net.fully_connected("fc8", value, 1000))


NETWORKS = tuple(
    BuiltIn(
        name,
        "classification",
        f"{sum(repeats)} 3x3 convolutions, 3 fully connected layers",
        "arXiv:1409.1556, table 1",
        partial(vgg, repeats=repeats),
        (resolution(),),
        published=(_PUBLISHED[name],),
    )
    for name, repeats in _REPEATS.items()
)
