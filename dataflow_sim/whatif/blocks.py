"""Other blocks in the place of some: split convolutions, fused bottlenecks, other kernels.

    separable            k x k dense         ->  k x k depthwise, 1 x 1
    bottleneck=fused     1 x 1, depthwise    ->  k x k dense
    bottleneck=inverted  k x k dense, wider  ->  1 x 1, depthwise
    kernel=5to3          5 x 5               ->  3 x 3, of the same result

New kernels have no values.  A layer that a block gains has no normalisation of its own but where it
is said; what was applied to the result of a block is applied to the result of the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import prod

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.layer import (
    POINT,
    Layer,
    LayerKind,
    Segment,
    Tensor,
    TensorKind,
    View,
)
from dataflow_sim.graph.network import Constant, NetworkGraph
from dataflow_sim.graph.pointwise import IDENTITY
from dataflow_sim.graph.region import Shape4
from dataflow_sim.whatif.contract import Asked, Changed, Stage, WhatIf, pair, word

# a dense layer is taken for a fused bottleneck if it makes so many times its channels
_EXPANDS = 2


class _Rebuilding:
    """Layers and tensors on their way to a network with other blocks."""

    def __init__(self, graph: NetworkGraph) -> None:
        self.graph = graph
        self.tensors = dict(graph.tensors)
        self.constants = dict(graph.constants)
        self.kernels: dict[tuple[str, str, Shape4], str] = {}
        self.taken = {*graph.tensors, *graph.constants, *(each.name for each in graph.layers)}
        self.readers: dict[str, list[Layer]] = {}
        for layer in graph.layers:
            for name in dict.fromkeys(s.tensor for view in layer.views for s in view.segments):
                self.readers.setdefault(name, []).append(layer)

    def sole_reader(self, layer: Layer) -> Layer | None:
        """Who reads the whole of a layer's map as its input, if nobody else reads it."""
        tensor, readers = self.graph.tensors[layer.output], self.readers.get(layer.output, [])
        if len(readers) != 1 or tensor.kind is not TensorKind.MAP:
            return None
        whole = View((Segment(layer.output, 0, tensor.shape[1]),), tensor.shape)
        return (
            readers[0]
            if readers[0].input == whole and layer.output not in _added(readers[0])
            else None
        )

    def unused(self, wanted: str) -> str:
        """The name, numbered where a layer, a tensor or a constant has it already."""
        name, number = wanted, 1
        while name in self.taken:
            number += 1
            name = f"{wanted}#{number}"
        self.taken.add(name)
        return name

    def with_kernel(self, layer: Layer, like: str, suffix: str) -> Layer:
        """A layer with a new kernel in the place of the one that it had, which had that name.

        Layers that shared the one share the other, where it has the same shape.
        """
        rows, columns = layer.window.kernel
        shape = (layer.body_shape[1], layer.input_channels_per_group, rows, columns)
        name = self.kernels.get((like, suffix, shape))
        if name is None:
            name = self.unused(f"{like}{suffix}")
            self.kernels[like, suffix, shape] = name
            self.tensors[name] = replace(
                self.graph.tensors[like], name=name, shape=shape, quantisation=None
            )
            self.constants[name] = Constant(name, shape)
        rest = (each for each in layer.learned if each != layer.weight_constant)
        return replace(layer, weight=name, weight_constant=name, learned=(name, *rest))

    def map(self, name: str, like: Tensor, channels: int, layer: Layer) -> View:
        """A new map that a layer makes."""
        n, _, rows, columns = layer.output_shape
        shape = (n, channels, rows, columns)
        self.tensors[name] = replace(
            like, name=name, shape=shape, kind=TensorKind.MAP, quantisation=None
        )
        return View((Segment(name, 0, channels),), shape)

    def network(self, layers: Iterable[Layer]) -> NetworkGraph:
        """The network of these layers, without tensors that none of them uses."""
        found = tuple(layers)
        used = {s.tensor for each in found for view in each.views for s in view.segments}
        used |= {name for each in found for name in (*each.weights, *each.outputs)}
        return replace(
            self.graph,
            layers=found,
            tensors={n: t for n, t in self.tensors.items() if n in used},
            constants=self.constants,
            parameters=self._parameters(found),
        )

    def _parameters(self, layers: Iterable[Layer]) -> int:
        """Learned constants: those of the network without what no layer uses any longer, and new
        kernels."""
        before = {name for each in self.graph.layers for name in each.learned}
        now = {name for each in layers for name in each.learned}
        lost = sum(prod(self.graph.constants[name].shape) for name in before - now)
        gained = sum(prod(self.constants[name].shape) for name in now - before)
        return self.graph.parameters - lost + gained


