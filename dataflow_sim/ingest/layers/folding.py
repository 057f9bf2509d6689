"""Elementwise nodes: what folds into what, and what stays a layer.

What folds, and where (reports/decisions/0002-folding.md):

* elementwise on one map: into the layer that produces the map, if nobody else reads it;
  else into all its readers, if each can take it on its input (pre-activation); else it
  is a layer of its own
* elementwise on several maps (residual add): into the latest of the producing layers
  whose result nobody else reads, the other maps becoming operands
* pooling: into the convolution that produces its input, if nobody else reads that

A constant of one value, or of one per channel, folds with its node; a constant as large as
the map is an operand like a map, fetched as weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from dataflow_sim.graph.arrangement import BATCH, CHANNEL
from dataflow_sim.graph.layer import LayerKind
from dataflow_sim.graph.meaning import OWN, POINTWISE
from dataflow_sim.graph.pointwise import (
    Arg,
    ConstantArg,
    InputArg,
    OperandArg,
    PointProgram,
)
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Draft, Shape, Value
from dataflow_sim.ingest.layers.pointwise import PointNode
from dataflow_sim.ingest.layers.reductions import spatial_mean
from dataflow_sim.ingest.network import Node

_POOLING = frozenset(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"))


def place_pointwise(builder: GraphBuilder, node: PointNode) -> None:
    """Place an elementwise node: fold it into a layer, or make it one."""
    values = [builder.value(name) for name in node.maps]
    shape = builder.shape(node.output)
    main = next((place for place, v in enumerate(values) if v.shape == shape), None)
    large = None if main is None else _large_constants(builder, node, values[main])
    if main is None or large is None:
        _stream(builder, node)
        return
    program = node.program
    for name in large:
        view = builder.constant_map(name, values[main].view.shape, values[main].axes)
        program = _with_operand(program, name, len(values) - 1)
        values.append(Value(view, values[main].axes))
    builder.learn_program(program)
    if len(values) == 1 and builder.folds:
        _unary(builder, node, program, values[0])
    elif not builder.folds or not _fold_binary(builder, node, program, values):
        _elementwise_layer(builder, node, program, values, main)


def _constants(program: PointProgram) -> dict[str, set[str]]:
    """The constants of a program, each with the operators that read it."""
    found: dict[str, set[str]] = {}
    for step in program.steps:
        for arg in step.args:
            if isinstance(arg, ConstantArg):
                found.setdefault(arg.name, set()).add(step.op)
    return found


def _large_constants(builder: GraphBuilder, node: PointNode, value: Value) -> list[str] | None:
    """Of the node's constants those as large as the map; None where one has another shape."""
    large = []
    for name, ops in _constants(node.program).items():
        constant = builder.constant_shape(name)
        if prod(constant) == 1 or _per_channel(constant, value):
            continue
        if ops == {"BatchNormalization"} and _channels_second(value, prod(constant)):
            continue
        same = _padded(constant, len(value.shape)) == value.shape
        if not same or not builder.fetched(name):
            return None
        large.append(name)
    return large


def _padded(shape: Shape, rank: int) -> Shape:
    return (1,) * (rank - len(shape)) + shape


def _per_channel(constant: Shape, value: Value) -> bool:
    """Whether a constant holds one value for each channel of the map."""
    axis = value.axes.axis_of(CHANNEL, value.view.shape)
    padded = _padded(constant, len(value.shape))
    if axis is None or len(padded) != len(value.shape):
        return False
    return padded[axis] == value.shape[axis] == prod(constant)


def _channels_second(value: Value, channels: int) -> bool:
    second = value.axes.axis_of(CHANNEL, value.view.shape) == 1
    return second and value.view.shape[1] == channels


def _stream(builder: GraphBuilder, node: PointNode) -> None:
    """An elementwise node whose operands have no common shape: streamed, constants too."""
    op, constants = node.program.steps[-1].op, list(_constants(node.program))
    found = Node(node.name, op, (*node.maps, *constants), (node.output,), {})
    draft = builder.stream(found).draft
    program = node.program
    for place, name in enumerate(constants, len(node.maps) - 1):
        program = _with_operand(program, name, place)
    if draft.meaning is not None:
        draft.meaning = replace(draft.meaning, op=POINTWISE, domain=OWN, program=program)


def _with_operand(program: PointProgram, constant: str, operand: int) -> PointProgram:
    """The program with a constant read as a further map."""

    def placed(arg: Arg | None) -> Arg | None:
        same = isinstance(arg, ConstantArg) and arg.name == constant
        return OperandArg(operand) if same else arg

    return PointProgram(
        tuple(replace(step, args=tuple(placed(arg) for arg in step.args)) for step in program.steps)
    )


def _accepts_post(builder: GraphBuilder, draft: Draft, program: PointProgram) -> bool:
    """Whether a layer can apply a program to its results; a streamed one has no vectors."""
    if draft.kind is not LayerKind.STREAMED:
        return draft.pool is None
    return not draft.extra and all(
        prod(builder.constant_shape(name)) == 1 for name in _constants(program)
    )


