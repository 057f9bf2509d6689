"""MobileNetV3 (Howard et al., arXiv:1905.02244), tables 1 and 2: large and small.

Blocks as in MobileNetV2, some with a gate of channel means (squeeze-and-excite) between depthwise
convolution and projection.  The last fully connected layer but one comes after the pooling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.classification.mobilenet import divisible
from dataflow_sim.networks.row import BuiltIn, Published, resolution, width

_FIRST = 16  # channels of the first convolution
_SQUEEZE = 4  # the gate's inner channels: those that it scales, divided by this
_RELU, _HARD_SWISH = "Relu", "HardSwish"

# kernel, expanded channels, output channels, gated, activation, stride
Block = tuple[int, int, int, bool, str, int]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the paper: its blocks, the last convolution, the layer behind the pooling."""

    blocks: tuple[Block, ...]
    last: int
    head: int


LARGE = Table(
    (
        (3, 16, 16, False, _RELU, 1),
        (3, 64, 24, False, _RELU, 2),
        (3, 72, 24, False, _RELU, 1),
        (5, 72, 40, True, _RELU, 2),
        (5, 120, 40, True, _RELU, 1),
        (5, 120, 40, True, _RELU, 1),
        (3, 240, 80, False, _HARD_SWISH, 2),
        (3, 200, 80, False, _HARD_SWISH, 1),
        (3, 184, 80, False, _HARD_SWISH, 1),
        (3, 184, 80, False, _HARD_SWISH, 1),
        (3, 480, 112, True, _HARD_SWISH, 1),
        (3, 672, 112, True, _HARD_SWISH, 1),
        (5, 672, 160, True, _HARD_SWISH, 2),
        (5, 960, 160, True, _HARD_SWISH, 1),
        (5, 960, 160, True, _HARD_SWISH, 1),
    ),
    last=960,
    head=1280,
)
SMALL = Table(
    (
        (3, 16, 16, True, _RELU, 2),
        (3, 72, 24, False, _RELU, 2),
        (3, 88, 24, False, _RELU, 1),
        (5, 96, 40, True, _HARD_SWISH, 2),
        (5, 240, 40, True, _HARD_SWISH, 1),
        (5, 240, 40, True, _HARD_SWISH, 1),
        (5, 120, 48, True, _HARD_SWISH, 1),
        (5, 144, 48, True, _HARD_SWISH, 1),
        (5, 288, 96, True, _HARD_SWISH, 2),
        (5, 576, 96, True, _HARD_SWISH, 1),
        (5, 576, 96, True, _HARD_SWISH, 1),
    ),
    last=576,
    head=1024,
)


def features(
    net: OnnxBuilder, value: str, table: Table, width: float = 1.0, dilation: int = 1
) -> Iterator[tuple[str, str]]:
    """(expanded, result) of every block in turn, first and last convolution as both.

    A `dilation` above 1 takes the stride out of the last stage and spreads the taps of its
    depthwise convolutions instead: an output stride of 16, not 32.
    """
    value = net.unit("conv1", value, divisible(_FIRST * width), 3, stride=2, activation=_HARD_SWISH)
    yield value, value
    last_stage = max(place for place, block in enumerate(table.blocks) if block[-1] > 1)
    nominal = _FIRST
    for place, (kernel, expanded, channels, gated, activation, stride) in enumerate(table.blocks):
        block = f"block{place + 1}"
        spread = place >= last_stage and dilation > 1
        entry, read = value, net.channels(value)
        # the authors' rule: what a block expands are the channels that it reads, as rounded
        inner = divisible(expanded * read / nominal)
        if inner != read:
            value = net.unit(f"{block}.expand", value, inner, 1, activation=activation)
        wide = value
        value = net.unit(
            f"{block}.dw",
            wide,
            inner,
            kernel,
            stride=1 if spread else stride,
            groups=inner,
            dilation=dilation if spread else 1,
            activation=activation,
        )
        if gated:
            squeezed = divisible(net.channels(value) / _SQUEEZE)
            value = net.squeeze_excite(f"{block}.se", value, squeezed, gate="HardSigmoid")
        narrow = divisible(channels * width)
        value = net.unit(f"{block}.project", value, narrow, 1, activation=None)
        if stride == 1 and narrow == read:
            value = net.add(f"{block}.add", value, entry)
        nominal = channels
        yield wide, value
    last = divisible(table.last * width)
    value = net.unit("conv_last", value, last, 1, activation=_HARD_SWISH)
    yield value, value


def mobilenet_v3(name: str, width: float, resolution: int, table: Table) -> onnx.ModelProto:
    """MobileNetV3; `width` multiplies every channel count but a head below the table's."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    *_, (_, value) = features(net, "input", table, width)
    pooled = net.global_average_pool("pool", value)
    value = net.fully_connected("head", pooled, divisible(table.head * max(1.0, width)))
    value = net.activation("head.act", value, _HARD_SWISH)
    return net.model(net.fully_connected("fc", value, 1000))


_COUNTED = "a published count of the framework's graph"
_CHECKPOINTS = "the authors' table of checkpoints"
_PAPER = "arXiv:1905.02244, table 3"
_LARGE_PUBLISHED = (
    Published(_COUNTED, 5_483_032),
    Published(_PAPER, macs=219_000_000),
    Published(
        _CHECKPOINTS,
        5_400_000,
        217_000_000,
        because="the source gives two digits; 5.48 M by count, as in the framework's graph",
    ),
    Published(_CHECKPOINTS, 4_000_000, 155_000_000, at="0.75"),
)
_WIDER = (
    "the source counts 1280 channels behind the pooling, as the paper's first version had, not "
    "1024: {:,} parameters more"
)
_SMALL_PUBLISHED = (
    Published(_COUNTED, 2_542_856),
    Published(_PAPER, macs=56_000_000),
    Published(
        _CHECKPOINTS,
        2_900_000,
        66_000_000,
        because=_WIDER.format(403_712) + "; its 66 M MACs are above the 56.9 M of that version "
        "too, and the paper's last version says 56 M",
    ),
    Published(_CHECKPOINTS, 2_400_000, 44_000_000, at="0.75", because=_WIDER.format(366_848)),
)
_PADDING = "convolutions with a stride pad both sides alike; the authors' code pads the far side"
_NO_LAST_GATE = "the last 1x1 has no gate, as in the authors' code; table 2 marks one"


def _row(size: str, table: Table, published: tuple[Published, ...], *deviations: str) -> BuiltIn:
    number = 1 if size == "large" else 2
    return BuiltIn(
        f"mobilenet_v3_{size}",
        "classification",
        f"{len(table.blocks)} inverted residuals, {sum(block[3] for block in table.blocks)} gated",
        f"arXiv:1905.02244, table {number}",
        partial(mobilenet_v3, table=table),
        (width(), resolution()),
        deviations=(_PADDING, *deviations),
        published=published,
    )


NETWORKS = (
    _row("large", LARGE, _LARGE_PUBLISHED),
    _row("small", SMALL, _SMALL_PUBLISHED, _NO_LAST_GATE),
)
