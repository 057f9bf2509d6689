"""MobileNetV1 (Howard et al., arXiv:1704.04861) and V2 (Sandler et al., arXiv:1801.04381)."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Published, resolution, width

# (output channels, stride) of the depthwise separable blocks, table 1 of the paper
_V1_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
# (expansion, output channels, repeats, stride), table 2 of the paper
_V2_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def v1_features(net: OnnxBuilder, value: str, width: float) -> Iterator[str]:
    """The result of every block in turn, the first convolution's first: 14 in all."""
    value = net.unit("conv1", value, int(32 * width), 3, stride=2)
    yield value
    for index, (channels, stride) in enumerate(_V1_BLOCKS, start=2):
        inner = net.channels(value)
        value = net.unit(f"conv{index}.dw", value, inner, 3, stride=stride, groups=inner)
        value = net.unit(f"conv{index}.pw", value, int(channels * width), 1)
        yield value


def mobilenet_v1(name: str, width: float, resolution: int) -> onnx.ModelProto:
    """MobileNetV1; `width` multiplies every channel count, rounded down."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    *_, value = v1_features(net, "input", width)
    return net.model(net.fully_connected("fc", net.global_average_pool("pool", value), 1000))


def divisible(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and at most 10 % below (the authors' rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def v2_features(net: OnnxBuilder, value: str, width: float) -> Iterator[tuple[str, str]]:
    """(expanded, result) of every block in turn, the first convolution as both: 18 in all."""
    value = net.unit("conv1", value, divisible(32 * width), 3, stride=2, activation="Relu6")
    yield value, value
    index = 0
    for expansion, channels, repeats, first_stride in _V2_BLOCKS:
        for repeat in range(repeats):
            index += 1
            block = f"block{index}"
            stride = first_stride if repeat == 0 else 1
            entry, inner = value, net.channels(value) * expansion
            expanded = entry
            if expansion > 1:
                expanded = net.unit(f"{block}.expand", entry, inner, 1, activation="Relu6")
            value = net.unit(
                f"{block}.dw", expanded, inner, 3, stride=stride, groups=inner, activation="Relu6"
            )
            narrow = divisible(channels * width)
            value = net.unit(f"{block}.project", value, narrow, 1, activation=None)
            if repeat > 0:
                value = net.add(f"{block}.add", value, entry)
            yield expanded, value


def v2_last(net: OnnxBuilder, value: str, width: float) -> str:
    """The last convolution, which a width below 1 leaves at 1280 channels."""
    channels = divisible(1280 * max(1.0, width))
    return net.unit("conv_last", value, channels, 1, activation="Relu6")


def mobilenet_v2(name: str, width: float, resolution: int) -> onnx.ModelProto:
    """MobileNetV2; `width` multiplies every channel count but a last one below 1280."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    *_, (_, value) = v2_features(net, "input", width)
    value = v2_last(net, value, width)
    return net.model(net.fully_connected("fc", net.global_average_pool("pool", value), 1000))


_V1_TABLES = "arXiv:1704.04861, tables 6 and 7"
_V1_COUNT = "a published count of the authors' checkpoints"
_V1_PUBLISHED = (
    Published(_V1_COUNT, 4_231_976, 569_000_000),
    Published(_V1_TABLES, macs=418_000_000, at="1.0-192"),
    Published(_V1_TABLES, macs=291_000_000, at="1.0-160"),
    Published(_V1_TABLES, macs=186_000_000, at="1.0-128"),
    Published(_V1_COUNT, 2_585_560, 325_000_000, at="0.75"),
    Published(_V1_COUNT, 1_331_592, 150_000_000, at="0.5"),
    Published(_V1_COUNT, macs=110_000_000, at="0.5-192"),
    Published(_V1_COUNT, macs=77_000_000, at="0.5-160"),
    Published(_V1_COUNT, macs=49_000_000, at="0.5-128"),
    Published(_V1_COUNT, 470_072, 41_000_000, at="0.25"),
)
_V2_COUNT = "the authors' table of checkpoints"
_UNNORMALISED = "the source leaves out scale and shift of normalisation, {:,} here"
_V2_PUBLISHED = (
    Published(_V2_COUNT, 3_504_872, 300_000_000),
    Published(_V2_COUNT, macs=221_000_000, at="1.0-192"),
    Published(_V2_COUNT, macs=154_000_000, at="1.0-160"),
    Published(_V2_COUNT, macs=99_000_000, at="1.0-128"),
    Published(_V2_COUNT, macs=56_000_000, at="1.0-96"),
    Published(_V2_COUNT, 6_060_000, 582_000_000, at="1.4"),
    Published(_V2_COUNT, 2_610_000, 209_000_000, at="0.75", because=_UNNORMALISED.format(26_640)),
    Published(_V2_COUNT, 1_950_000, 97_000_000, at="0.5"),
    Published(_V2_COUNT, 1_660_000, 59_000_000, at="0.35", because=_UNNORMALISED.format(14_080)),
)
_PADDING = "convolutions with a stride pad both sides alike; the authors' code pads the far side"

NETWORKS = (
    BuiltIn(
        "mobilenet_v1",
        "classification",
        "13 depthwise separable convolutions",
        "arXiv:1704.04861, table 1",
        mobilenet_v1,
        (width(), resolution()),
        deviations=(_PADDING,),
        published=_V1_PUBLISHED,
    ),
    BuiltIn(
        "mobilenet_v2",
        "classification",
        "17 inverted residuals with linear bottlenecks",
        "arXiv:1801.04381, table 2",
        mobilenet_v2,
        (width(), resolution()),
        deviations=(_PADDING,),
        published=_V2_PUBLISHED,
    ),
)
