"""Fast style transfer (Johnson, Alahi and Fei-Fei, arXiv:1603.08155) with instance normalisation
(Ulyanov, Vedaldi and Lempitsky, arXiv:1607.08022).

An image to an image of the same size: two convolutions with stride 2 down to a quarter, five
residual blocks there, two steps up again.
"""

from __future__ import annotations

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution

_DOWN = ((1, 9, 1), (2, 3, 2), (4, 3, 2))  # multiple of the first channels, kernel, stride
_RESIDUALS = 5
_UP = (2, 1)  # multiples of the first channels; each doubles the plane before its 3x3


def _normalised(
    net: OnnxBuilder, name: str, value: str, channels: int, kernel: int, stride: int = 1
) -> str:
    value = net.convolution(name, value, channels, kernel, stride=stride, bias=True)
    return net.instance_norm(f"{name}.norm", value)


def _residual(net: OnnxBuilder, name: str, value: str) -> str:
    """Two 3x3 convolutions beside a shortcut, without an activation behind the sum."""
    channels = net.channels(value)
    inner = _normalised(net, f"{name}.conv1", value, channels, 3)
    inner = net.activation(f"{name}.relu", inner)
    return net.add(f"{name}.add", value, _normalised(net, f"{name}.conv2", inner, channels, 3))


def style_transfer(name: str, resolution: int, base: int) -> onnx.ModelProto:
    """The transforming network; `base` channels at full size, four times as many at a quarter."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = "input"
    for place, (multiple, kernel, stride) in enumerate(_DOWN, start=1):
        layer = f"down{place}"
        value = _normalised(net, layer, value, multiple * base, kernel, stride)
        value = net.activation(f"{layer}.relu", value)
    for place in range(1, _RESIDUALS + 1):
        value = _residual(net, f"residual{place}", value)
    for place, multiple in enumerate(_UP, start=1):
        layer = f"up{place}"
        rows = 2 * net.shape(value)[2]
        value = net.resize(f"{layer}.resize", value, (rows, rows), "nearest", "asymmetric")
        value = _normalised(net, layer, value, multiple * base, 3)
        value = net.activation(f"{layer}.relu", value)
    return net.model(net.convolution("image", value, 3, 9, bias=True))


NETWORKS = (
    BuiltIn(
        "style_transfer",
        "style transfer",
        "16 convolutions, 5 residual blocks, each image normalised by itself",
        "arXiv:1603.08155, section 3.1 and its supplement, table 1; arXiv:1607.08022",
        style_transfer,
        (
            resolution(256, least=32, multiple_of=4),
            Parameter("base", 32, 1, 256, "channels at full size"),
        ),
        deviations=(
            "steps up are nearest neighbours and a 3x3, as in later code; the paper's are "
            "transposed convolutions",
            "convolutions pad with zeros; the paper reflects the image once and pads no residual "
            "block, later code reflects before every convolution",
            "no scaled hyperbolic tangent behind the last convolution, as in later code",
        ),
        published=(Published("a published count of the framework's example", 1_679_235),),
    ),
)
