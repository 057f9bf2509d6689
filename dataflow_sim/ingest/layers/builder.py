"""Layers under construction: values, drafts, constants, and copies where nothing else helps.

Operators' rules (`ingest.operators`) and the folding of elementwise nodes
(`ingest.layers.folding`) call these methods.  Names of tensors are provisional until
`ingest.layers.finish`: `=input`, `@draft`, `@draft.extra`, `#constant`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.arrangement import CHANNEL, Arrangement, Factor, arranged
from dataflow_sim.graph.layer import LayerKind, View
from dataflow_sim.graph.meaning import COPY, OWN, Input, Meaning, Seen
from dataflow_sim.graph.pointwise import ConstantArg, PointProgram
from dataflow_sim.graph.region import Shape4
from dataflow_sim.graph.sweep import Sweep
from dataflow_sim.ingest.layers.drafts import (
    ConstantMap,
    Draft,
    JoinedValue,
    Shape,
    Streamed,
    Value,
    whole_view,
)
from dataflow_sim.ingest.layers.meanings import inputs_of
from dataflow_sim.ingest.layers.pointwise import PointNode
from dataflow_sim.ingest.layers.preferences import Preferences
from dataflow_sim.ingest.layers.rounding import MapRoundings
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.request import ReadRequest


class GraphBuilder:
    """Turns resolved nodes into layers; operators' rules call its methods.

    Unless it `folds`, elementwise nodes, additions and poolings are layers of their own; unless it
    `folds_ahead`, those that would fold into their readers are.
    """

    def __init__(
        self, network: ResolvedNetwork, nodes: Sequence[Node | PointNode], request: ReadRequest
    ) -> None:
        self.network = network
        self.folds = request.fold
        self.folds_ahead = request.fold and request.fold_ahead
        self.copies_concats = request.copy_concats
        self.preferences = Preferences(network)
        self.values: dict[str, Value] = {}
        self.joined: dict[str, JoinedValue] = {}
        self.results: dict[str, Value] = {}  # network outputs whose readers use a copy
        self.drafts: list[Draft] = []
        self.readers: dict[str, list[Node | PointNode | None]] = {}
        self.learned: dict[str, None] = {}
        self.unsupported: dict[str, int] = {}
        self.copies: list[str] = []
        self.constant_maps: list[ConstantMap] = []
        self.roundings = MapRoundings(network, self.drafts)
        for node in nodes:
            names = node.maps if isinstance(node, PointNode) else dict.fromkeys(node.inputs)
            for name in names:
                self.readers.setdefault(name, []).append(node)
        for name in network.outputs:
            self.readers.setdefault(name, []).append(None)
        for name in network.inputs:
            shape, axes = self.usual(name)
            self.values[name] = Value(whole_view(f"={name}", shape), axes)
        self.inputs = dict(self.values)

    # ---------------------------------------------------------------- constants

    def is_constant(self, name: str) -> bool:
        """Whether the name is a constant of the network."""
        return name in self.network.constants

    def constant_shape(self, name: str) -> Shape:
        """The shape of a constant."""
        return self.network.constants[name].shape

    def integers(self, name: str) -> tuple[int, ...] | None:
        """The values of a constant that steers an operator; None where they are unknown."""
        constant = self.network.constants.get(name)
        if constant is None or constant.value is None:
            return None
        return tuple(int(value) for value in constant.value.ravel())

    def learn(self, name: str) -> None:
        """Count a constant among the learned parameters, once."""
        self.learned.update(dict.fromkeys(self.learned_as(name)))

    def learned_as(self, name: str) -> tuple[str, ...]:
        """The constants of the file that a constant is made of."""
        return self.network.parts.get(name, (self.network.sources.get(name, name),))

    def learn_program(self, program: PointProgram) -> None:
        """Count the constants of a program; statistics of a normalisation are not learned."""
        for step in program.steps:
            constants = [arg.name for arg in step.args if isinstance(arg, ConstantArg)]
            for name in constants[:2] if step.op == "BatchNormalization" else constants:
                if prod(self.constant_shape(name)) > 1:
                    self.learn(name)

    def fetched(self, name: str) -> bool:
        """Whether a constant is fetched like a weight: numbers, and more than one."""
        return self.network.constants[name].real and prod(self.constant_shape(name)) > 1

    def constant_map(
        self, name: str, shape: Shape4, axes: Arrangement | None, numbers: Value | None = None
    ) -> View:
        """A constant read like a map: a view of a weight tensor of that shape.

        Without `axes` nobody says what lies in it; with `numbers` these pick its rows.
        """
        self.learn(name)
        self.constant_maps.append(ConstantMap(name, shape, axes, numbers))
        return whole_view(f"#{len(self.constant_maps) - 1}", shape)

    # ---------------------------------------------------------------- values

    def value(self, name: str) -> Value:
        """The value of a map's name."""
        return self.values[name]

    def is_map(self, name: str) -> bool:
        """Whether the name is that of a map, or of a state that grows."""
        return name in self.values or name in self.joined

    def shape(self, name: str) -> Shape:
        """The shape that the file gives a name."""
        return self.network.shapes[name]

    def read_outputs(self, node: Node) -> tuple[str, ...]:
        """The outputs of a node that somebody reads; the first where nobody reads any."""
        return tuple(name for name in node.outputs if name in self.readers) or node.outputs[:1]

    def alone(self, name: str, node: Node | PointNode) -> bool:
        """Whether `node` is the only reader of the name."""
        readers = self.readers.get(name, [])
        return len(readers) == 1 and readers[0] is node

    def draft_of(self, name: str) -> Draft | None:
        """The draft whose whole result the name stands for, if it ends there."""
        value = self.values[name]
        if len(value.view.segments) != 1 or value.pre:
            return None
        tensor = value.view.segments[0].tensor
        if not tensor.startswith("@") or "." in tensor:
            return None
        draft = self.drafts[int(tensor[1:])]
        return draft if draft.end == name and draft.shape == value.view.shape else None

    def ready(self, view: View) -> int:
        """Index of the last draft that writes into the view; -1 for inputs and constants."""
        names = [segment.tensor for segment in view.segments]
        indices = [int(name[1:].split(".")[0]) for name in names if name.startswith("@")]
        return max(indices, default=-1)

    def add(self, draft: Draft, axes: Arrangement) -> Draft:
        """Append a draft; the file sees its result in the given arrangement."""
        index = len(self.drafts)
        self.drafts.append(draft)
        self.values[draft.end] = Value(whole_view(f"@{index}", draft.shape), axes)
        return draft

    def alias(self, node: Node, value: Value) -> None:
        """Name a value that costs nothing; a layer whose result only `node` reads ends there."""
        draft = self.draft_of(node.inputs[0])
        self.values[node.outputs[0]] = value
        if (
            draft
            and value.view.shape == draft.shape
            and self.alone(node.inputs[0], node)
            and self.roundings.can_rename(draft.end, node.outputs[0])
        ):
            draft.end = node.outputs[0]

    def usual(self, name: str) -> tuple[Shape4, Arrangement]:
        """How a name lies where nothing but its readers' preference decides it."""
        return arranged(self.shape(name), self.preferences.channel_axis(name))

    def settle(self, node: Node | PointNode) -> None:
        """Have what a node makes rounded as the file says, by its readers where it is no tensor."""
        for name in (node.output,) if isinstance(node, PointNode) else node.outputs:
            if name in self.values:
                self.values[name] = self.roundings.settled(name, self.values[name])

    # ---------------------------------------------------------------- copies

    def planes(self, name: str) -> Value:
        """The value as (batch, channel, row, column), or a volume; copied if it lies otherwise."""
        value = self.values[name]
        return value if value.planes or value.volume else self.rearrange(name, 1)

    def channels_last(self, name: str) -> Value:
        """The value with its last axis as channels; copied where it lies otherwise."""
        value = self.values[name]
        return value if value.channels_last else self.rearrange(name, len(value.shape) - 1)

    def rearrange(self, name: str, channel_axis: int) -> Value:
        """Copy a value so that an axis of the file becomes the channels; later readers use it."""
        shape, axes = arranged(self.shape(name), channel_axis)
        return self.copy_into(name, shape, axes)

    def copy_into(self, name: str, shape: Shape4, axes: Arrangement) -> Value:
        """Copy a value into a map of the given shape and arrangement; later readers use it."""
        value = self.values[name]
        if value.pre:
            self.materialise(name)
            value = self.values[name]
        shuffled = _shuffled_groups(value, shape, axes)
        draft = Draft(
            name=f"{name} {'shuffled' if shuffled else 'rearranged'}",
            op="ChannelShuffle" if shuffled else "Copy",
            kind=LayerKind.PIXELWISE if shuffled else LayerKind.STREAMED,
            input=value.view,
            body_shape=shape,
            end=self._free_name(f"{name} rearranged"),
            attributes=(("groups", shuffled),) if shuffled else (),
        )
        if name in self.network.outputs:
            self.results.setdefault(name, value)
        self.roundings.copied(draft)
        self.add(draft, axes)
        if not shuffled:
            draft.meaning = Meaning(COPY, (Input((Seen(0, value.axes),)),), (axes,), domain=OWN)
        self.copies.append(name)
        self.values[name] = self.values[draft.end]
        return self.values[name]

    def materialise(self, name: str) -> None:
        """Make a value a map of its own, its pre-activation applied."""
        self.values[name] = self.copied(name, self.values[name])

    def copied(self, name: str, value: Value) -> Value:
        """A copy of a value as it lies, its pre-activation applied: read as a view, written.

        The map takes the given name, unless another tensor has it already.
        """
        draft = Draft(
            name=name if value.pre else f"{name} copy",
            op=value.pre.ops[-1] if value.pre else "Copy",
            kind=LayerKind.CHANNELWISE,
            input=value.view,
            body_shape=value.view.shape,
            end=self._free_name(name),
            groups=value.view.shape[1],
            post=value.pre,
        )
        known = self.values.get(draft.end)
        self.roundings.copied(draft)
        self.add(draft, value.axes)
        made = self.values.pop(draft.end)
        if known is not None:
            self.values[draft.end] = known
        return made

    def _free_name(self, name: str) -> str:
        """The name, or a numbered one where a map or an input has it already."""
        taken = {end for draft in self.drafts for end in (draft.end, *(n for n, _ in draft.extra))}
        taken.update(self.network.inputs)
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name} copy" if number == 2 else f"{name} copy {number}"
        return free

    # ---------------------------------------------------------------- streamed layers

    def stream(
        self,
        node: Node,
        *,
        macs: int = 0,
        known: bool = True,
        data: int | None = None,
        vectors: tuple[int, ...] = (),
    ) -> Streamed:
        """A layer that streams every input through once and writes its results.

        `data` is how many of the node's inputs are data, the others only steer it; those at the
        places `vectors` are biases, scales or shifts where they are constants.  Unless `known`,
        the operator is named in the network's warning.  Returns the layer with what it reads.
        """
        if not known:
            self.unsupported[node.op] = self.unsupported.get(node.op, 0) + 1
        held = [
            name
            for place, name in enumerate(node.inputs)
            if place in vectors and self.is_constant(name) and self.network.constants[name].real
        ]
        read = [
            (place, value)
            for place, name in enumerate(node.inputs[:data])
            if name not in held and name not in node.inputs[:place]
            for value in self.streamed_values(name)
        ]
        draft = self.stream_views(node, [value.view for _, value in read], macs)
        for name in held:
            self.learn(name)
        draft.vectors = tuple(held)
        inputs = inputs_of(self.network, node, read, held)
        if inputs is not None:
            domain, _, op = node.op.rpartition("::")
            draft.meaning = self.meaning(node, op, inputs, domain)
        return Streamed(draft, tuple(read))

    def meaning(self, node: Node, op: str, inputs: tuple[Input, ...], domain: str = "") -> Meaning:
        """What the layer of a node computes, as the file sees its results."""
        outputs = self.read_outputs(node)
        places = [node.outputs.index(name) for name in outputs]
        return Meaning(
            op=op,
            inputs=inputs,
            results=tuple(self.values[name].axes for name in outputs),
            places=tuple(node.places[place] if node.places else place for place in places),
            attributes=tuple(sorted(node.attributes.items())),
            domain=domain,
            version=self.network.opset,
        )

    def streamed_values(self, name: str) -> tuple[Value, ...]:
        """What a streamed layer reads a name through; nothing of what only steers it."""
        if name in self.joined:
            return self.joined[name].parts
        if name in self.values:
            if self.values[name].pre:
                self.materialise(name)
            return (self.values[name],)
        if name and self.is_constant(name) and self.fetched(name):
            shape = self.constant_shape(name)
            lies, axes = arranged(shape, max(0, len(shape) - 1))
            return (Value(self.constant_map(name, lies, axes), axes),)
        return ()

    def streamed_views(self, name: str) -> tuple[View, ...]:
        """The views of the same."""
        return tuple(value.view for value in self.streamed_values(name))

    def stream_views(
        self,
        node: Node,
        views: Sequence[View],
        macs: int = 0,
        result: tuple[Shape4, Arrangement] | None = None,
        sweep: Sweep | None = None,
    ) -> Draft:
        """A streamed layer that reads the given views; `result` lays out its first output.

        Outputs that nobody reads are not written.  `sweep` tells how it walks views and outputs.
        """
        outputs = self.read_outputs(node)
        if not views or not outputs:
            raise NetworkError(
                f"{self.network.name}: node '{node.name}' ({node.op}) computes a map from nothing"
            )
        shape, axes = result or self.usual(outputs[0])
        draft = Draft(
            name=node.name,
            op=node.op.rpartition("::")[2] if node.op.startswith("dataflow_sim") else node.op,
            kind=LayerKind.STREAMED,
            input=views[0],
            operands=list(views[1:]),
            body_shape=shape,
            end=outputs[0],
            macs=macs,
            sweep=sweep,
        )
        index = len(self.drafts)
        self.add(draft, axes)
        for position, name in enumerate(outputs[1:]):
            extra, axes = self.usual(name)
            draft.extra.append((name, extra))
            self.values[name] = Value(whole_view(f"@{index}.{position}", extra), axes)
        return draft


def _shuffled_groups(value: Value, shape: Shape4, axes: Arrangement) -> int:
    """In how many groups a copy deals out the channels and does nothing else; 0 if it does more."""
    if value.view.shape != shape or len(value.axes.axes) != len(axes.axes):
        return 0
    for axis, (now, then) in enumerate(zip(value.axes.axes, axes.axes, strict=True)):
        if now != then and (axis != 1 or then != (Factor(CHANNEL, shape[1], 1),)):
            return 0
    factors = value.axes.axes[1] if len(value.axes.axes) > 1 else ()
    if len(factors) != 2 or any(factor.axis != CHANNEL for factor in factors):
        return 0
    inner, outer = factors
    return outer.extent if outer.stride == inner.extent and inner.stride == 1 else 0
