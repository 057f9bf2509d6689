"""ShuffleNet V1 (Zhang et al., arXiv:1707.01083) and V2 (Ma et al., arXiv:1807.11164).

Both mix the channels of their groups by a shuffle: with g groups of n channels each, channel
i n + j becomes channel j g + i.  It is written as the frameworks export it, Reshape, Transpose
and Reshape.
"""

from __future__ import annotations

from math import ceil

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution

_UNITS = (4, 8, 4)  # of the stages 2, 3 and 4, in V1 and in V2 alike
# V1: result channels of stage 2 by groups, table 1; each stage has twice those before it
_V1_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
# V1: filters of the first convolution by width, as in the authors' code
_V1_FIRST = {0.5: 12, 1.0: 24, 1.5: 24, 2.0: 48}
# V2: result channels of the stages and of the last convolution by width, table 5
_V2_CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
_V2_FIRST = 24


def shuffle(net: OnnxBuilder, name: str, value: str, groups: int) -> str:
    """The channels of all groups in turn: the first of each, then the second of each, ..."""
    batch, channels, rows, columns = net.shape(value)
    parts = (batch, groups, channels // groups, rows, columns)
    value = net.reshape(f"{name}.groups", value, parts)
    value = net.transpose(f"{name}.mix", value, (0, 2, 1, 3, 4))
    return net.reshape(name, value, (batch, channels, rows, columns))


def v1_unit(
    net: OnnxBuilder,
    name: str,
    value: str,
    outputs: int,
    inner: int,
    groups: int,
    *,
    stride: int = 1,
    first_groups: int | None = None,
) -> str:
    """A unit of V1, figure 2: pointwise in groups, shuffle, depthwise, pointwise in groups.

    With stride 1 it adds what it read; with stride 2 it adds channels to an average pooling of
    what it read.  `first_groups` are those of its first convolution where they differ.
    """
    entry, read = value, net.channels(value)
    value = net.unit(f"{name}.reduce", value, inner, 1, groups=first_groups or groups)
    if groups > 1:
        value = shuffle(net, f"{name}.shuffle", value, groups)
    value = net.unit(f"{name}.dw", value, inner, 3, stride=stride, groups=inner, activation=None)
    made = outputs if stride == 1 else outputs - read
    value = net.unit(f"{name}.expand", value, made, 1, groups=groups, activation=None)
    if stride == 1:
        return net.activation(f"{name}.relu", net.add(f"{name}.add", value, entry))
    value = net.activation(f"{name}.relu", value)
    pooled = net.pool("AveragePool", f"{name}.pool", entry, 3, stride, 1)
    return net.concat(f"{name}.concat", [pooled, value])


def stem(net: OnnxBuilder, value: str, channels: int) -> str:
    """The 3x3 convolution and the pooling: a quarter of the rows and columns."""
    value = net.unit("conv1", value, channels, 3, stride=2)
    return net.pool("MaxPool", "pool1", value, 3, 2, 1)


def shufflenet_v1(name: str, width: float, groups: int, resolution: int) -> onnx.ModelProto:
    """ShuffleNet V1; the first pointwise convolution of all is not in groups."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = stem(net, "input", ceil(_V1_FIRST[width] / groups) * groups)
    for stage, units in enumerate(_UNITS, start=2):
        outputs = int(_V1_CHANNELS[groups] * width) << (stage - 2)
        for unit in range(1, units + 1):
            value = v1_unit(
                net,
                f"stage{stage}.unit{unit}",
                value,
                outputs,
                ceil(outputs / (4 * groups)) * groups,
                groups,
                stride=2 if unit == 1 else 1,
                first_groups=1 if (stage, unit) == (2, 1) else groups,
            )
    return net.model(net.fully_connected("fc", net.global_average_pool("pool", value), 1000))


def _v2_branch(net: OnnxBuilder, name: str, value: str, channels: int, stride: int) -> str:
    """Pointwise, depthwise, pointwise: figure 3c, right."""
    value = net.unit(f"{name}.conv1", value, channels, 1)
    value = net.unit(
        f"{name}.dw", value, channels, 3, stride=stride, groups=channels, activation=None
    )
    return net.unit(f"{name}.conv2", value, channels, 1)


def v2_unit(net: OnnxBuilder, name: str, value: str, outputs: int, stride: int) -> str:
    """A unit of V2, figure 3c and 3d: half of the channels pass by, or are halved as well."""
    read, half = net.channels(value), outputs // 2
    if stride == 1:
        passed, value = net.split(f"{name}.split", value, (read // 2, read // 2))
    else:
        depthwise = net.unit(
            f"{name}.side.dw", value, read, 3, stride=stride, groups=read, activation=None
        )
        passed = net.unit(f"{name}.side.conv", depthwise, half, 1)
    value = _v2_branch(net, name, value, half, stride)
    return shuffle(net, f"{name}.shuffle", net.concat(f"{name}.concat", [passed, value]), 2)


def shufflenet_v2(name: str, width: float, resolution: int) -> onnx.ModelProto:
    """ShuffleNet V2."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = stem(net, "input", _V2_FIRST)
    *stages, last = _V2_CHANNELS[width]
    for stage, (units, outputs) in enumerate(zip(_UNITS, stages, strict=True), start=2):
        for unit in range(1, units + 1):
            place = f"stage{stage}.unit{unit}"
            value = v2_unit(net, place, value, outputs, stride=2 if unit == 1 else 1)
    value = net.unit("conv5", value, last, 1)
    return net.model(net.fully_connected("fc", net.global_average_pool("pool", value), 1000))


def _width(*widths: float) -> Parameter:
    meaning = "multiplier of the channel counts"
    return Parameter("width", 1.0, widths[0], widths[-1], meaning, choices=widths)


_GROUPS = Parameter(
    "groups", 3, 1, 8, "groups of the pointwise convolutions", choices=tuple(_V1_CHANNELS)
)
_COUNTED = "a published count of the framework's graph"
_V1_TABLE = "arXiv:1707.01083, table 1"
_V1_COMPARED = "arXiv:1707.01083, table 5"
_V1_CODE = "the authors' table of their code"
_V1_PUBLISHED = (
    Published(_V1_TABLE, macs=143_000_000, at="1.0-1"),
    Published(_V1_TABLE, macs=140_000_000, at="1.0-2"),
    Published(_V1_TABLE, macs=137_000_000, at="1.0-3"),
    Published(_V1_TABLE, macs=133_000_000, at="1.0-4"),
    Published(_V1_TABLE, macs=137_000_000, at="1.0-8"),
    Published(_V1_COMPARED, macs=524_000_000, at="2.0-3"),
    Published(_V1_COMPARED, macs=292_000_000, at="1.5-3"),
    Published(_V1_COMPARED, macs=140_000_000, at="1.0-8"),
    Published(_V1_COMPARED, macs=38_000_000, at="0.5-4"),
    Published(_V1_CODE, macs=522_000_000, at="2.0-8"),
    Published(_V1_CODE, macs=290_000_000, at="1.5-8"),
    Published(_V1_CODE, macs=40_000_000, at="0.5-8"),
    Published(_COUNTED, 1_531_936, at="1.0-1"),
    Published(_COUNTED, 1_733_848, at="1.0-2"),
    Published(_COUNTED, 1_865_728, at="1.0-3"),
    Published(_COUNTED, 1_968_344, at="1.0-4"),
    Published(_COUNTED, 2_434_768, at="1.0-8"),
    Published(_COUNTED, 718_324, at="0.5-3"),
)
_V2_TABLE = "arXiv:1807.11164, table 5"
_V2_PUBLISHED = (
    Published(_V2_TABLE, macs=41_000_000, at="0.5"),
    Published(_V2_TABLE, macs=146_000_000, at="1.0"),
    Published(_V2_TABLE, macs=299_000_000, at="1.5"),
    Published(_V2_TABLE, macs=591_000_000, at="2.0"),
    Published(_COUNTED, 1_366_792, at="0.5"),
    Published(_COUNTED, 3_503_624, at="1.5"),
    Published(_COUNTED, 7_393_996, at="2.0"),
    Published(
        _COUNTED,
        2_278_604,
        149_720_000,
        at="1.0",
        because="the source halves a count of all operations: beside the multiply-accumulates it "
        "has 4 an element of normalisation, 1 an element of ReLU and shuffle, k x k a pooled "
        "element, and it leaves out 1 for each kernel plane of a convolution",
    ),
)

NETWORKS = (
    BuiltIn(
        "shufflenet_v1",
        "classification",
        "16 units of pointwise convolutions in groups with a channel shuffle",
        "arXiv:1707.01083, table 1",
        shufflenet_v1,
        (_width(*_V1_FIRST), _GROUPS, resolution()),
        deviations=(
            "the first convolution has the filters of the authors' code: 12, 24, 24 and 48 at "
            "width 0.5, 1, 1.5 and 2, rounded up to a multiple of the groups",
            "a quarter of the result channels that the groups do not divide is rounded up",
            "a unit with stride applies its ReLU before it concatenates; pooled values are not "
            "negative, so the result is the same",
        ),
        published=_V1_PUBLISHED,
    ),
    BuiltIn(
        "shufflenet_v2",
        "classification",
        "16 units that split the channels, convolve one half and shuffle",
        "arXiv:1807.11164, table 5",
        shufflenet_v2,
        (_width(*_V2_CHANNELS), resolution()),
        published=_V2_PUBLISHED,
    ),
)
