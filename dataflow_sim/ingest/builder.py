"""Layers under construction: values, drafts, and what folds into what.

What folds, and where (reports/decisions/0002-folding.md):

* elementwise on one map: into the layer that produces the map, if nobody else reads it;
  else into all its readers, if each can take it on its input (pre-activation); else it
  is a layer of its own
* elementwise on several maps (residual add): into the latest of the producing layers
  whose result nobody else reads, the other maps becoming operands
* pooling: into the convolution that produces its input, if nobody else reads that
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.layer import (
    LayerKind,
    Segment,
    View,
)
from dataflow_sim.graph.pointwise import (
    Arg,
    ConstantArg,
    InputArg,
    OperandArg,
    PointProgram,
    PointStep,
)
from dataflow_sim.ingest.drafts import Draft, Shape, Value, canonical
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.pointwise import PointNode

# operators whose further inputs say how, not what: they are never fetched as maps or weights
_STEERED_OPS = frozenset(("Resize", "Upsample", "Pad", "Tile", "Expand"))


class GraphBuilder:
    """Turns resolved nodes into layers; operators' rules call its methods."""

    def __init__(self, network: ResolvedNetwork, nodes: Sequence[Node | PointNode]) -> None:
        self.network = network
        self.values: dict[str, Value] = {}
        self.drafts: list[Draft] = []
        self.readers: dict[str, list[Node | PointNode | None]] = {}
        self.learned: dict[str, None] = {}
        self.unsupported: dict[str, int] = {}
        for node in nodes:
            names = node.maps if isinstance(node, PointNode) else dict.fromkeys(node.inputs)
            for name in names:
                self.readers.setdefault(name, []).append(node)
        for name in network.outputs:
            self.readers.setdefault(name, []).append(None)
        for name in network.inputs:
            shape = network.shapes[name]
            segment = Segment(f"={name}", 0, canonical(shape)[1])
            self.values[name] = Value(View((segment,), canonical(shape)), shape)

    # ---------------------------------------------------------------- constants

    def is_constant(self, name: str) -> bool:
        """Whether the name is a constant of the network."""
        return name in self.network.constants

    def learn(self, name: str) -> None:
        """Count a constant among the learned parameters, once."""
        self.learned[self.network.sources.get(name, name)] = None

    def per_channel(self, name: str, shape: Shape) -> bool:
        """Whether a constant holds one value per channel of a map of that shape."""
        constant = self.network.constants[name].shape
        padded = (1,) * (len(shape) - len(constant)) + constant
        if len(shape) < 2 or len(padded) != len(shape):
            return False
        return prod(constant) > 1 and padded[1] == shape[1] == prod(constant)

    # ---------------------------------------------------------------- values

    def value(self, name: str) -> Value:
        """The value of a map's name."""
        return self.values[name]

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
        """Index of the last draft that writes into the view; -1 for the network's input."""
        names = [segment.tensor for segment in view.segments]
        indices = [int(name[1:].split(".")[0]) for name in names if name.startswith("@")]
        return max(indices, default=-1)

    def add(self, draft: Draft, shape: Shape) -> Draft:
        """Append a draft; its result has the given shape in the file."""
        index = len(self.drafts)
        self.drafts.append(draft)
        segment = Segment(f"@{index}", 0, draft.shape[1])
        self.values[draft.end] = Value(View((segment,), draft.shape), shape)
        return draft

    def alias(self, node: Node, value: Value) -> None:
        """Name a value that costs nothing; a layer whose result only `node` reads ends there."""
        draft = self.draft_of(node.inputs[0])
        self.values[node.outputs[0]] = value
        if draft and value.view.shape == draft.shape and self.alone(node.inputs[0], node):
            draft.end = node.outputs[0]

    # ---------------------------------------------------------------- elementwise

    def absorbable(self, name: str) -> bool:
        """Whether every reader of the name can apply a pre-activation on its input."""
        pending, known = [name], {name}
        while pending:
            current = pending.pop()
            readers = self.readers.get(current, [])
            if not readers:
                return False
            for reader in readers:
                if isinstance(reader, PointNode):
                    if len(reader.maps) != 1:
                        return False
                    if reader.output not in known:
                        known.add(reader.output)
                        pending.append(reader.output)
                elif reader is None or not self._takes_pre(reader, current):
                    return False
        return True

    def _takes_pre(self, node: Node, name: str) -> bool:
        if node.op in ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"):
            return True
        if node.op == "ReduceMean":
            return spatial_mean(self, node)
        weighted = node.op in ("Conv", "Gemm") and self.is_constant(node.inputs[1])
        return weighted and node.inputs[0] == name and len(self.network.shapes[name]) in (2, 3, 4)

    def foldable_constants(self, node: PointNode, value: Value) -> bool:
        """Whether all constants of the node are scalars or per-channel for that map."""
        for step in node.program.steps:
            for arg in step.args:
                if not isinstance(arg, ConstantArg) or step.op == "BatchNormalization":
                    continue
                scalar = prod(self.network.constants[arg.name].shape) == 1
                if not scalar and not (value.exact and self.per_channel(arg.name, value.shape)):
                    return False
        return value.exact or value.flattened

    def _learn_program(self, program: PointProgram) -> None:
        for step in program.steps:
            constants = [arg.name for arg in step.args if isinstance(arg, ConstantArg)]
            for name in constants[:2] if step.op == "BatchNormalization" else constants:
                if prod(self.network.constants[name].shape) > 1:
                    self.learn(name)

    def pointwise(self, node: PointNode) -> None:
        """Place an elementwise node: fold it into a layer, or make it one."""
        values = [self.value(name) for name in node.maps]
        shape = self.network.shapes[node.output]
        main = next((v for v in values if v.shape == shape), None)
        if main is None or not self.foldable_constants(node, main):
            self._opaque_pointwise(node)
            return
        self._learn_program(node.program)
        if len(values) == 1:
            self._unary(node, values[0])
        elif not self._fold_binary(node, values, shape):
            self._elementwise_layer(node, values, shape)

    def _opaque_pointwise(self, node: PointNode) -> None:
        """An elementwise node whose operands have no common shape: streamed, constants too."""
        constants = [
            arg.name
            for step in node.program.steps
            for arg in step.args
            if isinstance(arg, ConstantArg)
        ]
        op = node.program.steps[-1].op
        self.opaque(Node(node.name, op, (*node.maps, *constants), (node.output,), {}))

    def _accepts_post(self, draft: Draft) -> bool:
        return draft.pool is None and draft.kind is not LayerKind.OPAQUE

    def _unary(self, node: PointNode, value: Value) -> None:
        name = node.maps[0]
        draft = self.draft_of(name)
        if draft is not None and self.alone(name, node) and self._accepts_post(draft):
            draft.post = draft.post.then(node.program)
            draft.end = node.output
            self.values[node.output] = value
        elif self.absorbable(node.output):
            self.values[node.output] = Value(value.view, value.shape, value.pre.then(node.program))
        else:
            self._elementwise_layer(node, [value], value.shape)

    def _fold_binary(self, node: PointNode, values: Sequence[Value], shape: Shape) -> bool:
        """Fold into the latest producer, if its result is read by this node alone."""
        full = all(v.exact and v.shape == shape for v in values)
        if not full:
            return False
        order = sorted(range(len(values)), key=lambda i: (-self.ready(values[i].view), i))
        latest = order[0]
        draft = self.draft_of(node.maps[latest])
        if draft is None or not self.alone(node.maps[latest], node):
            return False
        if not self._accepts_post(draft) or self.ready(values[latest].view) < 0:
            return False
        own = self.ready(values[latest].view)
        others = [values[i] for i in range(len(values)) if i != latest]
        if any(self.ready(v.view) >= own for v in others):
            return False
        first_operand = len(draft.operands)
        draft.operands.extend(v.view for v in others)
        places: dict[int, Arg] = {latest: InputArg()}
        rest = [i for i in range(len(values)) if i != latest]
        places.update((i, OperandArg(first_operand + k)) for k, i in enumerate(rest))
        draft.post = draft.post.then(_replace_maps(node.program, places))
        draft.end = node.output
        self.values[node.output] = values[latest]
        return True

    def _elementwise_layer(self, node: PointNode, values: Sequence[Value], shape: Shape) -> None:
        main = next(
            i for i, v in enumerate(values) if v.shape == shape and (v.exact or v.flattened)
        )
        plane = values[main].view.shape
        rest = [i for i in range(len(values)) if i != main]
        for i in rest:
            fits = values[i].view.shape in (plane, (*plane[:2], 1, 1))
            if not fits or (values[i].shape != shape and not values[i].exact):
                self._opaque_pointwise(node)
                return
        places: dict[int, Arg] = {main: InputArg()}
        places.update((i, OperandArg(k)) for k, i in enumerate(rest))
        draft = Draft(
            name=node.name,
            op=node.program.steps[-1].op,
            kind=LayerKind.CHANNELWISE,
            input=values[main].view,
            body_shape=plane,
            end=node.output,
            groups=plane[1],
            operands=[values[i].view for i in rest],
            pre=values[main].pre,
            post=_replace_maps(node.program, places),
        )
        self.add(draft, shape)

    # ---------------------------------------------------------------- fallback

    def opaque(self, node: Node, *, known: bool = False) -> None:
        """A layer of which only the bytes are known: reads every input once, writes once.

        Unless `known`, the operator is named in the network's warning.
        """
        if not known:
            self.unsupported[node.op] = self.unsupported.get(node.op, 0) + 1
        views = []
        steering = node.inputs[1:] if node.op in _STEERED_OPS else ()
        for name in dict.fromkeys(node.inputs):
            if name in steering:
                continue
            if name in self.values:
                if self.values[name].pre:
                    self.materialise(name)
                views.append(self.values[name].view)
            elif self.is_constant(name) and self._fetched(name):
                self.learn(name)
                shape = canonical(self.network.constants[name].shape)
                views.append(View((Segment(f"#{name}", 0, shape[1]),), shape))
        shapes = [self.network.shapes[name] for name in node.outputs]
        if not views or not shapes:
            raise NetworkError(
                f"{self.network.name}: node '{node.name}' ({node.op}) computes a map from nothing"
            )
        draft = Draft(
            name=node.name,
            op=node.op,
            kind=LayerKind.OPAQUE,
            input=views[0],
            operands=views[1:],
            body_shape=canonical(shapes[0]),
            end=node.outputs[0],
        )
        index = len(self.drafts)
        self.add(draft, shapes[0])
        for position, (name, given) in enumerate(zip(node.outputs[1:], shapes[1:], strict=True)):
            extra = canonical(given)
            draft.extra.append((name, extra))
            segment = Segment(f"@{index}.{position}", 0, extra[1])
            self.values[name] = Value(View((segment,), extra), given)

    def _fetched(self, name: str) -> bool:
        constant = self.network.constants[name]
        return constant.real and prod(constant.shape) > 1

    def materialise(self, name: str) -> None:
        """Make a value a map of its own, its pre-activation applied: read as a view, written.

        The map takes the value's name, unless another tensor has it already.
        """
        value = self.values[name]
        ends = {end for draft in self.drafts for end in (draft.end, *(n for n, _ in draft.extra))}
        taken = name in ends or name in self.network.inputs
        draft = Draft(
            name=name if value.pre else f"{name} copy",
            op=value.pre.ops[-1] if value.pre else "Copy",
            kind=LayerKind.CHANNELWISE,
            input=value.view,
            body_shape=value.view.shape,
            end=f"{name} copy" if taken else name,
            groups=value.view.shape[1],
            post=value.pre,
        )
        self.add(draft, value.shape)
        self.values[name] = self.values[draft.end]


def _replace_maps(program: PointProgram, places: dict[int, Arg]) -> PointProgram:
    """Renumber the maps a node's program reads: map 0 is its input, map k + 1 operand k."""

    def placed(arg: Arg | None) -> Arg | None:
        if isinstance(arg, InputArg):
            return places[0]
        if isinstance(arg, OperandArg):
            return places[arg.operand + 1]
        return arg

    return PointProgram(
        tuple(
            PointStep(step.op, tuple(placed(a) for a in step.args), step.attributes)
            for step in program.steps
        )
    )


def spatial_mean(builder: GraphBuilder, node: Node) -> bool:
    """Whether a ReduceMean averages the whole plane of a (batch, channel, row, column) map."""
    shape = builder.network.shapes[node.inputs[0]]
    axes = node.attributes.get("axes")
    if axes is None and len(node.inputs) > 1 and builder.is_constant(node.inputs[1]):
        value = builder.network.constants[node.inputs[1]].value
        axes = None if value is None else tuple(int(axis) for axis in value.ravel())
    if len(shape) != 4 or not isinstance(axes, tuple):
        return False
    return sorted(int(axis) % 4 for axis in axes) == [2, 3]
