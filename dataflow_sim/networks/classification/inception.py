"""Inception V2, known as BN-Inception (Ioffe and Szegedy, arXiv:1502.03167), and Inception V3
(Szegedy et al., arXiv:1512.00567)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from dataflow_sim.networks.builder import OnnxBuilder, Size
from dataflow_sim.networks.row import BuiltIn, Published, resolution

Step = tuple[int, Size]  # maps and kernel of a convolution
Branches = tuple[tuple[Step, ...], ...]
V2Modules = Mapping[str, tuple[int, int, int, int, int, str, int]]

# maps of the branches 1x1, 3x3 (reduced, then 3x3), double 3x3 (reduced, then of either 3x3), then
# the pooling and the maps that it is projected to; modules that do not project halve the plane
V2_MODULES: V2Modules = {
    "3a": (64, 64, 64, 64, 96, "AveragePool", 32),
    "3b": (64, 64, 96, 64, 96, "AveragePool", 64),
    "3c": (0, 128, 160, 64, 96, "MaxPool", 0),
    "4a": (224, 64, 96, 96, 128, "AveragePool", 128),
    "4b": (192, 96, 128, 96, 128, "AveragePool", 128),
    "4c": (160, 128, 160, 128, 160, "AveragePool", 96),
    "4d": (96, 128, 192, 160, 192, "AveragePool", 96),
    "4e": (0, 128, 192, 192, 256, "MaxPool", 0),
    "5a": (352, 192, 320, 160, 224, "AveragePool", 128),
    "5b": (352, 192, 320, 192, 224, "MaxPool", 128),
}

# maps that the poolings of the modules on planes of 35 are projected to, beside these branches
_V3_PROJECTED = {"5b": 32, "5c": 64, "5d": 64}
_V3_35: Branches = (((64, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)))
# inner maps of the modules on planes of 17
_V3_INNER = {"6b": 128, "6c": 160, "6d": 160, "6e": 192}
_V3_TO_17: Branches = (((384, 3),), ((64, 1), (96, 3), (96, 3)))
_V3_TO_8: Branches = (
    ((192, 1), (320, 3)),
    ((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)),
)


def units(
    net: OnnxBuilder,
    name: str,
    value: str,
    steps: Sequence[Step],
    *,
    stride: int = 1,
    pad: Size | None = None,
) -> str:
    """Convolutions in turn, normalised and rectified; the last one has this stride and pad."""
    for place, (channels, kernel) in enumerate(steps, start=1):
        layer = f"{name}.conv{place}"
        if place < len(steps):
            value = net.unit(layer, value, channels, kernel)
        else:
            value = net.unit(layer, value, channels, kernel, stride=stride, pad=pad)
    return value


def branches(
    net: OnnxBuilder,
    name: str,
    value: str,
    parts: Branches,
    *,
    stride: int = 1,
    pad: Size | None = None,
) -> list[str]:
    """The results of several runs of convolutions side by side."""
    return [
        units(net, f"{name}.branch{place}", value, steps, stride=stride, pad=pad)
        for place, steps in enumerate(parts, start=1)
    ]


def projected(net: OnnxBuilder, name: str, value: str, channels: int, op: str) -> str:
    """A branch that pools 3x3 without a stride, then projects."""
    pooled = net.pool(op, f"{name}.pool", value, 3, 1, 1)
    return net.unit(f"{name}.project", pooled, channels, 1)


def reduction(net: OnnxBuilder, name: str, value: str, parts: Branches) -> str:
    """Unpadded branches of stride 2 beside a pooling, which halve the plane."""
    results = branches(net, name, value, parts, stride=2, pad=0)
    pooled = net.pool("MaxPool", f"{name}.pool", value, 3, 2)
    return net.concat(f"{name}.concat", [*results, pooled])


def _v2_module(net: OnnxBuilder, name: str, value: str, modules: V2Modules) -> str:
    single, inner, middle, double_inner, double, op, pooled = modules[name]
    stride = 1 if pooled else 2
    results = [units(net, f"{name}.1x1", value, [(single, 1)])] if single else []
    for branch, steps in (
        ("3x3", [(inner, 1), (middle, 3)]),
        ("double3x3", [(double_inner, 1), (double, 3), (double, 3)]),
    ):
        results.append(units(net, f"{name}.{branch}", value, steps, stride=stride))
    if pooled:
        results.append(projected(net, name, value, pooled, op))
    else:
        results.append(net.pool(op, f"{name}.pool", value, 3, 2, 1))
    return net.concat(f"{name}.concat", results)


def _classified(net: OnnxBuilder, value: str) -> onnx.ModelProto:
    return net.model(net.fully_connected("fc", net.global_average_pool("pool", value), 1000))


def inception_v2(name: str, resolution: int, modules: V2Modules = V2_MODULES) -> onnx.ModelProto:
    """Inception V2 with its classifier."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = net.unit("conv1", "input", 64, 7, stride=2)
    value = net.pool("MaxPool", "pool1", value, 3, 2, 1)
    value = units(net, "conv2", value, [(64, 1), (192, 3)])
    value = net.pool("MaxPool", "pool2", value, 3, 2, 1)
    for module in modules:
        value = _v2_module(net, module, value, modules)
    return _classified(net, value)


