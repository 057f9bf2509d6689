"""EfficientNet B0 to B7 (Tan and Le, arXiv:1905.11946) and EfficientNet-EdgeTPU.

B0 is the result of a search; B1 to B7 scale its width, depth and resolution together.  The
EdgeTPU network (Gupta and Akin, arXiv:2003.02838) is of another search, for hardware on which a
full convolution is faster than a depthwise one: early blocks fuse expansion and depthwise
convolution into a full 3x3, there is no squeeze-and-excite, and ReLU takes the place of Swish.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import ceil

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.classification.mobilenet import divisible
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution

_FIRST, _LAST = 32, 1280  # channels of the first and the last convolution, before scaling
_SQUEEZE = 4  # the gate's inner channels: those that the block reads, divided by this


@dataclass(frozen=True, slots=True)
class Stage:
    """A row of table 1: blocks of one kernel and one count of result channels.

    The first block strides and expands `read` channels, the others expand their own; a `fused`
    block expands by a full convolution.  `skip` adds what a block read where shapes agree.
    """

    blocks: int
    kernel: int
    stride: int
    expansion: int
    read: int
    channels: int
    fused: bool = False
    skip: bool = True


_B0 = (
    Stage(1, 3, 1, 1, 32, 16),
    Stage(2, 3, 2, 6, 16, 24),
    Stage(2, 5, 2, 6, 24, 40),
    Stage(3, 3, 2, 6, 40, 80),
    Stage(3, 5, 1, 6, 80, 112),
    Stage(4, 5, 2, 6, 112, 192),
    Stage(1, 3, 1, 6, 192, 320),
)
# the authors' code; its first block expands 24 channels although it reads 32
_EDGE = (
    Stage(1, 3, 1, 4, 24, 24, fused=True, skip=False),
    Stage(2, 3, 2, 8, 24, 32, fused=True),
    Stage(4, 3, 2, 8, 32, 48, fused=True),
    Stage(5, 5, 2, 8, 48, 96),
    Stage(4, 5, 1, 8, 96, 144),
    Stage(2, 5, 2, 8, 144, 192),
)
# (width, depth, resolution), the authors' code
SCALES = {
    "efficientnet_b0": (1.0, 1.0, 224),
    "efficientnet_b1": (1.0, 1.1, 240),
    "efficientnet_b2": (1.1, 1.2, 260),
    "efficientnet_b3": (1.2, 1.4, 300),
    "efficientnet_b4": (1.4, 1.8, 380),
    "efficientnet_b5": (1.6, 2.2, 456),
    "efficientnet_b6": (1.8, 2.6, 528),
    "efficientnet_b7": (2.0, 3.1, 600),
}


def _expanded(
    net: OnnxBuilder, name: str, value: str, stage: Stage, inner: int, stride: int, activation: str
) -> str:
    """What a block projects: widened, and convolved at its kernel and stride."""
    if stage.fused:
        return net.unit(
            f"{name}.fused", value, inner, stage.kernel, stride=stride, activation=activation
        )
    if stage.expansion > 1:
        value = net.unit(f"{name}.expand", value, inner, 1, activation=activation)
    return net.unit(
        f"{name}.dw",
        value,
        inner,
        stage.kernel,
        stride=stride,
        groups=inner,
        activation=activation,
    )


def features(
    net: OnnxBuilder,
    value: str,
    stages: tuple[Stage, ...],
    width: float,
    depth: float,
    *,
    gated: bool,
    activation: str,
) -> str:
    """The first convolution and all blocks; `gated` blocks have a squeeze-and-excite."""
    value = net.unit("stem", value, divisible(_FIRST * width), 3, stride=2, activation=activation)
    for number, stage in enumerate(stages, start=1):
        channels = divisible(stage.channels * width)
        for place in range(ceil(stage.blocks * depth)):
            name = f"stage{number}.block{place + 1}"
            entry, read = value, divisible(stage.read * width) if place == 0 else channels
            inner, stride = read * stage.expansion, stage.stride if place == 0 else 1
            value = _expanded(net, name, value, stage, inner, stride, activation)
            if gated:
                squeezed = max(1, read // _SQUEEZE)
                value = net.squeeze_excite(f"{name}.se", value, squeezed, activation=activation)
            value = net.unit(f"{name}.project", value, channels, 1, activation=None)
            if stage.skip and net.shape(entry) == net.shape(value):
                value = net.add(f"{name}.add", value, entry)
    return value


def efficientnet(
    name: str,
    resolution: int,
    width: float,
    depth: float,
    *,
    stages: tuple[Stage, ...] = _B0,
    gated: bool = True,
    activation: str = "Swish",
) -> onnx.ModelProto:
    """A network of these stages; `width` multiplies channels, `depth` blocks, rounded up."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = features(net, "input", stages, width, depth, gated=gated, activation=activation)
    value = net.unit("head", value, divisible(_LAST * width), 1, activation=activation)
    return net.model(net.fully_connected("fc", net.global_average_pool("pool", value), 1000))


