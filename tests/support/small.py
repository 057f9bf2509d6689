"""Small networks that together hold every kind of layer and fold; quick to replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx
import pytest

from dataflow_sim.networks import build_network
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.classification.mobilenet import mobilenet_v1, mobilenet_v2


def padded_chain() -> onnx.ModelProto:
    """Padding, stride, dilation-free 5x5, uneven sizes."""
    net = OnnxBuilder("padded_chain", (1, 3, 13, 11))
    value = net.convolution("a", "input", 8, 3, bias=True)
    value = net.activation("a.relu", value)
    value = net.convolution("b", value, 7, 5, stride=2)
    value = net.convolution("c", value, 9, 3, stride=2, bias=True)
    return net.model(net.activation("c.relu", value))


def depthwise() -> onnx.ModelProto:
    """Depthwise, pointwise and grouped convolution with batch normalisation."""
    net = OnnxBuilder("depthwise", (1, 4, 12, 12))
    value = net.convolution("dw", "input", 4, 3, groups=4)
    value = net.activation("dw.relu6", net.batch_norm("dw.bn", value), "Relu6")
    value = net.convolution("pw", value, 12, 1)
    value = net.convolution("grouped", value, 6, 3, stride=2, groups=3, bias=True)
    return net.model(net.activation("grouped.relu", value))


def residual() -> onnx.ModelProto:
    """An identity shortcut, a strided 1x1 shortcut and a convolution added to its own input."""
    net = OnnxBuilder("residual", (1, 6, 10, 10))
    first = net.activation("a.relu", net.convolution("a", "input", 6, 3))
    value = net.activation("add1.relu", net.add("add1", net.convolution("b", first, 6, 3), first))
    short = net.convolution("short", value, 10, 1, stride=2)
    deep = net.convolution("d", net.convolution("c", value, 5, 1), 10, 3, stride=2)
    value = net.activation("add2.relu", net.add("add2", deep, short))
    return net.model(net.add("add3", net.convolution("self", value, 10, 3), value))


def concatenated() -> onnx.ModelProto:
    """Inception-like branches of different kernels, joined, pooled, and joined again."""
    net = OnnxBuilder("concatenated", (1, 5, 9, 9))
    left = net.activation("l.relu", net.convolution("l", "input", 4, 1))
    right = net.activation("r.relu", net.convolution("r", "input", 7, 3, bias=True))
    pooled = net.pool("MaxPool", "p", "input", 3, 1, 1)
    joined = net.concat("cat", [left, right, pooled])
    value = net.convolution("after", joined, 6, 3, stride=2)
    down = net.pool("AveragePool", "down", joined, 3, 2, 1)
    return net.model(net.concat("out", [value, down]))


def densely_connected() -> onnx.ModelProto:
    """Two layers of a dense block: what they read is normalised first, what they make is joined."""
    net = OnnxBuilder("densely_connected", (1, 5, 9, 9))
    value = net.convolution("first", "input", 6, 3)
    for place in ("a", "b"):
        ready = net.activation(f"{place}.relu", net.batch_norm(f"{place}.bn", value))
        made = net.convolution(place, ready, 4, 3)
        value = net.concat(f"{place}.cat", [value, made])
    return net.model(net.convolution("last", value, 3, 1))


def pooled_classifier() -> onnx.ModelProto:
    """Overlapping and plain pooling behind convolutions, flatten, fully connected."""
    net = OnnxBuilder("pooled_classifier", (2, 3, 20, 18))
    value = net.activation("a.relu", net.convolution("a", "input", 8, 3, bias=True))
    value = net.pool("MaxPool", "a.pool", value, 3, 2, 1)
    value = net.activation("b.relu", net.convolution("b", value, 6, 3))
    value = net.pool("AveragePool", "b.pool", value, 2, 2)
    value = net.fully_connected("fc1", value, 14)
    value = net.activation("fc1.relu", value)
    value = net.fully_connected("fc2", value, 10)
    return net.model(net.softmax("prob", value, 1))


def squeeze_excite() -> onnx.ModelProto:
    """A gate (SiLU), global pooling beside its own input, scaling by channel."""
    net = OnnxBuilder("squeeze_excite", (1, 4, 8, 8))
    value = net.convolution("a", "input", 8, 3)
    value = net.activation("a.silu", value, "Swish")
    squeezed = net.global_average_pool("squeeze", value)
    squeezed = net.activation("s1.relu", net.convolution("s1", squeezed, 2, 1, bias=True))
    scale = net.activation("s2.hs", net.convolution("s2", squeezed, 8, 1), "HardSigmoid")
    value = net.multiply("scaled", value, scale)
    return net.model(net.convolution("project", value, 5, 1))


def shuffled() -> onnx.ModelProto:
    """Grouped convolutions with a channel shuffle between them."""
    net = OnnxBuilder("shuffled", (1, 6, 7, 7))
    value = net.convolution("g1", "input", 6, 1, groups=3)
    value = net.reshape("r1", value, [1, 3, 2, 7, 7])
    value = net.transpose("t", value, [0, 2, 1, 3, 4])
    value = net.reshape("r2", value, [1, 6, 7, 7])
    value = net.convolution("g2", value, 6, 3, groups=3)
    return net.model(net.convolution("last", value, 4, 3))


def decoder() -> onnx.ModelProto:
    """Transposed, nearest and linear enlarging, joined with and added to other maps."""
    net = OnnxBuilder("decoder", (1, 1, 12, 10))
    skip = net.activation("a.relu", net.convolution("a", "input", 2, 3, bias=True))
    value = net.activation("b.relu", net.convolution("b", skip, 3, 3, stride=2))
    up = net.transposed_convolution("up", value, 2, 2, stride=2)
    value = net.concat("cat", [skip, net.activation("up.relu", up)])
    value = net.convolution("c", value, 2, 3)
    near = net.resize("near", value, (24, 20), "nearest", "asymmetric")
    fine = net.convolution("d", near, 2, 3)
    soft = net.resize("soft", net.convolution("e", value, 2, 1), (24, 20))
    return net.model(net.activation("out", net.add("sum", fine, soft)))


def transposed() -> onnx.ModelProto:
    """Transposed convolutions: overlapping, cropped, longer, by channel, pooled, with gaps."""
    net = OnnxBuilder("transposed", (2, 3, 4, 5))
    value = net.transposed_convolution("over", "input", 4, 4, stride=2, pad=1)
    value = net.activation("over.relu", net.batch_norm("over.bn", value))
    value = net.transposed_convolution("longer", value, 5, 3, stride=2, pad=1, output_pad=1)
    value = net.pool("MaxPool", "pool", value, 3, 2, 1)
    kernel = net.weight("each.weight", (5, 1, 3, 2))
    window = {"strides": [1, 3], "dilations": [2, 1], "pads": [2, 0, 1, 1]}
    value = net.node("ConvTranspose", "each", [value, kernel], group=5, **window)
    value = net.transposed_convolution("gaps", value, 3, 1, stride=2)
    return net.model(net.convolution("last", value, 2, 3))


def resized() -> onnx.ModelProto:
    """By 2, 3 and 4, on one axis and on both, places that correspond in either way."""
    net = OnnxBuilder("resized", (1, 2, 4, 3))
    value = net.resize("half", "input", (12, 6), "linear", "half_pixel")
    value = net.convolution("a", net.activation("half.relu", value), 3, 3)
    value = net.resize("corner", value, (24, 6), "linear", "asymmetric")
    value = net.convolution("b", value, 3, 3, stride=2)
    value = net.resize("four", value, (12, 12), "linear", "pytorch_half_pixel")
    return net.model(net.resize("near", value, (24, 36), "nearest", "asymmetric"))


def volume_convolution(
    net: OnnxBuilder,
    name: str,
    value: str,
    channels: int,
    kernel: tuple[int, int, int],
    groups: int = 1,
    bias: bool = True,
    auto_pad: str = "NOTSET",
    **window: Sequence[int],
) -> str:
    """A convolution over (batch, channels, depth, height, width)."""
    shape = (channels, net.channels(value) // groups, *kernel)
    inputs = [value, net.weight(f"{name}.weight", shape)]
    inputs += [net.weight(f"{name}.bias", (channels,))] if bias else []
    return net.node("Conv", name, inputs, group=groups, auto_pad=auto_pad, **window)


def volumes() -> onnx.ModelProto:
    """Volumes: each axis with its own stride, padding and dilation; groups; taps in depth only."""
    net = OnnxBuilder("volumes", (1, 3, 6, 9, 8))
    around = [1, 1, 0, 1, 1, 1]
    value = volume_convolution(net, "stem", "input", 6, (3, 3, 2), strides=[1, 2, 2], pads=around)
    value = net.activation("stem.relu", net.batch_norm("stem.bn", value))
    deep = volume_convolution(net, "each", value, 6, (3, 3, 3), groups=6, pads=[1] * 6)
    deep = volume_convolution(net, "mix", net.activation("each.relu", deep), 6, (1, 1, 1))
    value = net.activation("add.relu", net.add("add", deep, value))
    plane = volume_convolution(net, "plane", value, 4, (1, 3, 3), auto_pad="SAME_UPPER")
    short = volume_convolution(net, "short", value, 5, (1, 1, 1), bias=False, strides=[2, 2, 1])
    wide = volume_convolution(
        net,
        "wide",
        plane,
        5,
        (3, 3, 1),
        strides=[2, 2, 1],
        dilations=[1, 2, 1],
        pads=[1, 2, 0, 1, 2, 0],
    )
    value = net.activation("join.relu", net.add("join", wide, short))
    value = volume_convolution(net, "depth", value, 4, (3, 1, 1), pads=[1, 0, 0, 1, 0, 0])
    return net.model(net.activation("depth.relu", value))


def pooled_volume() -> onnx.ModelProto:
    """A volume pooled whole behind its convolution, a gate by channel, two images."""
    net = OnnxBuilder("pooled_volume", (2, 2, 4, 5, 6))
    value = volume_convolution(net, "a", "input", 4, (3, 3, 3), pads=[1] * 6)
    value = net.activation("a.relu", value)
    mean = net.global_average_pool("mean", value)
    gate = net.activation("gate", volume_convolution(net, "b", mean, 4, (1, 1, 1)), "Sigmoid")
    value = net.multiply("scaled", value, gate)
    value = volume_convolution(net, "c", value, 6, (2, 3, 3), groups=2, strides=[2, 1, 2])
    return net.model(net.fully_connected("fc", net.global_average_pool("c.pool", value), 5))


def pooled_towers() -> onnx.ModelProto:
    """Two towers on a convolution, one pooled whole, the other by columns; then both joined."""
    net = OnnxBuilder("pooled_towers", (2, 3, 9, 8))
    value = net.activation("a.relu", net.convolution("a", "input", 5, 3, bias=True))
    mean = net.convolution("b", value, 6, 3, stride=2)
    mean = net.global_average_pool("mean", net.activation("b.relu", mean))
    window = {"kernel_shape": [9, 3], "strides": [1, 2], "pads": [0, 1, 0, 1]}
    wide = net.node("AveragePool", "wide", [value], count_include_pad=1, **window)
    most = net.node("GlobalMaxPool", "most", [wide])
    largest = net.node("GlobalMaxPool", "largest", [value])
    joined = net.concat("joined", [mean, most, largest])
    return net.model(net.fully_connected("fc", joined, 4))


def tiny_mobilenet_v1() -> onnx.ModelProto:
    """The real MobileNetV1, narrow and at a low resolution."""
    return mobilenet_v1("tiny_mobilenet_v1", 0.125, 32)


def tiny_mobilenet_v2() -> onnx.ModelProto:
    """The real MobileNetV2, narrow and at a low resolution."""
    return mobilenet_v2("tiny_mobilenet_v2", 0.1, 32)


def tiny_densenet() -> onnx.ModelProto:
    """The real DenseNet-121 at the lowest resolution."""
    return build_network("densenet121@32")


SMALL: dict[str, Callable[[], onnx.ModelProto]] = {
    build.__name__: build
    for build in (
        padded_chain,
        depthwise,
        residual,
        concatenated,
        densely_connected,
        pooled_classifier,
        squeeze_excite,
        shuffled,
        decoder,
        transposed,
        resized,
        volumes,
        pooled_volume,
        pooled_towers,
        tiny_mobilenet_v1,
        tiny_mobilenet_v2,
    )
}

# the largest of them takes as long as all others
SLOW_LAST = [
    pytest.param(name, marks=pytest.mark.slow if name == "tiny_mobilenet_v2" else ())
    for name in sorted(SMALL)
]