def stem(net: OnnxBuilder, value: str) -> str:
    """Five convolutions and two poolings: 192 maps on about an eighth of the rows and columns."""
    value = net.unit("conv1", value, 32, 3, stride=2, pad=0)
    value = net.unit("conv2", value, 32, 3, pad=0)
    value = net.unit("conv3", value, 64, 3)
    value = net.pool("MaxPool", "pool1", value, 3, 2)
    value = net.unit("conv4", value, 80, 1)
    value = net.unit("conv5", value, 192, 3, pad=0)
    return net.pool("MaxPool", "pool2", value, 3, 2)


def module(net: OnnxBuilder, name: str, value: str, parts: Branches, pooled: int) -> str:
    """Branches beside an average pooling that is projected to `pooled` maps."""
    results = branches(net, name, value, parts)
    results.append(projected(net, name, value, pooled, "AveragePool"))
    return net.concat(f"{name}.concat", results)


def _factorised(inner: int) -> Branches:
    """Branches of a module on planes of 17, where 7x7 becomes 1x7 and 7x1."""
    row, column = (1, 7), (7, 1)
    return (
        ((192, 1),),
        ((inner, 1), (inner, row), (192, column)),
        ((inner, 1), (inner, column), (inner, row), (inner, column), (192, row)),
    )


def _forked(net: OnnxBuilder, name: str, value: str) -> str:
    """A module on planes of 8, whose last 3x3 become 1x3 and 3x1 side by side."""
    results = [units(net, f"{name}.branch1", value, [(320, 1)])]
    trunks = branches(net, f"{name}.forked", value, (((384, 1),), ((448, 1), (384, 3))))
    for place, trunk in enumerate(trunks, start=2):
        results.append(net.unit(f"{name}.branch{place}.row", trunk, 384, (1, 3)))
        results.append(net.unit(f"{name}.branch{place}.column", trunk, 384, (3, 1)))
    results.append(projected(net, name, value, 192, "AveragePool"))
    return net.concat(f"{name}.concat", results)


def inception_v3(name: str, resolution: int) -> onnx.ModelProto:
    """Inception V3 with its classifier."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = stem(net, "input")
    for place, pooled in _V3_PROJECTED.items():
        value = module(net, place, value, _V3_35, pooled)
    value = reduction(net, "6a", value, _V3_TO_17)
    for place, inner in _V3_INNER.items():
        value = module(net, place, value, _factorised(inner), 192)
    value = reduction(net, "7a", value, _V3_TO_8)
    for place in ("7b", "7c"):
        value = _forked(net, place, value)
    return _classified(net, value)


_COUNTED = "a published count of the framework's graph, half of all operations"

NETWORKS = (
    BuiltIn(
        "inception_v2",
        "classification",
        "BN-Inception: 10 modules with double 3x3 branches",
        "arXiv:1502.03167, figure 5",
        inception_v2,
        (resolution(),),
        deviations=(
            "the poolings of 4c and 4d are projected to 96 maps, as in the exported graph; the "
            "counted graph has 128 there and a bias beside each normalisation, 100,256 more",
            "the first convolution is a full one; the authors' is separable",
            "layers with a stride pad both sides alike; the authors' pad the far side",
        ),
        published=(Published(_COUNTED, 11_295_240, 2_048_060_000),),
    ),
    BuiltIn(
        "inception_v3",
        "classification",
        "11 modules, of 5x5, 1x7 and 7x1, 1x3 and 3x1 branches, on planes of 35, 17 and 8",
        "arXiv:1512.00567, table 1 and figures 5 to 7, as released",
        inception_v3,
        (resolution(299, least=75),),
        deviations=(
            "a 1x1 of 80 maps, a 3x3 of 192 and a pooling end the stem, as in the release, where "
            "the table has three 3x3",
            "modules on planes of 35 keep one 5x5, as in the release",
            "without the auxiliary classifier, which serves training only",
        ),
        published=(Published(_COUNTED, 23_834_568, 5_743_060_000),),
    ),
)
