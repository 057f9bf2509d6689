"""GoogLeNet (Szegedy et al., arXiv:1409.4842), table 1."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Published, resolution

# maps of the branches 1x1, 3x3 (reduced, then 3x3), 5x5 (reduced, then 5x5) and pooling
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# the modules that a pooling follows
_POOLED = {"3b": "pool3", "4e": "pool4"}


@dataclass(frozen=True, slots=True)
class Variant:
    """What graphs of this name differ in: whether poolings round up, the kernel of the 5x5
    branches, the kernel of the last pooling, and batch normalisation in place of biases and of
    normalisation across maps."""

    ceil: bool
    branch_kernel: int = 5
    last_pool: int = 3
    normalised: bool = False


def _layer(
    net: OnnxBuilder,
    name: str,
    value: str,
    channels: int,
    kernel: int,
    variant: Variant,
    stride: int = 1,
) -> str:
    if variant.normalised:
        return net.unit(name, value, channels, kernel, stride=stride)
    value = net.convolution(name, value, channels, kernel, stride=stride, bias=True)
    return net.activation(f"{name}.relu", value)


def _stem(net: OnnxBuilder, value: str, variant: Variant) -> str:
    value = _layer(net, "conv1", value, 64, 7, variant, stride=2)
    value = net.pool("MaxPool", "pool1", value, 3, 2, ceil=variant.ceil)
    if not variant.normalised:
        value = net.local_response_norm("norm1", value)
    value = _layer(net, "conv2.reduce", value, 64, 1, variant)
    value = _layer(net, "conv2", value, 192, 3, variant)
    if not variant.normalised:
        value = net.local_response_norm("norm2", value)
    return net.pool("MaxPool", "pool2", value, 3, 2, ceil=variant.ceil)


def module(net: OnnxBuilder, name: str, value: str, variant: Variant) -> str:
    """One of the nine modules: four branches side by side."""
    layer = partial(_layer, net, variant=variant)
    single, middle_inner, middle, large_inner, large, pooled = MODULES[name]
    inner = layer(f"{name}.3x3.reduce", value, middle_inner, 1)
    wide = layer(f"{name}.5x5.reduce", value, large_inner, 1)
    pool = net.pool("MaxPool", f"{name}.pool", value, 3, 1, 1)
    branches = [
        layer(f"{name}.1x1", value, single, 1),
        layer(f"{name}.3x3", inner, middle, 3),
        layer(f"{name}.5x5", wide, large, variant.branch_kernel),
        layer(f"{name}.project", pool, pooled, 1),
    ]
    return net.concat(f"{name}.concat", branches)


def googlenet(name: str, resolution: int, variant: Variant) -> onnx.ModelProto:
    """GoogLeNet without the auxiliary classifiers, which serve training only."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = _stem(net, "input", variant)
    for place in MODULES:
        value = module(net, place, value, variant)
        if place in _POOLED:
            kernel = variant.last_pool if place == "4e" else 3
            value = net.pool("MaxPool", _POOLED[place], value, kernel, 2, ceil=variant.ceil)
    return net.model(net.fully_connected("fc", net.global_average_pool("pool5", value), 1000))


_NO_AUXILIARY = "without the two auxiliary classifiers, which serve training only"
_POPULAR = "arXiv:1704.04861, table 8"
_TABLE = (
    "table 1 of arXiv:1409.4842 counts weights without biases in units of 1,024, and the first "
    "convolution as a separable one of 2,712 weights and 34 million MACs: 6,820 units and 1,499 "
    "million MACs by count; how the source comes to 1,550 it does not say"
)


def _popular(because: str) -> Published:
    return Published(_POPULAR, 6_800_000, 1_550_000_000, because=f"{_TABLE}; {because}")


NETWORKS = (
    BuiltIn(
        "googlenet",
        "classification",
        "9 Inception modules with 5x5 branches, poolings that round down",
        "arXiv:1409.4842, table 1",
        partial(googlenet, variant=Variant(ceil=False)),
        (resolution(least=61),),
        deviations=(
            "planes of 55, 27, 13 and 6 as in the exported graph; the table has 56, 28, 14 and 7",
            "the first convolution is a full one, not the separable one that the table counts",
            _NO_AUXILIARY,
        ),
        published=(
            _popular("poolings that round down take 151,115,520 MACs off the 1,583 million here"),
        ),
    ),
    BuiltIn(
        "googlenet_ceil",
        "classification",
        "9 Inception modules with 5x5 branches, poolings that round up",
        "arXiv:1409.4842, table 1",
        partial(googlenet, variant=Variant(ceil=True)),
        (resolution(least=47),),
        deviations=(
            "the first convolution is a full one, not the separable one that the table counts",
            _NO_AUXILIARY,
        ),
        published=(_popular("a full first convolution adds 83,994,624 MACs"),),
    ),
    BuiltIn(
        "googlenet_bn",
        "classification",
        "9 Inception modules with batch normalisation, 3x3 in place of 5x5",
        "arXiv:1409.4842, table 1, as widely used graphs have it",
        partial(googlenet, variant=Variant(True, branch_kernel=3, last_pool=2, normalised=True)),
        (resolution(least=31),),
        deviations=(
            "3x3 in place of 5x5, batch normalisation in place of biases and of normalisation "
            "across maps, a last max-pooling of 2x2",
            _NO_AUXILIARY,
        ),
        published=(
            Published("a published count of the framework's graph", 6_624_904, 1_498_000_000),
            _popular("3x3 in place of 5x5 takes off 380,928 weights and 84,295,680 MACs"),
        ),
    ),
)