def _added(layer: Layer) -> set[str]:
    return {s.tensor for view in layer.operands for s in view.segments}


def _is_dense(layer: Layer) -> bool:
    """A dense convolution with a kernel larger than a point."""
    window = layer.window
    plain = not window.transposed and window.plane is None and window.up == (1, 1)
    return (
        layer.kind is LayerKind.CONVOLUTION
        and layer.weight is not None
        and layer.groups == 1
        and min(window.kernel) > 1
        and plain
        and not _is_whole(layer)
    )


def _is_whole(layer: Layer) -> bool:
    """Whether a kernel covers the whole plane: a fully connected layer."""
    return layer.window.kernel == layer.source_shape[2:] and layer.body_shape[2:] == (1, 1)


def _is_point(layer: Layer) -> bool:
    """A dense 1 x 1 convolution of every pixel."""
    kind = layer.kind is LayerKind.CONVOLUTION and layer.weight is not None and layer.groups == 1
    return kind and layer.window == POINT


def _is_depthwise(layer: Layer) -> bool:
    """A convolution channel by channel, as many as it reads."""
    own = layer.groups == layer.input.shape[1] == layer.body_shape[1] > 1
    plain = not layer.window.transposed and layer.window.up == (1, 1)
    return layer.kind is LayerKind.CONVOLUTION and layer.weight is not None and own and plain


def _reads_input(graph: NetworkGraph, layer: Layer) -> bool:
    return any(graph.tensors[s.tensor].kind is TensorKind.INPUT for s in layer.input.segments)


def _told(asked: Asked, before: NetworkGraph, after: NetworkGraph, count: int) -> Changed:
    if not count:
        raise asked.refused("the network has no such block")
    macs = [sum(map(layer_macs, graph.layers)) for graph in (before, after)]
    return Changed(
        after,
        (
            f"{count} blocks changed; MACs {macs[0]:,} to {macs[1]:,}, parameters "
            f"{before.parameters:,} to {after.parameters:,}",
        ),
    )


def _two(work: _Rebuilding, layer: Layer, name: str, first: Layer) -> tuple[Layer, Layer]:
    """A layer as two: `first`, and on its map the rest of the layer, whose window is set yet."""
    between = work.map(name, work.graph.tensors[layer.output], first.body_shape[1], first)
    second = replace(
        layer,
        input=between,
        pre=IDENTITY,
        input_vectors=None,
        input_pool=None,
        pooled_shape=None,
        pooled_rounded=None,
        rounded=None,
    )
    return first, second


def _separable(graph: NetworkGraph, asked: Asked) -> Changed:
    work, count = _Rebuilding(graph), 0

    def layers() -> Iterator[Layer]:
        nonlocal count
        for layer in graph.layers:
            if not _is_dense(layer) or _reads_input(graph, layer) or layer.weight is None:
                yield layer
                continue
            count += 1
            channels = layer.input.shape[1]
            body = (layer.body_shape[0], channels, *layer.body_shape[2:])
            first = _alone(work, layer, ".dw", body, channels)
            one, two = _two(work, layer, first.output, first)
            two = replace(two, window=POINT)
            yield work.with_kernel(replace(one, learned=()), layer.weight, ".dw")
            yield work.with_kernel(two, layer.weight, ".pw")

    return _told(asked, graph, work.network(layers()), count)


def _alone(
    work: _Rebuilding, layer: Layer, suffix: str, body: tuple[int, ...], groups: int
) -> Layer:
    """The first of two layers: the window of a layer, and nothing behind it."""
    n, channels, rows, columns = body
    shape = (n, channels, rows, columns)
    return replace(
        layer,
        name=work.unused(f"{layer.name}{suffix}"),
        output=work.unused(f"{layer.output}{suffix}"),
        body_shape=shape,
        output_shape=shape,
        groups=groups,
        operands=(),
        post=IDENTITY,
        pool=None,
        unpooled=None,
        output_vectors=None,
        bias_constant=None,
        rounded=None,
    )


