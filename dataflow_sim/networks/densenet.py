"""DenseNet-BC (Huang et al., arXiv:1608.06993): pre-activation, growth 32, bottleneck 128."""

from __future__ import annotations

import onnx

from dataflow_sim.networks.builder import OnnxBuilder

_BLOCKS = {"densenet121": (6, 12, 24, 16)}
_GROWTH = 32
_BOTTLENECK = 4 * _GROWTH


def _pre_activated(net: OnnxBuilder, name: str, value: str, channels: int, kernel: int) -> str:
    value = net.activation(f"{name}.relu", net.batch_norm(f"{name}.bn", value))
    return net.convolution(name, value, channels, kernel)


def densenet(name: str, resolution: int) -> onnx.ModelProto:
    """A DenseNet of the named depth."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = net.convolution("conv0", "input", 64, 7, stride=2)
    value = net.activation("conv0.relu", net.batch_norm("conv0.bn", value))
    value = net.pool("MaxPool", "pool0", value, 3, 2, 1)
    blocks = _BLOCKS[name.partition("@")[0]]
    for block, layers in enumerate(blocks, start=1):
        for layer in range(1, layers + 1):
            place = f"block{block}.layer{layer}"
            inner = _pre_activated(net, f"{place}.conv1", value, _BOTTLENECK, 1)
            grown = _pre_activated(net, f"{place}.conv2", inner, _GROWTH, 3)
            value = net.concat(f"{place}.concat", [value, grown])
        if block < len(blocks):
            place = f"transition{block}"
            half = net.channels(value) // 2
            value = _pre_activated(net, f"{place}.conv", value, half, 1)
            value = net.pool("AveragePool", f"{place}.pool", value, 2, 2)
    value = net.activation("last.relu", net.batch_norm("last.bn", value))
    pooled = net.global_average_pool("pool", value)
    return net.model(net.fully_connected("fc", pooled, net.channels(pooled), 1000))