_COUNTED = "a published count of the framework's graph"
_PUBLISHED = {
    "efficientnet_b0": Published(_COUNTED, 5_288_548, 385_800_000),
    "efficientnet_b1": Published(_COUNTED, 7_794_184, 700_000_000),
    "efficientnet_b2": Published(_COUNTED, 9_109_994, 1_100_000_000, at="288"),
    "efficientnet_b3": Published(_COUNTED, 12_233_232, 1_800_000_000),
    "efficientnet_b4": Published(_COUNTED, 19_341_616, 4_400_000_000),
    "efficientnet_b5": Published(_COUNTED, 30_389_784, 10_300_000_000),
    "efficientnet_b6": Published(_COUNTED, 43_040_704, 19_100_000_000),
    "efficientnet_b7": Published(_COUNTED, 66_347_960, 37_700_000_000),
}
_PORT = "a published count of a framework's port of the authors' checkpoints"
_EDGE_PUBLISHED = (
    Published(_PORT, 5_400_000, 1_800_000_000),
    Published(_PORT, 10_600_000, 8_000_000_000, at="300-1.2-1.4"),
)
_PADDING = "convolutions with a stride pad both sides alike; the authors' code pads the far side"


def _scaling(wide: float, deep: float, at: int) -> tuple[Parameter, ...]:
    return (
        resolution(at),
        Parameter("width", wide, 0.1, 8.0, "multiplier of the channel counts"),
        Parameter("depth", deep, 0.1, 8.0, "multiplier of the blocks of each stage"),
    )


def _row(name: str, wide: float, deep: float, at: int) -> BuiltIn:
    return BuiltIn(
        name,
        "classification",
        f"{sum(ceil(stage.blocks * deep) for stage in _B0)} inverted residuals with "
        "squeeze-and-excite",
        "arXiv:1905.11946, table 1; width, depth and resolution of the authors' code",
        efficientnet,
        _scaling(wide, deep, at),
        deviations=(_PADDING,),
        published=(_PUBLISHED[name],),
    )


NETWORKS = (
    *(_row(name, *scale) for name, scale in SCALES.items()),
    BuiltIn(
        "efficientnet_edgetpu_s",
        "classification",
        "18 inverted residuals, the first 7 fused, without squeeze-and-excite",
        "arXiv:2003.02838; the table of blocks of the authors' code",
        partial(efficientnet, stages=_EDGE, gated=False, activation="Relu"),
        _scaling(1.0, 1.0, 224),
        deviations=(
            _PADDING,
            "the 3x3 of a fused block strides; the authors' code strides the 1x1 behind it, which "
            "drops three quarters of what the 3x3 has made, and so has the same results",
            "1000 classes; the authors' code has another for the background",
        ),
        published=_EDGE_PUBLISHED,
    ),
)
