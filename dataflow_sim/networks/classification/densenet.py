"""DenseNet-BC (Huang et al., arXiv:1608.06993), table 1: pre-activation, growth 32."""

from __future__ import annotations

from functools import partial

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution

# layers of each dense block
_LAYERS = {
    "densenet121": (6, 12, 24, 16),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
}
_COUNTED = "a published count of the framework's graph"
_PUBLISHED = {
    "densenet121": Published(_COUNTED, 7_978_856, 2_872_130_000),
    "densenet169": Published(_COUNTED, 14_149_480, 3_403_890_000),
    "densenet201": Published(_COUNTED, 20_013_928, 4_347_150_000),
}


def _pre_activated(net: OnnxBuilder, name: str, value: str, channels: int, kernel: int) -> str:
    value = net.activation(f"{name}.relu", net.batch_norm(f"{name}.bn", value))
    return net.convolution(name, value, channels, kernel)


def densenet(
    name: str, resolution: int, growth: int, layers: tuple[int, int, int, int]
) -> onnx.ModelProto:
    """A DenseNet; a layer adds `growth` maps behind a bottleneck of four times as many."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = net.unit("conv0", "input", 2 * growth, 7, stride=2)
    value = net.pool("MaxPool", "pool0", value, 3, 2, 1)
    for block, count in enumerate(layers, start=1):
        for layer in range(1, count + 1):
            place = f"block{block}.layer{layer}"
            inner = _pre_activated(net, f"{place}.conv1", value, 4 * growth, 1)
            grown = _pre_activated(net, f"{place}.conv2", inner, growth, 3)
            value = net.concat(f"{place}.concat", [value, grown])
        if block < len(layers):
            place = f"transition{block}"
            half = net.channels(value) // 2
            value = _pre_activated(net, f"{place}.conv", value, half, 1)
            value = net.pool("AveragePool", f"{place}.pool", value, 2, 2)
    value = net.activation("last.relu", net.batch_norm("last.bn", value))
    return net.model(net.fully_connected("fc", net.global_average_pool("pool", value), 1000))


NETWORKS = tuple(
    BuiltIn(
        name,
        "classification",
        f"{sum(layers)} layers in 4 dense blocks, bottlenecks, growth 32",
        "arXiv:1608.06993, table 1",
        partial(densenet, layers=layers),
        (resolution(), Parameter("growth", 32, 1, 256, "maps that a layer adds")),
        published=(_PUBLISHED[name],),
    )
    for name, layers in _LAYERS.items()
)
