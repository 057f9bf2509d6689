"""VGG-16 (Simonyan and Zisserman, arXiv:1409.1556, configuration D)."""

from __future__ import annotations

import onnx

from dataflow_sim.networks.builder import OnnxBuilder

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def vgg16(name: str, resolution: int) -> onnx.ModelProto:
    """VGG-16 with its three fully connected layers."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = "input"
    for stage, (channels, repeats) in enumerate(_STAGES, start=1):
        for repeat in range(1, repeats + 1):
            layer = f"conv{stage}_{repeat}"
            value = net.convolution(layer, value, channels, 3, bias=True)
            value = net.activation(f"{layer}.relu", value)
        value = net.pool("MaxPool", f"pool{stage}", value, 2, 2)
    inputs = 512 * (resolution // 32) ** 2
    for index, outputs in ((6, 4096), (7, 4096)):
        value = net.fully_connected(f"fc{index}", value, inputs, outputs)
        value = net.activation(f"fc{index}.relu", value)
        inputs = outputs
    return net.model(net.fully_connected("fc8", value, inputs, 1000))
