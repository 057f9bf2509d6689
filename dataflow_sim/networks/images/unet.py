"""U-Net (Ronneberger, Fischer and Brox, arXiv:1505.04597), figure 1.

Four times two 3x3 convolutions and a pooling down, two at the bottom, and the same way up: a 2x2
transposed convolution doubles the plane and halves the channels, beside what the way down had at
that size.  The paper pads nothing: 572 x 572 pixels give 388 x 388, and what the way down had is
cropped.  Later code pads, so that the result is as large as the image.
"""

from __future__ import annotations

from functools import partial

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution

_LEVELS = 4  # poolings on the way down
_CLASSES = 2
_KEPT_EVEN = tuple(range(188, 2109, 128))  # of 16 k + 12, where every pooling reads an even size


def _double(net: OnnxBuilder, name: str, value: str, channels: int, padded: bool) -> str:
    """Two 3x3 convolutions with their activations."""
    for place in (1, 2):
        layer = f"{name}.conv{place}"
        pad = None if padded else 0
        value = net.convolution(layer, value, channels, 3, pad=pad, bias=True)
        value = net.activation(f"{layer}.relu", value)
    return value


def _cropped(net: OnnxBuilder, name: str, value: str, rows: int) -> str:
    """The middle of a square plane; the plane itself where it is no larger."""
    first = (net.shape(value)[2] - rows) // 2
    if rows == net.shape(value)[2]:
        return value
    bounds = {"starts": [first, first], "stops": [first + rows, first + rows], "axes": [2, 3]}
    inputs = [net.whole_numbers(f"{name}.{key}", numbers) for key, numbers in bounds.items()]
    return net.node("Slice", name, [value, *inputs])


def unet(name: str, resolution: int, base: int, padded: bool) -> onnx.ModelProto:
    """U-Net for images of one channel; `base` channels at full size, twice as many a level down."""
    net = OnnxBuilder(name, (1, 1, resolution, resolution))
    value, kept = "input", []
    for level in range(_LEVELS):
        value = _double(net, f"down{level + 1}", value, base << level, padded)
        kept.append(value)
        value = net.pool("MaxPool", f"down{level + 1}.pool", value, 2, 2)
    value = _double(net, "bottom", value, base << _LEVELS, padded)
    for level in reversed(range(_LEVELS)):
        block, channels = f"up{level + 1}", base << level
        value = net.transposed_convolution(f"{block}.up", value, channels, 2, stride=2)
        skip = _cropped(net, f"{block}.crop", kept[level], net.shape(value)[2])
        value = net.concat(f"{block}.concat", [skip, value])
        value = _double(net, block, value, channels, padded)
    return net.model(net.convolution("classes", value, _CLASSES, 1, bias=True))


_BASE = Parameter("base", 64, 1, 512, "channels at full size")
_COUNTED = Published("a published count of the common code's graph", 31_031_685)

NETWORKS = (
    BuiltIn(
        "unet",
        "segmentation",
        "18 unpadded 3x3 convolutions, cropped shortcuts at four sizes",
        "arXiv:1505.04597, figure 1",
        partial(unet, padded=False),
        (
            Parameter("resolution", 572, 188, 2108, "rows and columns", choices=_KEPT_EVEN),
            _BASE,
        ),
        published=(_COUNTED,),
    ),
    BuiltIn(
        "unet_padded",
        "segmentation",
        "18 padded 3x3 convolutions, shortcuts at four sizes",
        "arXiv:1505.04597, figure 1",
        partial(unet, padded=True),
        (resolution(512, least=16, multiple_of=16), _BASE),
        deviations=("convolutions are padded, so nothing is cropped: as in most later code",),
        published=(_COUNTED,),
    ),
)
