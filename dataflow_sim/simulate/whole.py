"""Every layer on whole maps: the answer that a replay has to give, found without tiles.

No program, no memory, no addresses: a map is an array, and windows are strided views of it.  What
the replay works out for every tile from its place in the map, such as which rows meet which
taps, what is padding and what divides an average, is done here once, another way, on all of it:

    replay   index of every tap of every element asked for, within the rows that the tile holds
    here     zeros put around and between, then all windows of the padded map

Both share the arithmetic of single numbers (`arithmetic`) and the operators' definitions, so that
on integers they agree exactly, or one of them has moved the wrong bits.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dataflow_sim.graph.layer import Layer, LayerKind, Pooling, View, Window
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Shape4
from dataflow_sim.simulate.arithmetic import Arithmetic
from dataflow_sim.simulate.codec import Array
from dataflow_sim.simulate.whole_streams import streamed

Values = dict[str, Array]


def evaluate_layers(
    graph: NetworkGraph, arithmetic: Arithmetic, image: Mapping[str, Array]
) -> Values:
    """All maps of a network by tensor, given what is in DRAM at the beginning.

    Raises ProgramError for a layer that it has no definition of.
    """
    values = dict(image)
    shapes = {name: tensor.shape for name, tensor in graph.tensors.items()}
    for layer in graph.layers:
        if layer.kind is LayerKind.STREAMED:
            made = streamed(layer, arithmetic, values, shapes)
        else:
            made = (_layer(layer, arithmetic, values),)
        for name, value in zip(layer.outputs, made, strict=True):
            values[name] = arithmetic.held(name, value)
    return values


def _view(view: View, arithmetic: Arithmetic, values: Values) -> Array:
    parts = [
        arithmetic.seen(s, values[s.tensor][:, s.channel_start : s.channel_stop])
        for s in view.segments
    ]
    return np.concatenate(parts, axis=1)


def _layer(layer: Layer, arithmetic: Arithmetic, values: Values) -> Array:
    source = _view(layer.input, arithmetic, values)
    if layer.input_pool is not None:
        pooled = _pooled(layer.input_pool, source, layer.source_shape)
        source = arithmetic.averaged(layer, pooled, incoming=True)
    source = arithmetic.prepared(layer, source, np.arange(source.shape[1]))
    body = _body(layer, arithmetic, source, values)
    operands = [_view(view, arithmetic, values) for view in layer.operands]
    body = arithmetic.finished(layer, body, np.arange(layer.body_shape[1]), operands)
    if layer.pool is not None:
        body = arithmetic.averaged(layer, _pooled(layer.pool, body, layer.output_shape))
    return np.broadcast_to(body, layer.output_shape)


def _body(layer: Layer, arithmetic: Arithmetic, source: Array, values: Values) -> Array:
    attributes = dict(layer.attributes)
    if layer.kind is LayerKind.PIXELWISE:
        return arithmetic.by_pixel(layer, source)
    if layer.weight is not None:
        return _convolved(layer, source, values[layer.weight])
    if "mode" in attributes:
        mode, coordinates = str(attributes["mode"]), str(attributes["coordinates"])
        for axis in (0, 1):
            source = _enlarged(source, axis, layer.window.up[axis], mode, coordinates)
        return arithmetic.enlarged(layer, source)
    window, (height, width) = layer.window, layer.body_shape[2:]
    source = source[:, :, -window.pad[0] :: window.stride[0], -window.pad[1] :: window.stride[1]]
    return source[:, :, :height, :width]


def _spread(source: Array, axis: int, up: int) -> Array:
    """Zeros between the elements along a spatial axis."""
    if up == 1:
        return source
    shape = list(source.shape)
    shape[2 + axis] = (shape[2 + axis] - 1) * up + 1
    found = np.zeros(shape)
    found[(slice(None),) * (2 + axis) + (slice(None, None, up),)] = source
    return found


def _windows(source: Array, axis: int, window: Window, which: int, size: int, fill: float) -> Array:
    """Windows along a spatial axis of an array, their taps in a last axis: `size` of them."""
    extent = window.extent(which)
    before = window.pad[which]
    behind = (size - 1) * window.stride[which] + extent - before - source.shape[2 + axis]
    if before < 0:
        source, before = np.take(source, range(-before, source.shape[2 + axis]), 2 + axis), 0
    pads = [(0, 0)] * source.ndim
    pads[2 + axis] = (before, max(0, behind))
    source = np.pad(source, pads, constant_values=fill)
    found = sliding_window_view(source, extent, axis=2 + axis)
    index = [slice(None)] * found.ndim
    index[2 + axis] = slice(0, (size - 1) * window.stride[which] + 1, window.stride[which])
    index[-1] = slice(None, None, window.dilation[which])
    return np.asarray(found[tuple(index)])


def _convolved(layer: Layer, source: Array, kernel: Array) -> Array:
    n, c, _, _ = source.shape
    window, plane = layer.window, layer.window.plane
    outputs, rows, columns = layer.body_shape[1:]
    for axis in (0, 1):
        source = _spread(source, axis, window.up[axis])
    sizes: tuple[int, ...] = (rows, columns)
    if plane is not None:  # columns become planes again
        source = source.reshape(*source.shape[:3], *plane.input_size)
        kernel = kernel.reshape(*kernel.shape[:3], *plane.window.kernel)
        sizes = (rows, *plane.body_size)
    for axis, ((slide, which), size) in enumerate(zip(window.slides, sizes, strict=True)):
        source = _windows(source, axis, slide, which, size, 0.0)
    groups = layer.groups
    source = source.reshape(n, groups, c // groups, *source.shape[2:])
    kernel = kernel.reshape(groups, outputs // groups, *kernel.shape[1:])
    axes = len(sizes)
    found = [
        np.tensordot(
            source[:, group],
            kernel[group],
            axes=([1, *range(2 + axes, 2 + 2 * axes)], [1, *range(2, 2 + axes)]),
        )
        for group in range(groups)
    ]
    return np.moveaxis(np.concatenate(found, axis=-1), -1, 1).reshape(layer.body_shape)


def _pooled(pooling: Pooling, source: Array, shape: Shape4) -> Array:
    """All windows of a map, reduced, to a map of the given shape."""
    sizes = (shape[2], shape[3])
    window, most = pooling.window, pooling.op == "max"
    under, counted = source, np.ones((1, 1, *source.shape[2:]))
    if pooling.count_padding:
        ends = zip(window.pad, pooling.pad_end, strict=True)
        counted = np.pad(counted, [(0, 0), (0, 0), *ends], constant_values=1.0)
        window_of_counted = Window(window.kernel, window.stride, window.dilation)
    else:
        window_of_counted = window
    for axis in (0, 1):
        under = _windows(under, axis, window, axis, sizes[axis], -np.inf if most else 0.0)
        counted = _windows(counted, axis, window_of_counted, axis, sizes[axis], 0.0)
    if most:
        return np.asarray(under.max(axis=(-2, -1)))
    return np.asarray(under.sum(axis=(-2, -1)) / counted.sum(axis=(-2, -1)))


def _enlarged(source: Array, axis: int, factor: int, mode: str, coordinates: str) -> Array:
    """A map enlarged along a spatial axis, by the nearest element or linearly between two."""
    size = source.shape[2 + axis]
    if mode == "nearest" or factor == 1:
        return np.repeat(source, factor, axis=2 + axis)
    centre = 0.5 if coordinates == "half_pixel" else 0.0
    at = (np.arange(size * factor) + centre) / factor - centre
    share = at - np.floor(at)
    edged = np.concatenate(
        [source.take([0], 2 + axis), source, source.take([-1, -1], 2 + axis)], axis=2 + axis
    )
    first = np.floor(at).astype(np.int64) + 1
    one, other = edged.take(first, 2 + axis), edged.take(first + 1, 2 + axis)
    weight = share[:, None] if axis == 0 else share
    return np.asarray(one * (1 - weight) + other * weight)
