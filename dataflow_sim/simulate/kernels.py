"""What the layers compute, written from the operators' definitions in plain numpy.

Used by the replay alone.  Every function takes the position of its data in the whole map,
so that a tile that lacks an element it needs is found out rather than padded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, Pooling, Window
from dataflow_sim.graph.pointwise import PointStep
from dataflow_sim.graph.region import Span
from dataflow_sim.simulate.pointwise import number

Array = npt.NDArray[np.float64]
Rows = tuple[int, int]  # a half-open range along one spatial axis


class _Taps(NamedTuple):
    """Of each kernel tap, in the first axis, for each body element: its place in the tile, and
    whether it meets a real element there."""

    places: npt.NDArray[np.int64]
    real: npt.NDArray[np.bool_]


@lru_cache(maxsize=1 << 14)
def _taps(window: Window, axis: int, size: int, held: Span, wanted: Rows, where: str) -> _Taps:
    """The taps of a window along an axis of a map of `size`, of which a tile holds `held`."""
    positions = np.arange(*wanted) * window.stride[axis] - window.pad[axis]
    taps = np.arange(window.kernel[axis])[:, None] * window.dilation[axis]
    elements, between = np.divmod(positions + taps, window.up[axis])
    real = (between == 0) & (elements >= 0) & (elements < size)
    return _Taps(_places(axis, held, elements, real, where), real)


@lru_cache(maxsize=1 << 10)
def _plane_taps(window: Window, held: Span, wanted: Rows, where: str) -> _Taps:
    """`_taps` along columns that are the planes of a volume, line behind line."""
    plane = window.plane
    assert plane is not None
    inner, (height, width) = plane.window, plane.input_size
    body = np.divmod(np.arange(*wanted), plane.body_size[1])
    taps = np.divmod(np.arange(window.kernel[1])[:, None], inner.kernel[1])
    y, x = (
        body[axis] * inner.stride[axis] - inner.pad[axis] + taps[axis] * inner.dilation[axis]
        for axis in (0, 1)
    )
    real = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return _Taps(_places(1, held, y * width + x, real, where), real)


def _layer_taps(layer: Layer, axis: int, held: Span, wanted: Rows) -> _Taps:
    where = f"layer '{layer.name}'"
    if axis == 1 and layer.window.plane is not None:
        return _plane_taps(layer.window, held, wanted, where)
    return _taps(layer.window, axis, layer.source_shape[2 + axis], held, wanted, where)


def _places(
    axis: int,
    held: Span,
    elements: npt.NDArray[np.int64],
    real: npt.NDArray[np.bool_],
    where: str,
) -> npt.NDArray[np.int64]:
    """Places in the tile of a map's elements, 0 for those that are not real."""
    places, left = np.divmod(elements - held.start, held.step)
    missing = real & ((left != 0) | (places < 0) | (places >= held.length))
    if missing.any():
        raise ProgramError(
            f"{where} needs {'row' if axis == 0 else 'column'} {elements[missing][0]} of its "
            f"input, the buffer holds {held.start} to {held.stop}"
        )
    return np.where(real, places, 0)


def _neighbours(
    layer: Layer, axis: int, wanted: Rows
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Array]:
    """The two elements that each place between them is made of, and the share of the second.

    A share of 0 stands beside the first element twice.
    """
    attributes = dict(layer.attributes)
    factor, size = layer.window.up[axis], layer.input.shape[2 + axis]
    outputs = np.arange(*wanted)
    if attributes["mode"] == "nearest" or factor == 1:
        return outputs // factor, outputs // factor, np.zeros(len(outputs))
    centre = 0.5 if attributes["coordinates"] == "half_pixel" else 0.0
    at = (outputs + centre) / factor - centre
    first = np.floor(at).astype(np.int64)
    share = at - first
    second = np.where(share > 0, first + 1, first)
    return np.clip(first, 0, size - 1), np.clip(second, 0, size - 1), share


def resample(layer: Layer, tile: Array, held: tuple[Span, Span], body: tuple[Rows, Rows]) -> Array:
    """A tile enlarged by whole factors: the body rows and columns asked for, by the nearest
    element or linearly between two, beyond the border as on it."""
    where = f"layer '{layer.name}'"
    for axis in (0, 1):
        first, second, share = _neighbours(layer, axis, body[axis])
        real = np.ones(len(share), bool)
        low, high = (_places(axis, held[axis], e, real, where) for e in (first, second))
        weight = share[:, None] if axis == 0 else share
        one, other = (np.take(tile, places, axis=2 + axis) for places in (low, high))
        tile = one * (1 - weight) + other * weight
    return tile


def picked(layer: Layer, axis: int, held: Span, wanted: Rows) -> npt.NDArray[np.int64]:
    """Places in the tile of the elements that a layer without a kernel picks for its body."""
    size = layer.input.shape[2 + axis]
    taps = _taps(layer.window, axis, size, held, wanted, f"layer '{layer.name}'")
    if not taps.real[0].all():
        raise ProgramError(f"layer '{layer.name}' picks elements outside its input")
    return np.asarray(taps.places[0])


