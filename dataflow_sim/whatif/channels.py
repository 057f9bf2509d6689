"""Which channels of a network are the same ones, and the network with other numbers of them.

A channel of a map that a convolution makes is also one of every map that is made of it element by
element, is added to it, or is convolved channel by channel:

    conv a ── relu ── depthwise ─┐
    conv b ──────────────────── add ── conv c        a, b and the sum: one class; c: another

All channels of a class change together; a class is *fixed* where something outside depends on their
number: inputs and outputs of the network, operators that walk over channels in ways of their own
(attention, shuffles, grouped convolutions), parts of a map that cut a class in two, and constants
that are read like maps.

Concatenated maps are blocks of classes, one behind the other, and their readers follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from dataflow_sim.graph.layer import (
    Layer,
    LayerKind,
    Segment,
    Tensor,
    TensorKind,
    UnpooledMap,
    View,
)
from dataflow_sim.graph.network import Constant, NetworkGraph
from dataflow_sim.graph.pointwise import ConstantArg, PointProgram
from dataflow_sim.graph.region import Shape4

# operators of one pass over pixels whose result has the channels of their input
_KEEP_CHANNELS = ("LRN", "Softmax", "LogSoftmax")


@dataclass(frozen=True, slots=True)
class Block:
    """So many channels of a class."""

    number: int
    channels: int


@dataclass(slots=True)
class ChannelClasses:
    """The classes of a network's channels: blocks of each tensor, what is joined, what is fixed."""

    graph: NetworkGraph
    blocks: dict[str, tuple[Block, ...]] = field(default_factory=dict)
    joined: list[int] = field(default_factory=list)
    fixed: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Walk the network."""
        for tensor in self.graph.tensors.values():
            if tensor.kind is TensorKind.INPUT:
                self.blocks[tensor.name] = (self._new(tensor.shape[1], fixed=True),)
        for layer in self.graph.layers:
            self._place(layer)
        for tensor in self.graph.tensors.values():
            if tensor.kind is TensorKind.OUTPUT:
                self._fix(self.blocks[tensor.name])
        self._join_shared()

    def _join_shared(self) -> None:
        """Layers that use the same kernel have the same channels on either side."""
        users: dict[str, Layer] = {}
        for layer in self.graph.layers:
            if layer.weight is None:
                continue
            first = users.setdefault(layer.weight, layer)
            if first is not layer:
                self._join(self.blocks[first.output], self.blocks[layer.output])
                self._join(self.of_view(first.input), self.of_view(layer.input))

    # ------------------------------------------------------------ classes

    def _new(self, channels: int, *, fixed: bool = False) -> Block:
        self.joined.append(len(self.joined))
        self.fixed.append(fixed)
        return Block(len(self.joined) - 1, channels)

    def root(self, number: int) -> int:
        """The class that a number stands for."""
        while self.joined[number] != number:
            number = self.joined[number]
        return number

    def _fix(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self.fixed[self.root(block.number)] = True

    def _join(self, one: Sequence[Block], other: Sequence[Block]) -> None:
        """Two maps have the same channels; where their blocks differ they are fixed."""
        if [b.channels for b in one] != [b.channels for b in other]:
            self._fix((*one, *other))
            return
        for left, right in zip(one, other, strict=True):
            first, second = sorted((self.root(left.number), self.root(right.number)))
            self.fixed[first] = self.fixed[first] or self.fixed[second]
            self.joined[second] = first

    def is_fixed(self, block: Block) -> bool:
        """Whether the channels of a block cannot change."""
        return self.fixed[self.root(block.number)]

    # ------------------------------------------------------------ the walk

    def of_view(self, view: View) -> tuple[Block, ...]:
        """The blocks of a view, one behind the other."""
        found: list[Block] = []
        for segment in view.segments:
            if self.graph.tensors[segment.tensor].kind is TensorKind.WEIGHT:
                found.append(self._new(segment.channels, fixed=True))
                continue
            start, inside = 0, []
            for block in self.blocks[segment.tensor]:
                if segment.channel_start <= start < segment.channel_stop:
                    inside.append(block)
                start += block.channels
            if sum(block.channels for block in inside) != segment.channels or (
                inside and not self._begins(segment)
            ):
                self._fix(self.blocks[segment.tensor])
                found.append(self._new(segment.channels, fixed=True))
            else:
                found += inside
        return tuple(found)

    def _begins(self, segment: Segment) -> bool:
        """Whether a segment begins where a block does."""
        start = 0
        for block in self.blocks[segment.tensor]:
            if start == segment.channel_start:
                return True
            start += block.channels
        return False

    def _place(self, layer: Layer) -> None:
        views = [self.of_view(view) for view in layer.views]
        channels = layer.output_shape[1]
        if layer.kind is LayerKind.CONVOLUTION and layer.groups == 1:
            made: tuple[Block, ...] = (self._new(channels),)
            if len(views) > 1 and len(views[1]) > 1:  # as many blocks as what is added to it
                made = tuple(self._new(block.channels) for block in views[1])
        elif (
            (
                layer.kind is LayerKind.CONVOLUTION
                and layer.groups == channels == layer.input.shape[1]
            )
            or layer.kind is LayerKind.CHANNELWISE
            or (layer.kind is LayerKind.PIXELWISE and layer.op in _KEEP_CHANNELS)
        ):
            made = views[0]
        else:
            for each in views:
                self._fix(each)
            for name in layer.outputs:
                shape = self.graph.tensors[name].shape
                self.blocks[name] = (self._new(shape[1], fixed=True),)
            return
        for each in views[1:]:
            self._join(made, each)
        self.blocks[layer.output] = made


def kernel_elements(graph: NetworkGraph) -> dict[str, int]:
    """Elements of each layer's kernel, by the name of its output."""
    return {
        layer.output: graph.tensors[layer.weight].elements
        for layer in graph.layers
        if layer.weight is not None
    }


