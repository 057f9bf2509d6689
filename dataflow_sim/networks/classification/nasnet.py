"""NASNet-A (Zoph et al., arXiv:1707.07012): cells found by search, figure 4.

A cell reads the results of the two cells before it, here `now` and `before`, brings both to its
own count of channels, combines pairs of them, and concatenates what no pair has used:

    normal      before ; S5(now) + S3(before) ; S5(before) + S3(before) ; A(now) + before ;
                A(before) + A(before) ; S3(now) + now
    reduction   one   = S5(now) + S7(before)          (not in the result)
                two   = M(now) + S7(before)
                three = A(now) + S5(before)
                four  = A(one) + two
                five  = S3(one) + M(now)

S is a separable convolution applied twice with ReLU before each, A an average and M a maximum
pooling of 3x3.  In a reduction cell all that reads `now` or `before` has stride 2.
"""

from __future__ import annotations

from functools import partial

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution

_STAGES = 3  # of normal cells, a reduction cell between them
_CELL = 6  # parts that a normal cell concatenates
_SCALE = 4  # channels of the last stage over those of the first


def _normalised(
    net: OnnxBuilder, name: str, value: str, channels: int, kernel: int, stride: int
) -> str:
    """ReLU, separable convolution, normalisation."""
    read = net.channels(value)
    value = net.activation(f"{name}.relu", value)
    value = net.convolution(f"{name}.dw", value, read, kernel, stride=stride, groups=read)
    return net.unit(f"{name}.pw", value, channels, 1, activation=None)


def _separable(
    net: OnnxBuilder, name: str, value: str, channels: int, kernel: int, stride: int = 1
) -> str:
    """A separable convolution applied twice; the first strides and changes the channels."""
    value = _normalised(net, f"{name}.first", value, channels, kernel, stride)
    return _normalised(net, f"{name}.second", value, channels, kernel, 1)


def _average(net: OnnxBuilder, name: str, value: str, stride: int = 1) -> str:
    return net.pool("AveragePool", name, value, 3, stride, 1)


def _maximum(net: OnnxBuilder, name: str, value: str, stride: int) -> str:
    return net.pool("MaxPool", name, value, 3, stride, 1)


def _squeezed(net: OnnxBuilder, name: str, value: str, channels: int) -> str:
    """ReLU, 1x1 convolution, normalisation."""
    value = net.activation(f"{name}.relu", value)
    return net.unit(name, value, channels, 1, activation=None)


