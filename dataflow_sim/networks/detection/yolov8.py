"""YOLOv8 (Jocher et al., 2023), the detector of the authors' configuration, in its five sizes.

    image -> P1 -> P2 -> P3 -> P4 -> P5, pooled        halves at each step
                         |     |     |
                         N3 <- N4 <- P5                coarse joined to fine, enlarged
                         |     |     |
                         N3 -> M4 -> M5                fine joined to coarse, by strides

A head on each of N3, M4 and M5 tells classes, and the distances of a place to the four sides of its
box as distributions over 16 whole numbers (distribution focal loss, arXiv:2006.04388).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np
import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution

# (channels, blocks) of the stages P2 to P5, before scaling
_STAGES = ((128, 3), (256, 6), (512, 6), (1024, 3))
_FIRST_CHANNELS = 64
_NECK_BLOCKS = 3
_BINS = 16
_SIDES = 4
_LEAST_BOX_CHANNELS = 16
_MOST_CLASS_CHANNELS = 100


@dataclass(frozen=True, slots=True)
class Scale:
    """Multipliers of depth and width, and the most channels before the width applies."""

    depth: float
    width: float
    most_channels: int

    def channels(self, plain: int) -> int:
        """Channels, rounded up to a multiple of 8."""
        return ceil(min(plain, self.most_channels) * self.width / 8) * 8

    def blocks(self, plain: int) -> int:
        """Bottlenecks of a stage, at least one."""
        return max(round(plain * self.depth), 1)


SCALES = {
    "yolov8n": Scale(0.33, 0.25, 1024),
    "yolov8s": Scale(0.33, 0.50, 1024),
    "yolov8m": Scale(0.67, 0.75, 768),
    "yolov8l": Scale(1.0, 1.0, 512),
    "yolov8x": Scale(1.0, 1.25, 512),
}


def _unit(
    net: OnnxBuilder, name: str, value: str, channels: int, kernel: int, stride: int = 1
) -> str:
    return net.unit(name, value, channels, kernel, stride=stride, activation="Swish")


def _stage(
    net: OnnxBuilder, name: str, value: str, channels: int, blocks: int, *, residual: bool
) -> str:
    """The block C2f: half the channels pass `blocks` bottlenecks, whose results are all kept."""
    half = channels // 2
    value = _unit(net, f"{name}.entry", value, 2 * half, 1)
    kept = net.split(f"{name}.split", value, [half, half])
    for block in range(1, blocks + 1):
        place = f"{name}.block{block}"
        inner = _unit(net, f"{place}.conv1", kept[-1], half, 3)
        inner = _unit(net, f"{place}.conv2", inner, half, 3)
        kept.append(net.add(f"{place}.add", kept[-1], inner) if residual else inner)
    return _unit(net, f"{name}.exit", net.concat(f"{name}.concat", kept), channels, 1)


def _pooled(net: OnnxBuilder, name: str, value: str) -> str:
    """The block SPPF: maxima over 5x5, 9x9 and 13x13, by three 5x5 poolings in a row."""
    channels = net.channels(value)
    parts = [_unit(net, f"{name}.entry", value, channels // 2, 1)]
    for place in (1, 2, 3):
        parts.append(net.pool("MaxPool", f"{name}.pool{place}", parts[-1], 5, 1, 2))
    return _unit(net, f"{name}.exit", net.concat(f"{name}.concat", parts), channels, 1)


def _backbone(net: OnnxBuilder, scale: Scale) -> tuple[str, str, str]:
    """P3, P4 and P5: maps at 1/8, 1/16 and 1/32 of the image."""
    value = _unit(net, "p1", "input", scale.channels(_FIRST_CHANNELS), 3, 2)
    maps = []
    for level, (plain, blocks) in enumerate(_STAGES, start=2):
        channels = scale.channels(plain)
        value = _unit(net, f"p{level}.down", value, channels, 3, 2)
        value = _stage(net, f"p{level}", value, channels, scale.blocks(blocks), residual=True)
        maps.append(value)
    return maps[-3], maps[-2], _pooled(net, "p5.pooled", maps[-1])


def _neck(net: OnnxBuilder, maps: tuple[str, str, str], blocks: int) -> tuple[str, str, str]:
    """N3, M4 and M5: the same sizes and channels, each joined to all the others."""
    p3, p4, p5 = maps

    def joined(name: str, value: str, beside: str, channels: int) -> str:
        both = net.concat(f"{name}.join", [value, beside])
        return _stage(net, name, both, channels, blocks, residual=False)

    def enlarged(name: str, value: str, like: str) -> str:
        rows, columns = net.shape(like)[2:]
        return net.resize(f"{name}.enlarge", value, (rows, columns), "nearest", "asymmetric")

    def reduced(name: str, value: str) -> str:
        return _unit(net, f"{name}.down", value, net.channels(value), 3, 2)

    n4 = joined("n4", enlarged("n4", p5, p4), p4, net.channels(p4))
    n3 = joined("n3", enlarged("n3", n4, p3), p3, net.channels(p3))
    m4 = joined("m4", reduced("m4", n3), n4, net.channels(p4))
    m5 = joined("m5", reduced("m5", m4), p5, net.channels(p5))
    return n3, m4, m5


def _head(net: OnnxBuilder, name: str, value: str, inner: int, outputs: int) -> str:
    """Two 3x3 and a 1x1, for one purpose on one map; flat, (1, outputs, places)."""
    for layer in (1, 2):
        value = _unit(net, f"{name}.conv{layer}", value, inner, 3)
    value = net.convolution(f"{name}.predict", value, outputs, 1, bias=True)
    return net.reshape(f"{name}.flat", value, [1, outputs, -1])


def _expected(net: OnnxBuilder, name: str, value: str) -> str:
    """Means of the distributions over the bins: (1, 4 x 16, places) to (1, 4, places)."""
    value = net.reshape(f"{name}.bins", value, [1, _SIDES, _BINS, -1])
    value = net.transpose(f"{name}.first", value, [0, 2, 1, 3])
    value = net.softmax(f"{name}.softmax", value, axis=1)
    numbers = net.constant(f"{name}.numbers", np.arange(_BINS).reshape(1, _BINS, 1, 1))
    value = net.node("Conv", f"{name}.mean", [value, numbers], kernel_shape=[1, 1])
    return net.reshape(name, value, [1, _SIDES, -1])


def yolov8(name: str, resolution: int, classes: int, scale: Scale) -> onnx.ModelProto:
    """A YOLOv8; gives distances to the sides of boxes, in steps of the map, and probabilities.

    For every place of the three maps: (1, 4, places) and (1, classes, places).
    """
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    maps = _neck(net, _backbone(net, scale), scale.blocks(_NECK_BLOCKS))
    finest = net.channels(maps[0])
    purposes = {
        "boxes": (max(_LEAST_BOX_CHANNELS, finest // 4, _SIDES * _BINS), _SIDES * _BINS),
        "classes": (max(finest, min(classes, _MOST_CLASS_CHANNELS)), classes),
    }
    boxes, scores = (
        net.concat(
            f"{what}.concat",
            [
                _head(net, f"head{level}.{what}", value, inner, outputs)
                for level, value in enumerate(maps, start=3)
            ],
            axis=2,
        )
        for what, (inner, outputs) in purposes.items()
    )
    return net.model(
        _expected(net, "distances", boxes), net.activation("scores", scores, "Sigmoid")
    )


_TABLE = "the authors' configuration, two operations a MAC"
_PUBLISHED = {
    "yolov8n": Published(_TABLE, 3_157_200, 4_450_000_000),
    "yolov8s": Published(_TABLE, 11_166_560, 14_400_000_000),
    "yolov8m": Published(_TABLE, 25_902_640, 39_650_000_000),
    "yolov8l": Published(_TABLE, 43_691_520, 82_850_000_000),
    "yolov8x": Published(_TABLE, 68_229_648, 129_250_000_000),
}

NETWORKS = tuple(
    BuiltIn(
        name,
        "detection",
        f"C2f backbone and neck, three decoupled heads, width {scale.width}",
        "Jocher et al., YOLOv8, 2023: the authors' configuration",
        partial(yolov8, scale=scale),
        (
            resolution(640, multiple_of=32),
            Parameter("classes", 80, 1, 10_000, "classes of objects"),
        ),
        deviations=(
            "the results are distances to the sides and probabilities: the places and steps of "
            "the maps are not put in, and selection is left out",
        ),
        published=(_PUBLISHED[name],),
    )
    for name, scale in SCALES.items()
)