@dataclass(slots=True)
class _Resizing:
    """A network on its way to other numbers of channels: `sizes` by class and channels before."""

    classes: ChannelClasses
    sizes: Mapping[int, int]

    def now(self, block: Block) -> int:
        """Channels of a block from now on."""
        return self.sizes.get(self.classes.root(block.number), block.channels)

    def channels(self, tensor: str) -> int:
        """Channels of a map from now on."""
        return sum(map(self.now, self.classes.blocks[tensor]))

    def _at(self, tensor: str, channel: int) -> int:
        """Where a channel that a block begins with, or the end, comes to lie."""
        before = now = 0
        for block in self.classes.blocks[tensor]:
            if before == channel:
                return now
            before += block.channels
            now += self.now(block)
        assert before == channel or all(map(self.classes.is_fixed, self.classes.blocks[tensor]))
        return now + channel - before

    def view(self, view: View) -> View:
        """A view of the maps as they are from now on."""
        segments = []
        for segment in view.segments:
            start, stop = segment.channel_start, segment.channel_stop
            if self.classes.graph.tensors[segment.tensor].kind is not TensorKind.WEIGHT and any(
                self.now(block) != block.channels for block in self.classes.blocks[segment.tensor]
            ):
                start, stop = self._at(segment.tensor, start), self._at(segment.tensor, stop)
            segments.append(replace(segment, channel_start=start, channel_stop=stop))
        n, _, h, w = view.shape
        return View(tuple(segments), (n, sum(s.channels for s in segments), h, w))

    def layer(self, layer: Layer) -> Layer:
        """A layer on the maps as they are from now on."""
        if layer.kind is LayerKind.STREAMED:
            return replace(
                layer,
                input=self.view(layer.input),
                operands=tuple(map(self.view, layer.operands)),
            )
        source, made = self.view(layer.input), self.channels(layer.output)
        depthwise = layer.groups > 1 and layer.groups == layer.input.shape[1]
        unpooled = layer.unpooled
        if unpooled is not None:
            tensor = replace(unpooled.tensor, shape=_with(unpooled.tensor.shape, made))
            unpooled = UnpooledMap(unpooled.name, unpooled.op, tensor)
        return replace(
            layer,
            input=source,
            operands=tuple(map(self.view, layer.operands)),
            body_shape=_with(layer.body_shape, made),
            output_shape=_with(layer.output_shape, made),
            pooled_shape=None
            if layer.pooled_shape is None
            else _with(layer.pooled_shape, source.shape[1]),
            groups=source.shape[1] if depthwise else layer.groups,
            unpooled=unpooled,
        )