def _under(tile: Array, rows: _Taps, columns: _Taps, beyond: float) -> Array:
    """What lies under a window: (batch, channel, row tap, row, column tap, column), `beyond`
    where that is outside of the map."""
    if not tile.size:
        return np.full((*tile.shape[:2], *rows.places.shape, *columns.places.shape), beyond)
    found = tile[:, :, rows.places[:, :, None, None], columns.places]
    real = rows.real[:, :, None, None] & columns.real
    return found if real.all() else np.where(real, found, beyond)


def convolve(
    layer: Layer,
    tile: Array,
    held: tuple[Span, Span],
    kernel: Array,
    body: tuple[Rows, Rows],
    groups: int,
) -> Array:
    """Partial convolution of a tile: the body rows and columns asked for.

    `tile` is (batch, channels, rows, columns) and holds the input's rows and columns
    `held`; `kernel` is (output channels, input channels of a group, rows, columns).
    """
    n, c, _, _ = tile.shape
    outputs = kernel.shape[0]
    shape = tuple(stop - start for start, stop in body)
    rows, columns = (_layer_taps(layer, axis, held[axis], body[axis]) for axis in (0, 1))
    under = _under(tile, rows, columns, 0.0).transpose(0, 1, 2, 4, 3, 5)
    terms = c // groups * rows.places.shape[0] * columns.places.shape[0]
    under = under.reshape(n, groups, terms, shape[0] * shape[1])
    weights = kernel.reshape(groups, outputs // groups, terms)
    return np.asarray(np.matmul(weights, under).reshape(n, outputs, *shape))


def pool_rows(pooling: Pooling, axis: int, size: int, wanted: Rows) -> Rows:
    """Rows of the body that the pooled rows `wanted` depend on."""
    window = pooling.window
    first = wanted[0] * window.stride[axis] - window.pad[axis]
    last = (wanted[1] - 1) * window.stride[axis] - window.pad[axis] + window.extent(axis)
    return max(0, first), min(size, last)


def _pooled_under(
    pooling: Pooling,
    body: Array,
    origin: tuple[int, int],
    size: tuple[int, int],
    wanted: tuple[Rows, Rows],
) -> Array:
    """What pooling windows meet in a tile; outside of the map 0, or less than all."""
    window = pooling.window
    held = [Span(o, o + e) for o, e in zip(origin, body.shape[2:], strict=True)]
    rows, columns = (
        _taps(window, axis, size[axis], held[axis], wanted[axis], "pooling") for axis in (0, 1)
    )
    return _under(body, rows, columns, -np.inf if pooling.op == "max" else 0.0)


def _divisors(
    pooling: Pooling, size: tuple[int, int], wanted: tuple[Rows, Rows]
) -> npt.NDArray[np.int64]:
    """What averages are divided by: (rows, columns)."""
    window, counts = pooling.window, []
    for axis in (0, 1):
        starts = np.arange(*wanted[axis]) * window.stride[axis] - window.pad[axis]
        at = starts + np.arange(window.kernel[axis])[:, None] * window.dilation[axis]
        if pooling.count_padding:
            counted = (at >= -window.pad[axis]) & (at < size[axis] + pooling.pad_end[axis])
        else:
            counted = (at >= 0) & (at < size[axis])
        counts.append(counted.sum(axis=0))
    return np.asarray(counts[0][:, None] * counts[1])


def pool_some_rows(
    pooling: Pooling,
    body: Array,
    origin: tuple[int, int],
    size: tuple[int, int],
    wanted: Rows,
) -> Array:
    """What some rows of the body add to each column of the only row that is pooled from all:
    sums of what is averaged, or maxima."""
    every = pool_rows(pooling, 0, size[0], (0, 1))
    if origin[0] < every[0] or origin[0] + body.shape[2] > every[1]:
        raise ProgramError(f"pooling takes rows {every[0]} to {every[1]}, not all that it is given")
    window, axis = pooling.window, 1
    held = Span(origin[1], origin[1] + body.shape[3])
    columns = _taps(window, axis, size[1], held, wanted, "pooling")
    rows = body.shape[2]
    each = _Taps(np.arange(rows)[:, None], np.ones((rows, 1), bool))
    under = _under(body, each, columns, -np.inf if pooling.op == "max" else 0.0)
    return np.asarray(under.max(axis=(2, 4)) if pooling.op == "max" else under.sum(axis=(2, 4)))


def pooled_from(pooling: Pooling, running: Array, size: tuple[int, int], wanted: Rows) -> Array:
    """The only pooled row, given its sums or maxima over all rows of the body."""
    if pooling.op == "max":
        return running
    return np.asarray(running / _divisors(pooling, size, ((0, 1), wanted)))


def pool(
    pooling: Pooling,
    body: Array,
    origin: tuple[int, int],
    size: tuple[int, int],
    wanted: tuple[Rows, Rows],
) -> Array:
    """Pool a tile of the body whose first element is at `origin` of a map of `size`."""
    under = _pooled_under(pooling, body, origin, size, wanted)
    if pooling.op == "max":
        return np.asarray(under.max(axis=(2, 4)))
    return np.asarray(under.sum(axis=(2, 4)) / _divisors(pooling, size, wanted))


def pool_on_the_way_in(
    layer: Layer, tile: Array, held: tuple[Span, Span], body: tuple[Rows, Rows]
) -> tuple[Array, tuple[Span, Span]]:
    """A tile of the input pooled to what the window touches for some body rows and columns.

    Returns the pooled tile and the rows and columns of the pooled map that it holds.
    """
    assert layer.input_pool is not None
    wanted = _touched(layer, 0, body[0]), _touched(layer, 1, body[1])
    if max(span.step for span in held) > 1:
        raise ProgramError(f"layer '{layer.name}' pools {held}, which lacks rows or columns")
    origin, size = (held[0].start, held[1].start), layer.input.shape[2:]
    pooled = pool(layer.input_pool, tile, origin, size, wanted)
    return pooled, (Span(*wanted[0]), Span(*wanted[1]))


def _touched(layer: Layer, axis: int, wanted: Rows) -> Rows:
    """From the first to behind the last element that the window touches along an axis."""
    window = layer.window
    taps = np.arange(window.kernel[axis]) * window.dilation[axis] - window.pad[axis]
    places = np.arange(*wanted)[:, None] * window.stride[axis] + taps
    elements, between = np.divmod(places, window.up[axis])
    size = layer.source_shape[2 + axis]
    real = elements[(between == 0) & (elements >= 0) & (elements < size)]
    return (int(real.min()), int(real.max()) + 1) if real.size else (0, 0)


def _shuffle(layer: Layer, tile: Array) -> Array:
    groups = dict(layer.attributes)["groups"]
    assert isinstance(groups, int)
    n, c, h, w = tile.shape
    return tile.reshape(n, groups, c // groups, h, w).swapaxes(1, 2).reshape(tile.shape)


def _softmax(layer: Layer, tile: Array) -> Array:
    shifted = tile - tile.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    logarithm = shifted - np.log(total)
    return np.asarray(logarithm if layer.op == "LogSoftmax" else np.exp(shifted) / total)


def _local_response(layer: Layer, tile: Array) -> Array:
    step = PointStep("LRN", (), layer.attributes)
    size = int(number(step, "size", 1))
    squares = np.zeros_like(tile)
    channels = tile.shape[1]
    for channel in range(channels):
        low = max(0, channel - (size - 1) // 2)
        high = min(channels, channel + size // 2 + 1)
        squares[:, channel] = (tile[:, low:high] ** 2).sum(axis=1)
    scale = number(step, "bias", 1.0) + number(step, "alpha", 1e-4) / size * squares
    return np.asarray(tile / scale ** number(step, "beta", 0.75))


def _normalise_pixel(layer: Layer, tile: Array) -> Array:
    step = PointStep(layer.op, (), layer.attributes)
    if layer.op == "LayerNormalization":
        tile = tile - tile.mean(axis=1, keepdims=True)
    spread = (tile**2).mean(axis=1, keepdims=True) + number(step, "epsilon", 1e-5)
    return np.asarray(tile / np.sqrt(spread))


def _reduction(reduce: Callable[[Array], Array]) -> Callable[[Layer, Array], Array]:
    return lambda _, tile: reduce(tile)


_PIXELWISE: Mapping[str, Callable[[Layer, Array], Array]] = {
    "ChannelShuffle": _shuffle,
    "LayerNormalization": _normalise_pixel,
    "LogSoftmax": _softmax,
    "LRN": _local_response,
    "RMSNormalization": _normalise_pixel,
    "ReduceL1": _reduction(lambda x: np.abs(x).sum(axis=1, keepdims=True)),
    "ReduceL2": _reduction(lambda x: np.sqrt((x**2).sum(axis=1, keepdims=True))),
    "ReduceLogSum": _reduction(lambda x: np.log(x.sum(axis=1, keepdims=True))),
    "ReduceLogSumExp": _reduction(lambda x: np.log(np.exp(x).sum(axis=1, keepdims=True))),
    "ReduceMax": _reduction(lambda x: x.max(axis=1, keepdims=True)),
    "ReduceMean": _reduction(lambda x: x.mean(axis=1, keepdims=True)),
    "ReduceMin": _reduction(lambda x: x.min(axis=1, keepdims=True)),
    "ReduceProd": _reduction(lambda x: x.prod(axis=1, keepdims=True)),
    "ReduceSum": _reduction(lambda x: x.sum(axis=1, keepdims=True)),
    "ReduceSumSquare": _reduction(lambda x: (x**2).sum(axis=1, keepdims=True)),
    "Softmax": _softmax,
}


def pixelwise(layer: Layer, tile: Array) -> Array:
    """What a layer makes of each pixel's channels: normalisation, softmax, reduction, shuffle."""
    if layer.op not in _PIXELWISE:
        raise ProgramError(f"layer '{layer.name}' ({layer.op}) cannot be replayed")
    return _PIXELWISE[layer.op](layer, tile)
