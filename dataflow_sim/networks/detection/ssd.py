"""SSD (Liu et al., arXiv:1512.02325) and SSDLite (Sandler et al., arXiv:1801.04381) on MobileNets.

Six maps, from 1/16 of the image down, each with a head for boxes and one for classes.  Two maps are
the backbone's, four follow it.  SSDLite makes every 3x3 convolution behind the backbone a depthwise
one and a 1x1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.classification import mobilenet_v3
from dataflow_sim.networks.classification.mobilenet import (
    v1_features,
    v2_features,
    v2_last,
)
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution, width

_EXTRA_CHANNELS = (512, 256, 256, 128)
_LEAST_EXTRA_CHANNELS = 16
_ANCHORS = 6  # boxes at each place, but for the first map
_MAPS = 2 + len(_EXTRA_CHANNELS)
_COORDINATES = 4
_V1_TAP = 10  # convolution 11, the last at 1/16
_V2_TAP = 14  # the first block at 1/32, whose expansion is at 1/16
_V3_TAP = 13  # the first block at 1/32, whose expansion is at 1/16
# half the channels in what follows the last stride (arXiv:1905.02244, section 6.3)
_V3_TABLE = replace(
    mobilenet_v3.LARGE,
    blocks=(
        *mobilenet_v3.LARGE.blocks[:12],
        (5, 672, 80, True, "HardSwish", 2),
        (5, 480, 80, True, "HardSwish", 1),
        (5, 480, 80, True, "HardSwish", 1),
    ),
    last=480,
)


class Backbone(NamedTuple):
    """Makes the first two maps of an image, at 1/16 and 1/32, for a width."""

    maps: Callable[[OnnxBuilder, float], tuple[str, str]]
    text: str


@dataclass(frozen=True, slots=True)
class Form:
    """What follows the backbone: which 3x3 convolutions are depthwise, the kernel of the heads,
    the boxes at a place of the first map."""

    depthwise_extras: bool
    depthwise_heads: bool
    head_kernel: int
    first_anchors: int = 3


_LITE = Form(depthwise_extras=True, depthwise_heads=True, head_kernel=3)
_EXPORTED = replace(_LITE, first_anchors=_ANCHORS)


def _v1_maps(net: OnnxBuilder, width: float) -> tuple[str, str]:
    maps = list(v1_features(net, "input", width))
    return maps[_V1_TAP], maps[-1]


def _v2_maps(net: OnnxBuilder, width: float) -> tuple[str, str]:
    maps = list(v2_features(net, "input", width))
    return maps[_V2_TAP][0], v2_last(net, maps[-1][1], width)


def _v3_maps(net: OnnxBuilder, width: float) -> tuple[str, str]:
    maps = list(mobilenet_v3.features(net, "input", _V3_TABLE, width))
    return maps[_V3_TAP][0], maps[-1][1]


_V1 = Backbone(_v1_maps, "MobileNetV1")
_V2 = Backbone(_v2_maps, "MobileNetV2")
_V3 = Backbone(_v3_maps, "MobileNetV3-large")


def _depthwise(net: OnnxBuilder, name: str, value: str, stride: int = 1) -> str:
    inner = net.channels(value)
    return net.unit(name, value, inner, 3, stride=stride, groups=inner, activation="Relu6")


def _extra(net: OnnxBuilder, name: str, value: str, channels: int, form: Form) -> str:
    """A map of half the rows and columns: a 1x1 to half the channels, then a 3x3."""
    value = net.unit(f"{name}.reduce", value, channels // 2, 1, activation="Relu6")
    if not form.depthwise_extras:
        return net.unit(f"{name}.conv", value, channels, 3, stride=2, activation="Relu6")
    value = _depthwise(net, f"{name}.dw", value, stride=2)
    return net.unit(f"{name}.pw", value, channels, 1, activation="Relu6")


def _head(net: OnnxBuilder, name: str, value: str, channels: int, form: Form) -> str:
    if not form.depthwise_heads:
        return net.convolution(name, value, channels, form.head_kernel, bias=True)
    return net.convolution(name, _depthwise(net, f"{name}.dw", value), channels, 1, bias=True)


def ssd(
    name: str, width: float, resolution: int, classes: int, backbone: Backbone, form: Form
) -> onnx.ModelProto:
    """A detector; `classes` counts the background, `width` does not change the heads.

    Gives the six maps of boxes (1, 4 x anchors, rows, columns), then the six of classes.
    """
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    maps = list(backbone.maps(net, width))
    for place, channels in enumerate(_EXTRA_CHANNELS, start=1):
        scaled = max(_LEAST_EXTRA_CHANNELS, int(channels * width))
        maps.append(_extra(net, f"extra{place}", maps[-1], scaled, form))
    anchors = (form.first_anchors, *(_ANCHORS,) * (_MAPS - 1))
    boxes, scores = (
        [
            _head(net, f"head{place}.{what}", value, count * each, form)
            for place, (value, count) in enumerate(zip(maps, anchors, strict=True), start=1)
        ]
        for what, each in (("boxes", _COORDINATES), ("classes", classes))
    )
    return net.model(*boxes, *scores)


_ZOO = "a published count of the converted TensorFlow checkpoint, two operations a MAC"
_PUBLISHED = {
    "ssd_mobilenet_v1": (
        Published(
            "arXiv:1704.04861, table 13",
            6_800_000,
            1_200_000_000,
            because="the source rounds MACs to two digits; a count of the checkpoint is met",
        ),
        Published(_ZOO, 6_807_000, 1_247_000_000),
    ),
    "ssd_mobilenet_v2": (Published(_ZOO, 16_818_000, 1_887_500_000),),
    "ssdlite_mobilenet_v1": (Published("arXiv:1801.04381, table 6", 5_100_000, 1_300_000_000),),
    "ssdlite_mobilenet_v2": (
        Published("arXiv:1801.04381, table 6", 4_300_000, 800_000_000),
        Published(_ZOO, 4_475_000, 762_500_000, at="1.0-300-91"),
    ),
    "ssdlite_mobilenet_v3_large": (
        Published("a published count of torchvision's graph", 3_440_060, 583_000_000),
    ),
}
_API = "sizes of the TensorFlow detection API"
_RAW = "the results are the maps of the heads: anchors, softmax and selection are left out"
_PADDING = "convolutions with a stride pad both sides alike; the API pads the far side"
_PLAIN = "the backbone has plain rectifiers, as its paper; the API clips them at 6"
_SIX = "the first map has 6 boxes a place, as in torchvision; the other SSDs here have 3"


def _row(
    name: str,
    backbone: Backbone,
    form: Form,
    size: int,
    classes: int,
    source: str,
    deviations: tuple[str, ...],
) -> BuiltIn:
    return BuiltIn(
        name,
        "detection",
        f"{'SSDLite' if form.depthwise_heads else 'SSD'} on {backbone.text}, six maps",
        source,
        partial(ssd, backbone=backbone, form=form),
        (
            width(),
            resolution(size),
            Parameter("classes", classes, 2, 10_000, "classes, the background one of them"),
        ),
        deviations=(_RAW, *deviations),
        published=_PUBLISHED[name],
    )


_SSD = f"arXiv:1512.02325, section 2; {_API}"
_SSDLITE = f"arXiv:1801.04381, section 6.2; {_API}"
_SSDLITE_V3 = "arXiv:1905.02244, table 1 and section 6.3; sizes of torchvision"

NETWORKS = (
    _row("ssd_mobilenet_v1", _V1, Form(False, False, 1), 300, 91, _SSD, (_PADDING, _PLAIN)),
    _row("ssd_mobilenet_v2", _V2, Form(True, False, 3), 300, 91, _SSD, (_PADDING,)),
    _row("ssdlite_mobilenet_v1", _V1, _LITE, 320, 81, _SSDLITE, (_PADDING, _PLAIN)),
    _row("ssdlite_mobilenet_v2", _V2, _LITE, 320, 81, _SSDLITE, (_PADDING,)),
    _row("ssdlite_mobilenet_v3_large", _V3, _EXPORTED, 320, 91, _SSDLITE_V3, (_SIX,)),
)
