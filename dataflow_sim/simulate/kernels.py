"""What the layers compute, written from the operators' definitions in plain numpy.

Used by the replay alone.  Every function takes the position of its data in the whole map,
so that a tile that lacks an element it needs is found out rather than padded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, Pooling, Window
from dataflow_sim.graph.pointwise import PointStep
from dataflow_sim.graph.region import Span
from dataflow_sim.simulate.pointwise import number

Array = npt.NDArray[np.float64]
Rows = tuple[int, int]  # a half-open range along one spatial axis


def _taps(
    window: Window, axis: int, size: int, held: Span, wanted: Rows, tap: int, where: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Places in the tile that a kernel tap meets, and which of them are real elements."""
    positions = np.arange(*wanted) * window.stride[axis] - window.pad[axis]
    elements, between = np.divmod(positions + tap * window.dilation[axis], window.up[axis])
    real = (between == 0) & (elements >= 0) & (elements < size)
    return _places(axis, held, elements, real, where), real


def _column_taps(
    layer: Layer, held: Span, wanted: Rows, tap: int, where: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """`_taps` along the columns, which may be the planes of a volume, line behind line."""
    plane = layer.window.plane
    if plane is None:
        return _taps(layer.window, 1, layer.source_shape[3], held, wanted, tap, where)
    window, (height, width) = plane.window, plane.input_size
    body = np.divmod(np.arange(*wanted), plane.body_size[1])
    taps = divmod(tap, window.kernel[1])
    y, x = (
        body[axis] * window.stride[axis] - window.pad[axis] + taps[axis] * window.dilation[axis]
        for axis in (0, 1)
    )
    real = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return _places(1, held, y * width + x, real, where), real


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
    places, real = _taps(layer.window, axis, size, held, wanted, 0, f"layer '{layer.name}'")
    if not real.all():
        raise ProgramError(f"layer '{layer.name}' picks elements outside its input")
    return places


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
    total = np.zeros((n, groups, outputs // groups, *shape))
    weights = kernel.reshape(groups, outputs // groups, *kernel.shape[1:])
    where = f"layer '{layer.name}'"
    for ky in range(layer.window.kernel[0]):
        rows, real_rows = _taps(layer.window, 0, layer.source_shape[2], held[0], body[0], ky, where)
        for kx in range(layer.window.kernel[1]):
            columns, real_columns = _column_taps(layer, held[1], body[1], kx, where)
            real = real_rows[:, None] & real_columns
            if not real.any():
                continue
            picked = np.where(real, tile[:, :, rows][..., columns], 0.0)
            picked = picked.reshape(n, groups, c // groups, *shape)
            total += np.einsum("ngcyx,goc->ngoyx", picked, weights[..., ky, kx])
    return total.reshape(n, outputs, *shape)


def pool_rows(pooling: Pooling, axis: int, size: int, wanted: Rows) -> Rows:
    """Rows of the body that the pooled rows `wanted` depend on."""
    window = pooling.window
    first = wanted[0] * window.stride[axis] - window.pad[axis]
    last = (wanted[1] - 1) * window.stride[axis] - window.pad[axis] + window.extent(axis)
    return max(0, first), min(size, last)


def _elements(
    pooling: Pooling, place: tuple[int, int], size: tuple[int, int]
) -> tuple[list[int], list[int], int]:
    """Rows and columns inside the map that a pooled element is made of, and the divisor of its
    average."""
    window, picks, counts = pooling.window, [], 1
    for axis in (0, 1):
        start = place[axis] * window.stride[axis] - window.pad[axis]
        at = [start + tap * window.dilation[axis] for tap in range(window.kernel[axis])]
        picks.append([p for p in at if 0 <= p < size[axis]])
        limit = size[axis] + pooling.pad_end[axis]
        counts *= sum(-window.pad[axis] <= p < limit for p in at)
    rows, columns = picks
    return rows, columns, counts if pooling.count_padding else len(rows) * len(columns)


def pool_some_rows(
    pooling: Pooling,
    body: Array,
    origin: tuple[int, int],
    size: tuple[int, int],
    wanted: Rows,
) -> Array:
    """What some rows of the body add to each column of the only row that is pooled from all:
    sums of what is averaged, or maxima."""
    result = np.empty((*body.shape[:2], 1, wanted[1] - wanted[0]))
    for x in range(*wanted):
        rows, columns, _ = _elements(pooling, (0, x), size)
        here = set(range(origin[0], origin[0] + body.shape[2]))
        columns = [column - origin[1] for column in columns]
        if not here <= set(rows) or min(columns) < 0 or max(columns) >= body.shape[3]:
            raise ProgramError(f"pooling (0, {x}) needs elements that the tile lacks")
        taken = body[..., columns]
        reduced = taken.max(axis=(2, 3)) if pooling.op == "max" else taken.sum(axis=(2, 3))
        result[:, :, 0, x - wanted[0]] = reduced
    return result


def pooled_from(pooling: Pooling, running: Array, size: tuple[int, int], wanted: Rows) -> Array:
    """The only pooled row, given its sums or maxima over all rows of the body."""
    if pooling.op == "max":
        return running
    divisors = [_elements(pooling, (0, x), size)[2] for x in range(*wanted)]
    return np.asarray(running / np.array(divisors))


def pool(
    pooling: Pooling,
    body: Array,
    origin: tuple[int, int],
    size: tuple[int, int],
    wanted: tuple[Rows, Rows],
) -> Array:
    """Pool a tile of the body whose first element is at `origin` of a map of `size`."""
    n, c, height, width = body.shape
    result = np.empty((n, c, wanted[0][1] - wanted[0][0], wanted[1][1] - wanted[1][0]))
    for y in range(*wanted[0]):
        for x in range(*wanted[1]):
            rows, columns, divisor = _elements(pooling, (y, x), size)
            rows, columns = [r - origin[0] for r in rows], [c - origin[1] for c in columns]
            if min(rows) < 0 or min(columns) < 0 or max(rows) >= height or max(columns) >= width:
                raise ProgramError(f"pooling ({y}, {x}) needs elements that the tile lacks")
            taken = body[:, :, rows][..., columns]
            at_result = (slice(None), slice(None), y - wanted[0][0], x - wanted[1][0])
            if pooling.op == "max":
                result[at_result] = taken.max(axis=(2, 3))
            else:
                result[at_result] = taken.sum(axis=(2, 3)) / divisor
    return result


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