def _fused(graph: NetworkGraph, asked: Asked) -> Changed:
    work, count = _Rebuilding(graph), 0
    taken: dict[str, Layer] = {}
    for layer in graph.layers:
        reader = work.sole_reader(layer) if _is_point(layer) else None
        plain = not layer.operands and layer.pool is None
        if reader is not None and plain and _is_depthwise(reader) and not reader.pre:
            taken[reader.name] = layer
    gone = {layer.name for layer in taken.values()}

    def layers() -> Iterator[Layer]:
        nonlocal count
        for layer in graph.layers:
            if layer.name in gone:
                continue
            point = taken.get(layer.name)
            if point is None or layer.weight is None:
                yield layer
                continue
            count += 1
            dense = replace(
                layer,
                input=point.input,
                pre=point.pre,
                input_vectors=point.input_vectors,
                input_pool=point.input_pool,
                pooled_shape=point.pooled_shape,
                pooled_rounded=None,
                rounded=None,
                groups=1,
            )
            yield work.with_kernel(dense, layer.weight, ".fused")

    return _told(asked, graph, work.network(layers()), count)


def _inverted(graph: NetworkGraph, asked: Asked) -> Changed:
    work, count = _Rebuilding(graph), 0

    def layers() -> Iterator[Layer]:
        nonlocal count
        for layer in graph.layers:
            reader = work.sole_reader(layer) if _is_dense(layer) else None
            wider = layer.body_shape[1] >= _EXPANDS * layer.input.shape[1]
            fits = reader is not None and _is_point(reader) and wider and layer.input_pool is None
            if not fits or _reads_input(graph, layer) or layer.weight is None:
                yield layer
                continue
            count += 1
            channels = layer.body_shape[1]
            body = (layer.body_shape[0], channels, *layer.source_shape[2:])
            first = _alone(work, layer, ".expand", body, 1)
            one, two = _two(work, layer, first.output, replace(first, window=POINT))
            two = replace(two, groups=channels)
            yield work.with_kernel(replace(one, learned=()), layer.weight, ".expand")
            yield work.with_kernel(two, layer.weight, ".dw")

    return _told(asked, graph, work.network(layers()), count)


def _bottleneck(graph: NetworkGraph, asked: Asked) -> Changed:
    change: Callable[[NetworkGraph, Asked], Changed] = (
        _fused if asked.word() == "fused" else _inverted
    )
    return change(graph, asked)


def _kernel(graph: NetworkGraph, asked: Asked) -> Changed:
    assert isinstance(asked.value, tuple)
    old, new = asked.value
    if old % 2 != new % 2 or old == new:
        raise asked.refused("write two odd sizes, or two even ones, that are not the same: 5to3")
    work, count = _Rebuilding(graph), 0

    def layers() -> Iterator[Layer]:
        nonlocal count
        for layer in graph.layers:
            window = layer.window
            less = (old - new) // 2 * window.dilation[0], (old - new) // 2 * window.dilation[1]
            pad = window.pad[0] - less[0], window.pad[1] - less[1]
            plain = not window.transposed and window.plane is None and window.up == (1, 1)
            convolves = layer.kind is LayerKind.CONVOLUTION and plain and not _is_whole(layer)
            if not convolves or window.kernel != (old, old) or min(pad) < 0 or layer.weight is None:
                yield layer
                continue
            count += 1
            other = replace(layer, window=replace(window, kernel=(new, new), pad=pad))
            yield work.with_kernel(other, layer.weight, f".{new}x{new}")

    return _told(asked, graph, work.network(layers()), count)


WHAT_IFS = (
    WhatIf(
        "separable",
        Stage.STRUCTURE,
        word("on"),
        "dense convolutions split into a depthwise and a 1 x 1 one",
        "dense convolutions with kernels larger than 1 x 1, but for those of the network's input",
        "each is a depthwise layer of its window and a 1 x 1 layer, its activation behind both",
        change=_separable,
    ),
    WhatIf(
        "bottleneck",
        Stage.STRUCTURE,
        word("fused", "inverted"),
        "inverted bottlenecks fused, or fused ones split again",
        "fused: 1 x 1 layers that one depthwise layer alone reads; inverted: dense layers of at "
        "least twice their channels that a 1 x 1 layer alone reads",
        "fused: each pair is a dense layer of the depthwise window; inverted: each is a 1 x 1 and "
        "a depthwise layer",
        change=_bottleneck,
    ),
    WhatIf(
        "kernel",
        Stage.STRUCTURE,
        pair("KtoK", "to", 1, 31),
        "square kernels of another size, as in 5to3",
        "convolutions with square kernels of the first size and enough padding",
        "each has a kernel of the second size and padding that keeps its result's size",
        change=_kernel,
    ),
)
