"""ResNet with bottleneck blocks (He et al., arXiv:1512.03385), stride in the 3x3 ("v1.5")."""

from __future__ import annotations

import onnx

from dataflow_sim.networks.builder import OnnxBuilder

_STAGES = {"resnet50": (3, 4, 6, 3)}


def _block(net: OnnxBuilder, name: str, value: str, width: int, stride: int, first: bool) -> str:
    shortcut = value
    if first:
        shortcut = net.convolution(f"{name}.shortcut", value, 4 * width, 1, stride=stride)
        shortcut = net.batch_norm(f"{name}.shortcut.bn", shortcut)
    for index, (channels, kernel) in enumerate(((width, 1), (width, 3), (4 * width, 1)), start=1):
        part = f"{name}.conv{index}"
        value = net.convolution(part, value, channels, kernel, stride=stride if kernel == 3 else 1)
        value = net.batch_norm(f"{part}.bn", value)
        if index < 3:
            value = net.activation(f"{part}.relu", value)
    return net.activation(f"{name}.relu", net.add(f"{name}.add", value, shortcut))


def resnet(name: str, resolution: int) -> onnx.ModelProto:
    """A ResNet of the named depth."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = net.convolution("conv1", "input", 64, 7, stride=2)
    value = net.activation("conv1.relu", net.batch_norm("conv1.bn", value))
    value = net.pool("MaxPool", "pool1", value, 3, 2, 1)
    for stage, blocks in enumerate(_STAGES[name.partition("@")[0]]):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            place = f"stage{stage + 1}.block{block + 1}"
            value = _block(net, place, value, 64 << stage, stride, block == 0)
    pooled = net.global_average_pool("pool", value)
    return net.model(net.fully_connected("fc", pooled, 2048, 1000))