def factorised_reduction(net: OnnxBuilder, name: str, value: str, channels: int) -> str:
    """ReLU, then a half of the rows and columns: the even places make one half of the channels,
    the odd ones, zero beyond the edge, the other half."""
    value = net.activation(f"{name}.relu", value)
    even = net.convolution(f"{name}.even", value, channels // 2, 1, stride=2)
    begin = net.whole_numbers(f"{name}.begin", (1, 1))
    end = net.whole_numbers(f"{name}.end", net.shape(value)[2:])
    axes = net.whole_numbers(f"{name}.axes", (2, 3))
    shifted = net.node("Slice", f"{name}.shifted", [value, begin, end, axes])
    odd = net.convolution(f"{name}.odd", shifted, channels // 2, 1, stride=2, pad=(0, 0, 1, 1))
    return net.batch_norm(f"{name}.bn", net.concat(f"{name}.concat", [even, odd]))


def _both(net: OnnxBuilder, name: str, now: str, before: str, channels: int) -> tuple[str, str]:
    """What a cell combines: both of its inputs with as many channels and as large as wanted."""
    size = net.shape(now)[2:]
    if net.shape(before)[2:] != size:
        before = factorised_reduction(net, f"{name}.before", before, channels)
    elif net.channels(before) != channels:
        before = _squeezed(net, f"{name}.before", before, channels)
    return _squeezed(net, f"{name}.now", now, channels), before


def normal_cell(net: OnnxBuilder, name: str, now: str, before: str, channels: int) -> str:
    """A cell that keeps the size and makes 6 times `channels`."""
    now, before = _both(net, name, now, before, channels)
    pairs = (
        (
            _separable(net, f"{name}.pair1.left", now, channels, 5),
            _separable(net, f"{name}.pair1.right", before, channels, 3),
        ),
        (
            _separable(net, f"{name}.pair2.left", before, channels, 5),
            _separable(net, f"{name}.pair2.right", before, channels, 3),
        ),
        (_average(net, f"{name}.pair3.left", now), before),
        (
            _average(net, f"{name}.pair4.left", before),
            _average(net, f"{name}.pair4.right", before),
        ),
        (_separable(net, f"{name}.pair5.left", now, channels, 3), now),
    )
    sums = [
        net.add(f"{name}.pair{place}", left, right)
        for place, (left, right) in enumerate(pairs, start=1)
    ]
    return net.concat(name, [before, *sums])


def reduction_cell(net: OnnxBuilder, name: str, now: str, before: str | None, channels: int) -> str:
    """A cell that halves the size and makes 4 times `channels`.

    The first cell of all has no `before` and takes its unchanged input for it.
    """
    if before is None:
        now, before = _squeezed(net, f"{name}.now", now, channels), now
    else:
        now, before = _both(net, name, now, before, channels)
    one = net.add(
        f"{name}.pair1",
        _separable(net, f"{name}.pair1.left", now, channels, 5, 2),
        _separable(net, f"{name}.pair1.right", before, channels, 7, 2),
    )
    two = net.add(
        f"{name}.pair2",
        _maximum(net, f"{name}.pair2.left", now, 2),
        _separable(net, f"{name}.pair2.right", before, channels, 7, 2),
    )
    three = net.add(
        f"{name}.pair3",
        _average(net, f"{name}.pair3.left", now, 2),
        _separable(net, f"{name}.pair3.right", before, channels, 5, 2),
    )
    four = net.add(f"{name}.pair4", _average(net, f"{name}.pair4.right", one), two)
    five = net.add(
        f"{name}.pair5",
        _separable(net, f"{name}.pair5.left", one, channels, 3),
        _maximum(net, f"{name}.pair5.right", now, 2),
    )
    return net.concat(name, [two, three, four, five])


def nasnet_a(
    name: str, resolution: int, cells: int, filters: int, first: int, past_reduction: bool
) -> onnx.ModelProto:
    """NASNet-A, `cells` @ `filters` as the paper writes it.

    `first` are the filters of the first convolution.  The normal cell behind a reduction cell
    reads `before` that cell's `now`, or its `before` where `past_reduction` is set.
    """
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    channels = filters // (_CELL * _SCALE)
    now = net.unit("conv0", "input", first, 3, stride=2, pad=0, activation=None)
    before, now = now, reduction_cell(net, "stem1", now, None, channels // 4)
    before, now = now, reduction_cell(net, "stem2", now, before, channels // 2)
    for stage in range(1, _STAGES + 1):
        if stage > 1:
            channels *= 2
            reduced = reduction_cell(net, f"reduction{stage - 1}", now, before, channels)
            before, now = before if past_reduction else now, reduced
        for cell in range(1, cells + 1):
            made = normal_cell(net, f"stage{stage}.cell{cell}", now, before, channels)
            before, now = now, made
    value = net.global_average_pool("pool", net.activation("last.relu", now))
    return net.model(net.fully_connected("fc", value, 1000))


_PORT = "a published count of a framework's port of the authors' checkpoints"
_HALVED = (
    "the source halves a count of all operations: beside the multiply-accumulates it has 4 an "
    "element of normalisation, 1 an element of ReLU, k x k a pooled element, and it leaves out 1 "
    "for each kernel plane of a convolution; its port pools by 1x1 in factorised reductions, and "
    "in a reduction cell that reads an even size makes a row and a column more, then drops them"
)


def _row(
    name: str, at: int, cells: int, filters: int, first: int, past: bool, *published: Published
) -> BuiltIn:
    return BuiltIn(
        name,
        "classification",
        f"{cells} @ {filters}: {_STAGES * cells} normal and 4 reduction cells",
        "arXiv:1707.07012, figures 2 and 4; filters and wiring of the authors' code",
        partial(nasnet_a, first=first, past_reduction=past),
        (
            resolution(at),
            Parameter("cells", cells, 1, 32, "normal cells of each of the three stages"),
            Parameter("filters", filters, 96, 96 * 128, "channels of the last cell", 96),
        ),
        deviations=(
            "what has a stride pads both sides alike; the authors' code pads the far side",
            "the 1x1 average poolings of a factorised reduction are the strides of the 1x1 "
            "convolutions behind them: the same sums",
            "without drop path and the auxiliary classifier, which are of training",
        ),
        published=published,
    )


NETWORKS = (
    _row(
        "nasnet_a_mobile",
        224,
        4,
        1056,
        32,
        False,
        Published(_PORT, 5_289_978, 584_900_000, because=_HALVED),
        Published("arXiv:1707.07012, table 3", 5_300_000, 564_000_000),
    ),
    _row(
        "nasnet_a_large",
        331,
        6,
        4032,
        96,
        True,
        Published(_PORT, 88_753_150, 23_976_440_000),
        Published("arXiv:1707.07012, table 2", 88_900_000, 23_800_000_000),
    ),
)