def _with(shape: Shape4, channels: int) -> Shape4:
    return (shape[0], channels, shape[2], shape[3])


def _constant(found: Constant, old: int, new: int) -> Constant:
    """A constant that has a value for each of so many channels, with as many as there are now."""
    if prod(found.shape) != old or new == old:
        return found
    shape = tuple(new if extent == old else extent for extent in found.shape)
    return replace(found, shape=shape, value=None)


def resized(classes: ChannelClasses, sizes: Mapping[int, int]) -> NetworkGraph:
    """The network with other numbers of channels in some classes.

    Before: the classes are not fixed, the numbers are 1 or more.  After: maps, kernels, constants
    and the count of parameters follow; values of what has changed are no longer known.
    """
    graph, work = classes.graph, _Resizing(classes, sizes)
    tensors: dict[str, Tensor] = dict(graph.tensors)
    constants = dict(graph.constants)
    for name in classes.blocks:
        tensors[name] = replace(
            tensors[name], shape=_with(tensors[name].shape, work.channels(name))
        )
    layers, learned = [], {}
    for before in graph.layers:
        after = work.layer(before)
        layers.append(after)
        if after == before:
            continue
        changed = {}
        if before.weight is not None and after.weight is not None:
            rows, columns = before.window.kernel
            kernel = (after.body_shape[1], after.input.shape[1] // after.groups, rows, columns)
            old = tensors[before.weight]
            if old.shape != kernel:
                changed[before.weight] = replace(old, shape=kernel, quantisation=None)
            if before.weight_constant is not None and old.shape != kernel:
                constants[before.weight_constant] = replace(
                    constants[before.weight_constant], shape=kernel, value=None
                )
        for vectors, channels in (
            (before.input_vectors, after.input.shape[1]),
            (before.output_vectors, after.body_shape[1]),
        ):
            if vectors is not None:
                found = tensors[vectors]
                changed[vectors] = replace(found, shape=_with(found.shape, channels))
        tensors.update(changed)
        for names, was, now in (
            (_named(before.pre), before.input.shape[1], after.input.shape[1]),
            (_behind(before), before.body_shape[1], after.body_shape[1]),
        ):
            for name in names:
                if name in constants:
                    constants[name] = _constant(graph.constants[name], was, now)
    for layer in graph.layers:
        for name in layer.learned:
            learned[name] = prod(constants[name].shape) - prod(graph.constants[name].shape)
    return replace(
        graph,
        layers=tuple(layers),
        tensors=tensors,
        constants=constants,
        parameters=graph.parameters + sum(learned.values()),
    )


def _named(program: PointProgram) -> tuple[str, ...]:
    """The constants of a program."""
    args = (arg for step in program.steps for arg in step.args)
    return tuple(dict.fromkeys(arg.name for arg in args if isinstance(arg, ConstantArg)))


def _behind(layer: Layer) -> tuple[str, ...]:
    """The constants that a layer may have a value of for each channel that it makes."""
    before = {layer.weight_constant, *_named(layer.pre)}
    names = (*_named(layer.post), layer.bias_constant, *layer.learned)
    return tuple(dict.fromkeys(n for n in names if n is not None and n not in before))