def _unary(builder: GraphBuilder, node: PointNode, program: PointProgram, value: Value) -> None:
    name = node.maps[0]
    draft = builder.draft_of(name)
    if draft is not None and builder.alone(name, node) and _accepts_post(builder, draft, program):
        draft.fold(program, builder.roundings.of_name(name))
        draft.end = node.output
        builder.values[node.output] = value
    elif builder.folds_ahead and _absorbable(builder, node.output):
        builder.values[node.output] = Value(value.view, value.axes, value.pre.then(program))
    else:
        _elementwise_layer(builder, node, program, [value], 0)


def _absorbable(builder: GraphBuilder, name: str) -> bool:
    """Whether every reader of the name can apply a pre-activation on its input."""
    pending, known = [name], {name}
    while pending:
        current = pending.pop()
        readers = builder.readers.get(current, [])
        if not readers:
            return False
        for reader in readers:
            if isinstance(reader, PointNode):
                if len(reader.maps) != 1:
                    return False
                if reader.output not in known:
                    known.add(reader.output)
                    pending.append(reader.output)
            elif reader is None or not _takes_pre(builder, reader, current):
                return False
    return True


def _takes_pre(builder: GraphBuilder, node: Node, name: str) -> bool:
    if node.op in _POOLING:
        return True
    if node.op == "ReduceMean":
        return spatial_mean(builder, node)
    weighted = node.op in ("Conv", "ConvTranspose", "Gemm", "MatMul") and builder.is_constant(
        node.inputs[1]
    )
    ranks = (3, 4, 5) if node.op == "Conv" else (2, 3, 4)
    return weighted and node.inputs[0] == name and len(builder.shape(name)) in ranks


def _fold_binary(
    builder: GraphBuilder, node: PointNode, program: PointProgram, values: Sequence[Value]
) -> bool:
    """Fold into the latest producer, if its result is read by this node alone."""
    if not all(v.alike(values[0]) and not v.pre for v in values):
        return False
    maps = range(len(node.maps))
    latest = min(maps, key=lambda i: (-builder.ready(values[i].view), i))
    draft = builder.draft_of(node.maps[latest])
    if draft is None or not builder.alone(node.maps[latest], node):
        return False
    if draft.kind is LayerKind.STREAMED or not _accepts_post(builder, draft, program):
        return False
    own = builder.ready(values[latest].view)
    others = [i for i in range(len(values)) if i != latest]
    if own < 0 or any(builder.ready(values[i].view) >= own for i in others):
        return False
    first_operand = len(draft.operands)
    draft.operands.extend(values[i].view for i in others)
    places: dict[int, Arg] = {latest: InputArg()}
    places.update((i, OperandArg(first_operand + k)) for k, i in enumerate(others))
    draft.fold(_replace_maps(program, places), builder.roundings.of_name(node.maps[latest]))
    draft.end = node.output
    builder.values[node.output] = values[latest]
    return True


def _elementwise_layer(
    builder: GraphBuilder,
    node: PointNode,
    program: PointProgram,
    values: Sequence[Value],
    main: int,
) -> None:
    """A layer of its own: the main map is its input, the others are operands."""
    rest = [i for i in range(len(values)) if i != main]
    views = {}
    for i in rest:
        view = _operand(builder, node, values, i, main)
        if view is None:
            _stream(builder, node)
            return
        views[i] = view
    places: dict[int, Arg] = {main: InputArg()}
    places.update((i, OperandArg(k)) for k, i in enumerate(rest))
    draft = Draft(
        name=node.name,
        op=program.steps[-1].op,
        kind=LayerKind.CHANNELWISE,
        input=values[main].view,
        body_shape=values[main].view.shape,
        end=node.output,
        groups=values[main].view.shape[1],
        operands=[views[i].view for i in rest],
        pre=values[main].pre,
        post=_replace_maps(program, places),
    )
    builder.add(draft, values[main].axes)


def _operand(
    builder: GraphBuilder, node: PointNode, values: Sequence[Value], place: int, main: int
) -> Value | None:
    """A further map as an operand: alike, one value per channel, or copied to be alike."""
    value, target = values[place], values[main]
    constant = place >= len(node.maps)
    if value.pre and not constant:
        builder.materialise(node.maps[place])
        value = builder.value(node.maps[place])
    if constant or value.alike(target) or _by_channel(value, target):
        return value
    if value.shape != target.shape:
        return None
    return builder.copy_into(node.maps[place], target.view.shape, target.axes)


def _by_channel(value: Value, target: Value) -> bool:
    """Whether a map has one value for each image and channel of the target."""
    n, c, _, _ = target.view.shape
    if value.view.shape != (n, c, 1, 1) or prod(value.shape) != n * c:
        return False
    shape = target.view.shape
    missing = len(target.shape) - len(value.shape)
    for map_axis in (BATCH, CHANNEL):
        axis = target.axes.axis_of(map_axis, shape)
        if shape[map_axis] > 1 and (axis is None or axis < missing):
            return False
        if axis is not None and value.axes.axes[axis - missing] != target.axes.axes[axis]:
            return False
    return missing >= 0


def _replace_maps(program: PointProgram, places: dict[int, Arg]) -> PointProgram:
    """Renumber the maps a node's program reads: map 0 is its input, map k + 1 operand k."""

    def placed(arg: Arg | None) -> Arg | None:
        if isinstance(arg, InputArg):
            return places[0]
        if isinstance(arg, OperandArg):
            return places[arg.operand + 1]
        return arg

    return PointProgram(
        tuple(replace(step, args=tuple(placed(a) for a in step.args)) for step in program.steps)
    )
