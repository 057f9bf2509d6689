"""Networks of many layers with branches, drawn from a seed; small maps, quick to replay."""

from __future__ import annotations

from random import Random

import onnx

from dataflow_sim.networks.builder import OnnxBuilder


def branchy(seed: int, layers: int) -> onnx.ModelProto:
    """A chain of blocks: convolutions in line, two or three branches that are added or put
    side by side, depthwise convolutions, strides and pooling."""
    chance = Random(seed)
    net = OnnxBuilder("branchy", (1, 4, 16, 16))
    value, side, made = "input", 16, 0

    def convolution(source: str, channels: int, kernel: int, stride: int = 1) -> str:
        nonlocal made
        made += 1
        name = f"v{made}"
        depthwise = kernel > 1 and channels == net.channels(source) and chance.random() < 0.4
        groups = channels if depthwise else 1
        found = net.convolution(name, source, channels, kernel, stride=stride, groups=groups)
        return net.activation(f"{name}.relu", found) if chance.random() < 0.5 else found

    while made < layers - 1:
        kind = chance.choice(["line", "add", "concat", "concat", "down"])
        channels = net.channels(value)
        if kind == "line":
            value = convolution(value, chance.choice([4, 6, 8]), chance.choice([1, 3]))
        elif kind == "add":
            deep = value
            for _ in range(chance.randint(1, 3)):
                deep = convolution(deep, channels, chance.choice([1, 3]))
            value = net.add(f"add{made}", deep, value)
        elif kind == "concat":
            parts = []
            for _ in range(chance.randint(2, 3)):
                branch = value
                for _ in range(chance.randint(1, 3)):
                    branch = convolution(branch, chance.choice([2, 3, 4]), chance.choice([1, 3]))
                parts.append(branch)
            value = net.concat(f"concat{made}", parts)
        elif side > 4:
            value = convolution(value, chance.choice([6, 8]), 3, stride=2)
            side = (side - 1) // 2 + 1
    return net.model(net.convolution("closing", value, 5, 1))
