"""Which rows of its inputs each row of a layer needs: the ground that merging stands on.

A layer that is executed row by row produces output row r from rows [low(r), high(r)) of
each view that it reads, clipped to the map; without clipping the last of them is
`last(r)`, which the schedule uses as if padding arrived row by row like the map itself:

    convolution 3x3, stride 1, padding 1, 5 rows        row r      0   1   2   3   4
                                                        low        0   0   1   2   3
                                                        high       2   3   4   5   5
                                                        last       1   2   3   4   5

Turned round, row q of the map is first read for output row `first(q)` and for the last
time for `final(q)`; both are -1 where no output needs it (rows between windows whose
stride exceeds the kernel).

Source: as `footprints`, whose spans of one-row tiles these are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from math import lcm

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind, View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Span
from dataflow_sim.schedule.footprints import Axis, layer_axes
from dataflow_sim.schedule.sweep_rows import runs_by_rows, sweep_rows
from dataflow_sim.schedule.types import MemoryOptions

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RowNeeds:
    """Rows of one view by output row (`low`, `high`, `last`) and the reverse (`first`, `final`).

    Of the rows from low to high every `step`-th is needed.
    """

    low: Ints
    high: Ints
    last: Ints
    first: Ints
    final: Ints
    step: int = 1

    def rows(self, row: int) -> Span:
        """The rows that an output row needs."""
        low, high = int(self.low[row]), int(self.high[row])
        return Span(low, high, self.step if high - low > 1 else 1)

    @property
    def reads(self) -> int:
        """Rows that all output rows need, each one's counted by itself."""
        return int((-(-(self.high - self.low) // self.step)).sum())


@dataclass(frozen=True, slots=True, eq=False)
class LayerRows:
    """A layer by rows: its needs of the input view and of each operand, and its stride.

    The stride is in rows of the input for one of the output, less than 1 where rows multiply.
    `pace` is the row of the input that each output row comes with in a layer that reads no map
    of its group.  `sums` counts values that a sweep carries from its first firing to its last.
    """

    rows: int
    views: tuple[RowNeeds, ...]
    stride: Fraction
    pace: Ints
    sums: int = 0


def _reversed(low: Ints, high: Ints, step: int, size: int) -> tuple[Ints, Ints]:
    places = np.arange(size, dtype=np.int64)
    first = np.searchsorted(high, places, "right")
    final = np.searchsorted(low, places, "right") - 1
    read = (first <= final) & (first < len(low))
    safe = np.where(read, first, 0)
    read &= low[safe] <= places
    if step > 1:
        read &= (places - low[safe]) % step == 0
    return np.where(read, first, -1), np.where(read, final, -1)


def _needs(low: list[int], high: list[int], last: list[int], step: int, size: int) -> RowNeeds:
    # a window that lies in the padding altogether needs nothing; keep the ends ascending
    lows = np.maximum.accumulate(np.minimum(np.array(low, np.int64), size))
    highs = np.maximum.accumulate(np.minimum(np.array(high, np.int64), size))
    first, final = _reversed(lows, highs, step, size)
    return RowNeeds(lows, highs, np.array(last, np.int64), first, final, step)


@lru_cache(maxsize=4096)
def _input_needs(axis: Axis) -> RowNeeds:
    pool_reach = (axis.pool_kernel - 1) * axis.pool_dilation
    reach = (axis.kernel - 1) * axis.dilation
    low, high, last = [], [], []
    for row in range(axis.output_size):
        span = axis.input_span(axis.body_span(row, row + 1))
        low.append(span.start)
        high.append(span.stop)
        body = row * axis.pool_stride - axis.pool_pad + pool_reach
        place = (body * axis.stride - axis.pad + reach) // axis.up
        before = axis.before
        if before is not None:
            window = (before.kernel - 1) * before.dilation
            place = place * before.stride - before.pad + window
        last.append(place)
    step = axis.stride if axis.kernel == 1 and axis.before is None else 1
    return _needs(low, high, last, step, axis.read_size)


@lru_cache(maxsize=4096)
def _operand_needs(axis: Axis, size: int) -> RowNeeds:
    """Of an operand as large as the body, or of one row that every output row needs."""
    if size != axis.body_size:  # one value per channel
        one = [0] * axis.output_size
        return _needs(one, [1] * axis.output_size, one, 1, size)
    spans = [axis.body_span(row, row + 1) for row in range(axis.output_size)]
    reach = (axis.pool_kernel - 1) * axis.pool_dilation
    last = [row * axis.pool_stride - axis.pool_pad + reach for row in range(axis.output_size)]
    return _needs([s.start for s in spans], [s.stop for s in spans], last, 1, size)


def layer_rows(layer: Layer) -> LayerRows:
    """A layer by rows, any that is not taken in one pass."""
    if layer.sweep is not None:
        swept = sweep_rows(layer, layer.sweep)
        views = tuple(
            _needs(low, high, last, 1, view.shape[2])
            for view, (low, high, last) in zip(layer.views, swept.views, strict=True)
        )
        pace = np.array(swept.pace, np.int64)
        return LayerRows(layer.output_shape[2], views, swept.stride, pace, swept.sums)
    axis, _ = layer_axes(layer)
    operands = tuple(_operand_needs(axis, view.shape[2]) for view in layer.operands)
    own = _input_needs(axis)
    pooled = 1 if axis.before is None else axis.before.stride
    return LayerRows(
        rows=axis.output_size,
        views=(own, *operands),
        stride=Fraction(axis.stride * axis.pool_stride * pooled, axis.up),
        pace=own.last,
    )


def layer_columns(layer: Layer) -> tuple[RowNeeds, ...]:
    """As the views of `layer_rows`, of the columns of a layer that is no sweep."""
    _, axis = layer_axes(layer)
    operands = (_operand_needs(axis, view.shape[3]) for view in layer.operands)
    return (_input_needs(axis), *operands)


class Obstacle(StrEnum):
    """Why a layer cannot run row by row.

    STREAMED  it takes all its maps in one pass, or its rows one after the other with a state
    OUTPUTS   it makes several maps
    PADDING   one of its rows is made of padding alone
    COLUMNS   it reads no column of its input
    CONSTANT  it reads a constant like a map
    """

    STREAMED = "streamed"
    OUTPUTS = "several outputs"
    PADDING = "padding"
    COLUMNS = "no columns"
    CONSTANT = "constant"


def obstacle(graph: NetworkGraph, layer: Layer) -> Obstacle | None:
    """What stands against running a layer row by row; None where nothing does."""
    streamed = layer.kind is LayerKind.STREAMED
    if streamed and (layer.sweep is None or not runs_by_rows(layer.sweep)):
        return Obstacle.STREAMED
    if layer.extra_outputs:
        return Obstacle.OUTPUTS
    if not streamed:
        needs = layer_rows(layer).views[0]
        if not (needs.low < needs.high).all():
            return Obstacle.PADDING
        if not column_span(layer, layer.input).length:
            return Obstacle.COLUMNS
    names = (segment.tensor for view in layer.views for segment in view.segments)
    if any(graph.tensors[name].kind is TensorKind.WEIGHT for name in names):
        return Obstacle.CONSTANT
    return None


def mergeable(graph: NetworkGraph, layer: Layer) -> bool:
    """Whether a layer can run row by row."""
    return obstacle(graph, layer) is None


def stripe_spans(rows: LayerRows, first: int, stop: int) -> tuple[Span, ...]:
    """The rows of each view that a step of a sweep reads to make rows [first, stop) in a firing.

    A normalisation over rows gathers its statistics in its first step; the others read the rows
    that they normalise.
    """
    spans = [Span(int(needs.low[first]), int(needs.high[stop - 1])) for needs in rows.views]
    if rows.sums and first > 0 and stop < rows.rows:
        spans[0] = Span(spans[0].start, int(rows.views[0].low[stop]))
    return tuple(spans)


def depthwise(layer: Layer) -> bool:
    """Whether every output channel has an input channel of its own."""
    return layer.groups == layer.input.shape[1] == layer.output_shape[1]


def streams_by_channel(layer: Layer) -> bool:
    """Whether a layer's kernel may come one output channel at a time: ungrouped, or depthwise."""
    kernel = layer.weight is not None and layer.kind is not LayerKind.STREAMED
    return kernel and (layer.groups == 1 or depthwise(layer))


def row_bytes(
    graph: NetworkGraph, memory: MemoryOptions, tensor: str, channels: int, columns: int
) -> int:
    """Bytes that one row of a map takes: the given channels and columns of all images."""
    found = graph.tensors[tensor]
    return memory.bytes_taken(found.shape[0] * channels * columns * found.local_bits)


def row_scales(graph: NetworkGraph) -> dict[str, int]:
    """How many rows of the network's input one row of each map stands for: its strides.

    All are in units of the smallest fraction of a row that occurs.
    """
    scales = dict.fromkeys(graph.tensors, Fraction(1))
    for layer in graph.layers:
        stride = Fraction(1)
        if layer.kind is not LayerKind.STREAMED or layer.sweep is not None:
            stride = layer_rows(layer).stride
        scale = max(scales[segment.tensor] for segment in layer.input.segments)
        scales.update(dict.fromkeys(layer.outputs, scale * stride))
    unit = lcm(*(scale.denominator for scale in scales.values()))
    return {name: int(scale * unit) for name, scale in scales.items()}


def column_span(layer: Layer, view: View) -> Span:
    """The columns of a view that a layer reads: of a sweep all."""
    if layer.kind is LayerKind.STREAMED:
        return Span(0, view.shape[3])
    _, columns = layer_axes(layer)
    body = columns.body_span(0, columns.output_size)
    if view is layer.input:
        return columns.input_span(body)
    return body if view.shape[3] == columns.body_size else Span(0, view.shape[3])
