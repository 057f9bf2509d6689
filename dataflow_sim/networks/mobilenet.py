"""MobileNetV1 (Howard et al., arXiv:1704.04861) and V2 (Sandler et al., arXiv:1801.04381)."""

from __future__ import annotations

import onnx

from dataflow_sim.networks.builder import OnnxBuilder

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


def _convolution_block(
    net: OnnxBuilder,
    name: str,
    value: str,
    channels: int,
    kernel: int,
    *,
    activation: str | None,
    stride: int = 1,
    groups: int = 1,
) -> str:
    value = net.convolution(name, value, channels, kernel, stride=stride, groups=groups)
    value = net.batch_norm(f"{name}.bn", value)
    return net.activation(f"{name}.act", value, activation) if activation else value


def mobilenet_v1(name: str, width: float, resolution: int) -> onnx.ModelProto:
    """MobileNetV1; `width` multiplies every channel count, rounded down."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = _convolution_block(
        net, "conv1", "input", int(32 * width), 3, activation="Relu", stride=2
    )
    for index, (channels, stride) in enumerate(_V1_BLOCKS, start=2):
        inner = net.channels(value)
        value = _convolution_block(
            net, f"conv{index}.dw", value, inner, 3, activation="Relu", stride=stride, groups=inner
        )
        value = _convolution_block(
            net, f"conv{index}.pw", value, int(channels * width), 1, activation="Relu"
        )
    pooled = net.global_average_pool("pool", value)
    return net.model(net.fully_connected("fc", pooled, net.channels(pooled), 1000))


def _divisible(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and at most 10 % below (the authors' rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def mobilenet_v2(name: str, width: float, resolution: int) -> onnx.ModelProto:
    """MobileNetV2; `width` multiplies every channel count but a last one below 1280."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    stem = _divisible(32 * width)
    value = _convolution_block(net, "conv1", "input", stem, 3, activation="Relu6", stride=2)
    index = 0
    for expansion, channels, repeats, first_stride in _V2_BLOCKS:
        for repeat in range(repeats):
            index += 1
            block = f"block{index}"
            stride = first_stride if repeat == 0 else 1
            entry, inner = value, net.channels(value) * expansion
            if expansion > 1:
                value = _convolution_block(
                    net, f"{block}.expand", value, inner, 1, activation="Relu6"
                )
            value = _convolution_block(
                net, f"{block}.dw", value, inner, 3, activation="Relu6", stride=stride, groups=inner
            )
            value = _convolution_block(
                net, f"{block}.project", value, _divisible(channels * width), 1, activation=None
            )
            if repeat > 0:
                value = net.add(f"{block}.add", value, entry)
    last = _divisible(1280 * max(1.0, width))
    value = _convolution_block(net, "conv_last", value, last, 1, activation="Relu6")
    pooled = net.global_average_pool("pool", value)
    return net.model(net.fully_connected("fc", pooled, last, 1000))
