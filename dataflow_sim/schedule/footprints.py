"""How many input elements a tile of the output needs along one axis (`plane_tiles`: over both).

Model.  A layer slides a window (kernel k, stride s, dilation d, padding p) over an axis
of `size` elements; a pooling window (kernel q, stride t, padding r) may follow:

    output tile [a, b)          of the pooled map
       └► body  [a·t − r, (b−1)·t − r + q)         clipped to the body's extent
            └► input [x·s − p, (y−1)·s − p + (k−1)·d + 1)  clipped to the map

Enlarging: with up-sampling u the window slides, at stride 1, over the input with u - 1 zeros
behind each element, and only the elements are read and multiplied:

    body [x, y)  └► places [x − p, y − p + (k−1)·d)  └► input [ceil(first / u), floor(last / u)]

A transposed convolution of stride u, kernel k, dilation d and padding p is this with padding
(k−1)·d − p and its kernel reversed, which puts input i by tap t at i·u + t·d − p; k < u leaves
gaps, tiles that read nothing.  To repeat every element u times is k = u, p = u − 1.  The MACs of
a transposed convolution are its pairs (i, t); a pair whose place is cropped counts at the
border that it is beyond, so that a whole body counts input elements x taps.

Pooling on the way in.  Where the layer pools its input as it reads it (kernel q, stride t, padding
r, dilation e), the window slides over the pooled map, which is nowhere in memory:

    body [x, y)  └► pooled [a, b), first to last element touched
                      └► input [a·t − r, (b−1)·t − r + (q−1)·e + 1)  clipped to the map

Volumes.  Depth is the row axis.  The columns are planes, line behind line: a span of them lies in
lines [floor(start / width), ceil(stop / width)), and reads all of the lines of the input that the
same formulas give for these along the height:

    columns [x, y) of a plane of W' a line  └► lines  └► input lines [a, b)  └► [a·W, b·W)

Clipping is what makes zero padding free of DRAM traffic.  A 1-wide kernel with stride
above 1 touches every s-th element only, and only those are read (a strided span).

Rows roll.  Where tiles that follow one another down a column of tiles need common rows, the
rows stay in a ring buffer and only the new ones are read:

    tile i     . . a b c d          window of tile i: rows a to d, in the ring
    tile i+1         . c d e f      reads e and f, into the places of a and b

One buffer holds the largest window.  Two (double buffering) hold a window and the rows that
the next one adds, or the whole first window of the next column.

Assumed: tiles side by side share nothing, so that a column halo is read for each.  Ignored:
bursts and alignment of rows in DRAM.

Source: the arithmetic of convolution; e.g. Dumoulin & Visin, arXiv:1603.07285.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import Layer, PlaneWindow, Window
from dataflow_sim.graph.region import Span

Ints = npt.NDArray[np.int64]
_Places = TypeVar("_Places", Ints, np.int64)


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis of a layer: the sizes of its maps, its window and its pooling.

    `input_size` is that of the map that the window slides over.  Where that map is pooled from
    the one that is read, `before` is how: its window slides over what is read, its body is the map.
    `plane` holds height and width where the axis runs over the planes of a volume; `kernel` is
    then the taps in the plane, pooling takes all of it or nothing.
    """

    input_size: int
    body_size: int
    output_size: int
    kernel: int
    stride: int
    dilation: int
    pad: int
    pool_kernel: int
    pool_stride: int
    pool_dilation: int
    pool_pad: int
    up: int = 1
    transposed: bool = False
    plane: tuple[Axis, Axis] | None = None
    before: Axis | None = None

    @property
    def read_size(self) -> int:
        """Elements of the map that is read."""
        return self.input_size if self.before is None else self.before.input_size

    def body_span(self, start: int, stop: int) -> Span:
        """Body elements that outputs [start, stop) are pooled from."""
        reach = (self.pool_kernel - 1) * self.pool_dilation + 1
        low = start * self.pool_stride - self.pool_pad
        high = (stop - 1) * self.pool_stride - self.pool_pad + reach
        return Span(max(0, low), min(self.body_size, high))

    def input_span(self, body: Span) -> Span:
        """Input elements that a span of the body reads; empty where all is padding."""
        span = self._window_span(body)
        if self.before is None:
            return span
        stop = span.start + (span.length - 1) * span.step + 1 if span.length else span.start
        begin, end = _pooled_from(self.before, np.int64(span.start), np.int64(stop))
        return Span(int(begin), int(end))

    def _window_span(self, body: Span) -> Span:
        """The elements under the window: of the input, or of what it is pooled to."""
        if self.plane is not None:
            begin, end = _input_lines(*self.plane, np.int64(body.start), np.int64(body.stop))
            return Span(int(begin), int(end))
        low = body.start * self.stride - self.pad
        if self.kernel == 1 and self.stride > 1:
            first = max(0, -(-max(0, -low) // self.stride) * self.stride + low)
            last = min(self.input_size - 1, (body.stop - 1) * self.stride - self.pad)
            return Span(first, max(first, last + 1), self.stride)
        reach = (self.kernel - 1) * self.dilation + 1
        high = (body.stop - 1) * self.stride - self.pad + reach
        low, high = max(0, -(-low // self.up)), min(self.input_size, (high - 1) // self.up + 1)
        return Span(low, max(low, high))

    def multiplications(self, body: Span) -> int:
        """Multiplications along this axis for a span of the body; see the head of this module."""
        sums = _multiplication_sums(self)
        return int(sums[body.stop] - sums[body.start])


def layer_axes(layer: Layer) -> tuple[Axis, Axis]:
    """The row axis and the column axis of a layer."""
    pool = layer.pool.window if layer.pool else None
    window, plane = layer.window, layer.window.plane

    def axis(index: int) -> Axis:
        return Axis(
            input_size=layer.source_shape[2 + index],
            body_size=layer.body_shape[2 + index],
            output_size=layer.output_shape[2 + index],
            kernel=window.kernel[index],
            stride=window.stride[index],
            dilation=window.dilation[index],
            pad=window.pad[index],
            pool_kernel=pool.kernel[index] if pool else 1,
            pool_stride=pool.stride[index] if pool else 1,
            pool_dilation=pool.dilation[index] if pool else 1,
            pool_pad=pool.pad[index] if pool else 0,
            up=window.up[index],
            transposed=window.transposed,
            plane=None if plane is None or index == 0 else (along(plane, 0), along(plane, 1)),
            before=before(layer.input_pool.window, index) if layer.input_pool else None,
        )

    def before(part: Window, index: int) -> Axis:
        size, body = layer.input.shape[2 + index], layer.source_shape[2 + index]
        taps = (part.kernel[index], part.stride[index], part.dilation[index], part.pad[index])
        return Axis(size, body, body, *taps, 1, 1, 1, 0)

    def along(plane: PlaneWindow, index: int) -> Axis:
        size, body, part = plane.input_size[index], plane.body_size[index], plane.window
        taps = (part.kernel[index], part.stride[index], part.dilation[index], part.pad[index])
        return Axis(size, body, body, *taps, 1, 1, 1, 0)

    return axis(0), axis(1)


@lru_cache(maxsize=4096)
def _multiplication_sums(axis: Axis) -> Ints:
    """Multiplications of the body elements before each one, and of all: body_size + 1 numbers."""
    if not axis.transposed:
        return np.arange(axis.body_size + 1, dtype=np.int64) * axis.kernel
    elements = np.arange(axis.input_size, dtype=np.int64)[:, None] * axis.up + axis.pad
    places = elements - np.arange(axis.kernel, dtype=np.int64) * axis.dilation
    places = np.clip(places, 0, axis.body_size - 1).ravel()
    found = np.bincount(places, minlength=axis.body_size)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(found)])


@lru_cache(maxsize=4096)
def elements_read(axis: Axis) -> int:
    """Elements that one tile of all outputs reads along an axis."""
    return axis.input_span(axis.body_span(0, axis.output_size)).length


def tile_sizes(extent: int) -> Ints:
    """Every distinct ceil(extent / T): the least tile for each trip count, ascending."""
    return np.array(sorted({-(-extent // trips) for trips in range(1, extent + 1)}), np.int64)


def _axis_sizes(axis: Axis) -> Ints:
    """The tile sizes along an axis that can be of use, ascending.

    Where the input is enlarged, how many tiles share an element follows from the tile's size
    modulo `up`, borders aside: for each trip count the least tile of each remainder.  Planes are
    cut between lines, pooled ones not at all.
    """
    if axis.plane is not None:
        height, width = axis.plane
        whole = axis.output_size < axis.body_size
        return np.array([1]) if whole else tile_sizes(height.body_size) * width.body_size
    least = tile_sizes(axis.output_size)
    sizes = {
        size + more
        for size in least.tolist()
        for more in range(axis.up)
        if -(-axis.output_size // (size + more)) == -(-axis.output_size // size)
    }
    return np.array(sorted(size for size in sizes if size <= axis.output_size), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class AxisTiles:
    """For each tile size along an axis (arrays of equal length):

    trips, and of the input elements one tile reads at most (`input_largest`), all tiles
    together (`input_sum`) and without repeats (`input_touched`); the same of the body, with
    the multiplications of all tiles along the axis.
    `pair_largest` is at most a tile with what the next one adds, `pair_of_ends` the last tile
    with the whole first one.
    """

    size: Ints
    trips: Ints
    input_largest: Ints
    input_sum: Ints
    input_touched: Ints
    body_largest: Ints
    body_sum: Ints
    multiplications: Ints
    pair_largest: Ints
    pair_of_ends: Ints


@lru_cache(maxsize=4096)
def axis_tiles(axis: Axis, sizes: tuple[int, ...] | None = None) -> AxisTiles:
    """Footprints of the given tile sizes along an axis, by default of all that are of use."""
    chosen = _axis_sizes(axis) if sizes is None else np.array(sizes, np.int64)
    products = _multiplication_sums(axis)
    rows = []
    for size in chosen.tolist():
        starts = np.arange(0, axis.output_size, size, dtype=np.int64)
        body_low, body_high = _body_spans(axis, starts, np.minimum(starts + size, axis.output_size))
        low, high = _input_spans(axis, body_low, body_high)
        lengths, bodies = high - low, body_high - body_low
        # tiles ascend, so that what the earlier ones read ends at the highest end so far
        before = np.concatenate([[0], np.maximum.accumulate(high)[:-1]])
        touched = np.maximum(0, high - np.maximum(low, before))
        pairs = lengths + np.concatenate([touched[1:], [0]])
        rows.append(
            (
                *(len(starts), lengths.max(), lengths.sum(), touched.sum()),
                *(bodies.max(), bodies.sum(), (products[body_high] - products[body_low]).sum()),
                *(pairs.max(), lengths[0] + lengths[-1]),
            )
        )
    columns = np.array(rows, np.int64).T
    return AxisTiles(chosen, *columns)


def _body_spans(axis: Axis, starts: Ints, stops: Ints) -> tuple[Ints, Ints]:
    """`Axis.body_span` of many tiles at once."""
    reach = (axis.pool_kernel - 1) * axis.pool_dilation + 1
    low = np.maximum(0, starts * axis.pool_stride - axis.pool_pad)
    high = np.minimum(axis.body_size, (stops - 1) * axis.pool_stride - axis.pool_pad + reach)
    return low, high


def _input_spans(axis: Axis, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """`Axis.input_span` of many bodies at once, in elements read.

    Of a strided span the ends are numbers of lattice points, of which every one is read.
    """
    if axis.plane is not None:
        return _input_lines(*axis.plane, low, high)
    if axis.kernel == 1 and axis.stride > 1:
        first = -(-axis.pad // axis.stride)  # the first body element that is not all padding
        last = (axis.input_size - 1 + axis.pad) // axis.stride
        begin, end = np.maximum(low, first), np.minimum(high, last + 1)
        end = np.maximum(begin, end)
        if axis.before is None:
            return begin, end
        place = begin * axis.stride - axis.pad
        reach = np.where(begin < end, (end - begin - 1) * axis.stride + 1, 0)
        return _pooled_from(axis.before, place, place + reach)
    begin, end = _reached(axis, low, high)
    return (begin, end) if axis.before is None else _pooled_from(axis.before, begin, end)


def _pooled_from(before: Axis, low: _Places, high: _Places) -> tuple[_Places, _Places]:
    """From the first to behind the last input element that pooled elements [low, high) need."""
    begin, end = _reached(before, low, high)
    begin = np.minimum(begin, before.input_size)
    return begin, begin + (end - begin) * np.minimum(high - low, 1)


def _reached(axis: Axis, low: _Places, high: _Places) -> tuple[_Places, _Places]:
    """From the first to behind the last input element that bodies [low, high) read."""
    reach = (axis.kernel - 1) * axis.dilation + 1
    begin = np.maximum(0, -(-(low * axis.stride - axis.pad) // axis.up))
    final = (high - 1) * axis.stride - axis.pad + reach - 1
    end = np.minimum(axis.input_size, final // axis.up + 1)
    return begin, np.maximum(begin, end)


def _input_lines(height: Axis, width: Axis, low: _Places, high: _Places) -> tuple[_Places, _Places]:
    """The columns of whole input lines that body columns [low, high) of a plane read."""
    lines = (low // width.body_size, -(-high // width.body_size))
    begin, end = _reached(height, *lines)
    return begin * width.input_size, end * width.input_size
