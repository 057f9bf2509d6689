"""Facts about a network that need no hardware and no schedule; nothing is changed.

Conventions: one MAC is one multiplication with its addition; nominal MACs count the
multiplications by zero padding, as the literature does.  Of a transposed convolution they are
input elements x kernel elements: those whose products are cropped count, zeros between the
elements do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind, WeightRole, Window
from dataflow_sim.graph.network import NetworkGraph


def layer_macs(layer: Layer) -> int:
    """Nominal MACs of one layer: body elements x input channels of a group x kernel, or stated.

    Of a transposed convolution elements of the input plane stand in for those of the body.
    """
    if layer.kind is not LayerKind.CONVOLUTION:
        return layer.stated_macs
    n, c = layer.body_shape[:2]
    h, w = (layer.source_shape if layer.window.transposed else layer.body_shape)[2:]
    kernel_rows, kernel_columns = layer.window.kernel
    return n * c * h * w * layer.input_channels_per_group * kernel_rows * kernel_columns


def _taps_inside(window: Window, axis: int, size: int, body: int) -> int:
    """Kernel taps that meet a real element, summed over the output positions of an axis.

    `size` and `body` are the extents of input and output along it.
    """
    step = window.dilation[axis]
    if window.up[axis] > 1:  # the same pairs, summed over the input's elements
        last = np.arange(size, dtype=np.int64) * window.up[axis] + window.pad[axis]
        lowest = np.maximum(0, -((body - 1 - last) // step))
        highest = np.minimum(window.kernel[axis] - 1, last // step)
        return int(np.maximum(0, highest - lowest + 1).sum())
    first = np.arange(body, dtype=np.int64) * window.stride[axis] - window.pad[axis]
    lowest = -(np.minimum(first, 0) // step)  # the first tap at or behind element 0
    highest = np.minimum(window.kernel[axis] - 1, (size - 1 - first) // step)
    return int(np.maximum(0, highest - lowest + 1).sum())


def layer_macs_without_padding(layer: Layer) -> int:
    """MACs of one layer whose operand is not zero padding; of a streamed layer all of them."""
    if layer.kind is not LayerKind.CONVOLUTION:
        return layer.stated_macs
    plane = layer.window.plane
    rows = (layer.source_shape[2], layer.body_shape[2])
    columns = [(layer.source_shape[3], layer.body_shape[3])]
    if plane is not None:
        columns = list(zip(plane.input_size, plane.body_size, strict=True))
    macs = layer.body_shape[0] * layer.body_shape[1] * layer.input_channels_per_group
    for (window, axis), extents in zip(layer.window.slides, [rows, *columns], strict=True):
        macs *= _taps_inside(window, axis, *extents)
    return macs


def weight_elements(graph: NetworkGraph, layer: Layer) -> int:
    """Elements of the layer's kernel, and of constants that it reads like maps."""
    names = [layer.weight] if layer.weight else []
    names += [s.tensor for view in layer.views for s in view.segments]
    tensors = [graph.tensors[name] for name in dict.fromkeys(names)]
    return sum(tensor.elements for tensor in tensors if tensor.kind is TensorKind.WEIGHT)


def vector_elements(graph: NetworkGraph, layer: Layer) -> int:
    """Elements of the layer's per-channel constants: bias, folded scale and shift."""
    names = [name for name in (layer.input_vectors, layer.output_vectors) if name]
    return sum(graph.tensors[name].elements for name in names)


def input_elements(graph: NetworkGraph, layer: Layer) -> int:
    """Elements of all maps that the layer reads, each view once, constants not among them."""
    total = 0
    for view in layer.views:
        if graph.tensors[view.segments[0].tensor].kind is not TensorKind.WEIGHT:
            n, c, h, w = view.shape
            total += n * c * h * w
    return total


def output_elements(graph: NetworkGraph, layer: Layer) -> int:
    """Elements of all maps that the layer writes."""
    return sum(graph.tensors[name].elements for name in layer.outputs)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """First write to last read of a map, in layer indices; a network input starts at 0."""

    tensor: str
    first: int
    last: int


def lifetimes(graph: NetworkGraph) -> tuple[Lifetime, ...]:
    """Lifetimes of all maps, network input and output included, in order of first write."""
    first: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    last: dict[str, int] = dict(first)
    for index, layer in enumerate(graph.layers):
        for view in layer.views:
            for segment in view.segments:
                if graph.tensors[segment.tensor].kind is not TensorKind.WEIGHT:
                    last[segment.tensor] = index
        for name in layer.outputs:
            first[name] = last[name] = index
    return tuple(Lifetime(name, first[name], last[name]) for name in first)


def dying_operand(
    graph: NetworkGraph, layer: Layer, index: int, last: dict[str, int]
) -> str | None:
    """The map that an elementwise layer may overwrite with its result, if one dies there."""
    if layer.kind is not LayerKind.CHANNELWISE or layer.window != Window() or layer.pool:
        return None
    output = graph.tensors[layer.output]
    for view in layer.views:
        segment = view.segments[0]
        tensor = graph.tensors[segment.tensor]
        covers = len(view.segments) == 1 and view.shape == tensor.shape == output.shape
        if covers and tensor.local_bits == output.local_bits and last.get(segment.tensor) == index:
            return segment.tensor
    return None


def _live(graph: NetworkGraph, sizes: dict[str, int]) -> tuple[int, ...]:
    spans = lifetimes(graph)
    totals = [0] * len(graph.layers)
    for span in spans:
        for index in range(span.first, span.last + 1):
            totals[index] += sizes[span.tensor]
    last = {span.tensor: span.last for span in spans}
    for index, layer in enumerate(graph.layers):
        overwritten = dying_operand(graph, layer, index, last)
        if overwritten is not None:
            totals[index] -= sizes[overwritten]
    return tuple(totals)


def live_bits(graph: NetworkGraph) -> tuple[int, ...]:
    """Bits of whole maps alive while each layer runs, weights excluded.

    An elementwise layer with a dying operand of its output's size runs in place.
    """
    return _live(graph, {t.name: t.elements * t.local_bits for t in graph.tensors.values()})


def live_peak_bytes(graph: NetworkGraph) -> int:
    """The largest live set with whole maps, layer by layer, weights excluded, in bytes."""
    return -(-max(live_bits(graph), default=0) // graph.byte_bits)


def live_elements(graph: NetworkGraph) -> tuple[int, ...]:
    """Elements of whole maps alive while each layer runs, weights excluded."""
    return _live(graph, {t.name: t.elements for t in graph.tensors.values()})


def is_quantised(graph: NetworkGraph) -> bool:
    """Whether the file rounds maps to integers, in memory or on the way."""
    if graph.unrounded:
        return True
    maps = (each for each in graph.tensors.values() if each.kind is not TensorKind.WEIGHT)
    return any(each.quantisation is not None for each in maps) or any(
        each is not None
        for layer in graph.layers
        for each in (
            layer.rounded,
            *(step.rounded for step in (*layer.pre.steps, *layer.post.steps)),
            *(segment.rounded for view in layer.views for segment in view.segments),
        )
    )


def widths(graph: NetworkGraph) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Bits of an element of the kernels and of the maps: each width in use once, ascending."""
    tensors = graph.tensors.values()
    kernels = {
        graph.whole_bits(tensor.bits)
        for tensor in tensors
        if tensor.kind is TensorKind.WEIGHT and tensor.role is not WeightRole.VECTOR
    }
    maps = {
        graph.whole_bits(tensor.bits) for tensor in tensors if tensor.kind is not TensorKind.WEIGHT
    }
    return tuple(sorted(kernels)), tuple(sorted(maps))
