"""Matrix products, attention and recurrent layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.arrangement import CHANNEL, Arrangement, Factor, arranged
from dataflow_sim.graph.layer import LayerKind, View, Window
from dataflow_sim.graph.region import Shape4
from dataflow_sim.graph.sweep import SweepKind
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Draft, JoinedValue, Value
from dataflow_sim.ingest.layers.sweeps import Role, Waiting, roles_of, swept
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.convolutions import optional_input
from dataflow_sim.ingest.operators.counts import (
    ATTENTION,
    EINSUM,
    PRODUCT,
    RECURRENT,
    STANDARD_ATTENTION,
)
from dataflow_sim.ingest.operators.row import Merges, Operator, streamed


def _matrix_product(builder: GraphBuilder, node: Node) -> None:
    """By a constant matrix a convolution; of two maps rows of one against columns of the other."""
    left, right = node.inputs[:2]
    weights = builder.network.shapes[right]
    if not (builder.is_constant(right) and len(weights) == 2 and left in builder.values):
        _product_of_maps(builder, node)
        return
    _linear(builder, node, transposed=False, bias="")


_LEFT = {"B": -4, "G": -3, "P": -2}
_RIGHT = {"B": -4, "G": -3, "N": -1}
_RESULT = {**_LEFT, "N": -1}


def _product_of_maps(builder: GraphBuilder, node: Node) -> None:
    """Rows of the left factor against columns of the right one, which is as long as needed."""
    macs = PRODUCT.count(node, builder.network.shapes)
    left, right = (builder.streamed_values(name) for name in node.inputs[:2])
    result = builder.usual(node.outputs[0])
    single = len(left) == len(right) == 1 and min(map(len, _ranks(builder, node))) > 1
    if not single or node.inputs[0] == node.inputs[1]:
        builder.stream(node, macs=macs, data=2)
        return
    views = [value.view for value in (*left, *right)]
    roles = (*roles_of(left, _LEFT), *roles_of(right, _RIGHT))
    sweep = swept(roles, [Role(*result, _RESULT)], Waiting(SweepKind.PRODUCT))
    builder.stream_views(node, views, macs, result, sweep)


def _ranks(builder: GraphBuilder, node: Node) -> list[tuple[int, ...]]:
    """Shapes of both factors."""
    return [builder.network.shapes[name] for name in node.inputs[:2]]


def _gemm(builder: GraphBuilder, node: Node) -> None:
    bias = optional_input(node, 2)
    constant = builder.is_constant(node.inputs[1]) and _is_bias(builder, node)
    if not constant or node.attributes.get("transA") or node.inputs[0] not in builder.values:
        builder.stream(node, macs=PRODUCT.count(node, builder.network.shapes))
        return
    _linear(builder, node, transposed=bool(node.attributes.get("transB", 0)), bias=bias)


def _is_bias(builder: GraphBuilder, node: Node) -> bool:
    """Whether a Gemm's third input is left out or one constant value per output."""
    bias = optional_input(node, 2)
    if not bias:
        return True
    if not builder.is_constant(bias):
        return False
    outputs = builder.shape(node.outputs[0])[-1]
    shape = builder.constant_shape(bias)
    return bool(shape) and shape[-1] == outputs == prod(shape)


def _linear(builder: GraphBuilder, node: Node, *, transposed: bool, bias: str) -> None:
    """A map times a constant matrix: a convolution whose kernel is a pixel, or the plane."""
    name = node.inputs[0]
    inputs, outputs = builder.shape(name)[-1], builder.shape(node.outputs[0])[-1]
    matrix = builder.constant_shape(node.inputs[1])
    if matrix != ((outputs, inputs) if transposed else (inputs, outputs)):
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' ({node.op}) has weights {matrix} between "
            f"{inputs} inputs and {outputs} outputs"
        )
    value = builder.value(name)
    if not (value.channels_last or value.flattened):
        value = builder.rearrange(name, len(value.shape) - 1)
    shape, window = _result(value, outputs)
    last = (Factor(CHANNEL, outputs, 1),)
    keys = ("alpha", "beta")
    draft = Draft(
        name=node.name,
        op=node.op,
        kind=LayerKind.CONVOLUTION,
        input=value.view,
        body_shape=shape,
        end=node.outputs[0],
        window=window,
        pre=value.pre,
        weight_constant=node.inputs[1],
        weight_transposed=not transposed,
        bias_constant=bias or None,
        attributes=tuple((k, node.attributes[k]) for k in keys if k in node.attributes),
    )
    builder.learn(node.inputs[1])
    if bias:
        builder.learn(bias)
    builder.add(draft, value.axes.with_axis(len(value.shape) - 1, last))


def _result(value: Value, outputs: int) -> tuple[Shape4, Window]:
    n, _, h, w = value.view.shape
    if value.channels_last:
        return (n, outputs, h, w), Window()
    return (n, outputs, 1, 1), Window(kernel=(h, w))


_QUERY = {"B": -4, "G": -3, "P": -2}
_KEY = {"B": -4, "G": -3, "N": -2}
_MASK = {**_QUERY, "N": -1}


def _attention(builder: GraphBuilder, node: Node) -> None:
    """Queries against keys and values; the scores stay where they are made."""
    query, key, value = (builder.streamed_values(name) for name in node.inputs[:3])
    masks = [each for name in node.inputs[3:] for each in builder.streamed_values(name)]
    operands = _Operands(list(query), list(key), list(value), masks)
    macs = ATTENTION.count(node, builder.network.shapes)
    result = _attended(builder, node)
    _attend(builder, node, operands, macs, Role(*result, _QUERY))


@dataclass(frozen=True, slots=True)
class _Operands:
    """Queries, the parts of keys and of values, and masks, all with their heads apart."""

    query: list[Value]
    key: list[Value]
    value: list[Value]
    masks: list[Value]


def _attend(
    builder: GraphBuilder, node: Node, operands: _Operands, macs: int, result: Role
) -> None:
    """An attention as a sweep; each view once, where an operand is given twice alike."""
    parts = [value.shape[-2] for value in operands.key]
    several = len(parts) > 1
    found = [
        *zip(operands.query, roles_of(operands.query, _QUERY), strict=True),
        *zip(operands.key, roles_of(operands.key, _KEY, parts=several), strict=True),
        *zip(operands.value, roles_of(operands.value, _KEY, parts=several), strict=True),
        *zip(operands.masks, roles_of(operands.masks, _MASK), strict=True),
    ]
    pairs: list[tuple[View, Role]] = []
    for value, role in found:
        if (value.view, role) not in pairs:
            pairs.append((value.view, role))
    batch, heads, queries, depth = (prod(f.extent for f in axis) for axis in result.axes.axes)
    waiting = Waiting(SweepKind.ATTENTION, batch * heads * queries * (depth + 2))
    legal = len(operands.query) == 1 and [v.shape[-2] for v in operands.value] == parts
    sweep = swept([role for _, role in pairs], [result], waiting, parts) if legal else None
    laid_out = (result.shape, result.axes)
    joined = _joined_heads(builder, node, laid_out)
    builder.stream_views(node, [view for view, _ in pairs], macs, joined, sweep)


def _joined_heads(
    builder: GraphBuilder, node: Node, result: tuple[Shape4, Arrangement]
) -> tuple[Shape4, Arrangement]:
    """The result as the file sees it: heads apart, or side by side."""
    if len(builder.shape(node.outputs[0])) == 4:
        return result
    return builder.usual(node.outputs[0])


def _attended(builder: GraphBuilder, node: Node) -> tuple[Shape4, Arrangement]:
    """The result lies like the queries: heads and their values as channels, pixels as there."""
    batch, heads, queries, depth = builder.shape(node.outputs[0])
    query = builder.values.get(node.inputs[0])
    head, inner = (Factor(CHANNEL, heads, depth),), (Factor(CHANNEL, depth, 1),)
    if query is not None:
        _, _, h, w = query.view.shape
        n = query.view.shape[0]
        pixels = [query.axes.axes[axis] for axis in (0, 2)]
        factors = [factor for each in pixels for factor in each]
        elements = prod(factor.extent for factor in factors)
        if all(factor.axis != CHANNEL for factor in factors) and elements == n * h * w:
            return (n, heads * depth, h, w), Arrangement((pixels[0], head, pixels[1], inner))
    shape, axes = arranged((batch, queries, heads * depth), 2)
    return shape, Arrangement((axes.axes[0], head, axes.axes[1], inner))


def _standard_attention(builder: GraphBuilder, node: Node) -> None:
    """As above, with its own past and present: a present that only the host takes is a state."""
    macs = STANDARD_ATTENTION.count(node, builder.network.shapes)
    pasts, presents = node.inputs[4:6], node.outputs[1:3]
    states = all(name in builder.network.inputs for name in pasts) and all(
        builder.readers.get(name) == [None] for name in presents
    )
    grows = states and len(pasts) == len(presents) == 2 and len(node.outputs) == 3
    fresh = not any(node.inputs[4:]) and builder.read_outputs(node) == node.outputs[:1]
    if not (grows or fresh):
        builder.stream(node, macs=macs)
        return
    alone = replace(node, outputs=node.outputs[:1])
    operands = _apart(builder, node)
    shape, axes = builder.usual(node.outputs[0])
    result = _heads_apart(Value(View((), shape), axes), _heads(node, 0))
    if operands is None or result is None:
        builder.stream(alone, macs=macs)
    else:
        _attend(builder, alone, operands, macs, Role(shape, result.axes, _QUERY))
    if grows:
        for past, name, present in zip(pasts, node.inputs[1:3], presents, strict=True):
            builder.joined[present] = JoinedValue((builder.value(past), builder.value(name)))


def _heads(node: Node, place: int) -> int | None:
    """The heads of an operand that lie side by side; None where nothing says so."""
    heads = node.attributes.get("kv_num_heads" if place else "q_num_heads")
    return heads if isinstance(heads, int) and heads > 0 else None


def _heads_apart(value: Value, heads: int | None) -> Value | None:
    """A value as (batch, heads, tokens, depth); None where its heads cannot be told apart."""
    if len(value.shape) == 4:
        return value
    if len(value.shape) != 3 or heads is None or value.shape[2] % heads:
        return None
    batch, tokens, channels = value.shape
    axes = value.axes.reshaped((batch, tokens, heads, channels // heads))
    return None if axes is None else Value(value.view, axes.transposed((0, 2, 1, 3)))


def _apart(builder: GraphBuilder, node: Node) -> _Operands | None:
    """The operands of ONNX's attention behind a past, which is the first part of its keys."""
    apart = []
    for place, name in enumerate(node.inputs[:3]):
        values = builder.streamed_values(name)
        found = _heads_apart(values[0], _heads(node, place)) if len(values) == 1 else None
        if found is None:
            return None
        apart.append(found)
    pasts = [list(builder.streamed_values(name)) for name in node.inputs[4:6] if name]
    if any(len(each) != 1 for each in pasts):
        return None
    masks = list(builder.streamed_values(name)) if (name := optional_input(node, 3)) else []
    before = pasts or [[], []]
    return _Operands([apart[0]], [*before[0], apart[1]], [*before[1], apart[2]], masks)


_STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


def _recurrent(builder: GraphBuilder, node: Node) -> None:
    """Time steps in order, gates by gates within each; both directions at once are streamed."""
    macs = RECURRENT.count(node, builder.network.shapes)
    layer = builder.stream(node, macs=macs, vectors=(3, 7))
    places = [place for place, _ in layer.read]
    direction = node.attributes.get("direction", "forward")
    if direction == "bidirectional" or node.attributes.get("layout", 0) or places[:1] != [0]:
        return
    steps, batch, _ = builder.shape(node.inputs[0])
    gates = builder.network.shapes[node.inputs[1]][1]
    state = batch * builder.network.shapes[node.inputs[2]][2]
    over = {0: {"P": -3}, 1: {"N": -2}, 2: {"N": -2}}
    views = [Role(v.view.shape, v.axes, over.get(place, {})) for place, v in layer.read]
    outputs = []
    for name in builder.read_outputs(node):
        value = builder.values[name]
        loops = {"P": -4} if name == node.outputs[0] else {}
        outputs.append(Role(value.view.shape, value.axes, loops))
    waiting = Waiting(SweepKind.RECURRENT, batch * gates, state * _STATES[node.op])
    sweep = swept(views, outputs, waiting)
    if sweep is not None and sweep.rows == steps:
        layer.draft.sweep = sweep


_WEIGHTS_AGAIN = "input once; weights once where they fit, else in every time step"
_KEYS_AGAIN = "queries once, keys and values as tiling allows, or the other way round"

ROWS = (
    Operator(
        "Gemm",
        "convolution",
        _gemm,
        PRODUCT,
        "input; weights as tiling allows",
        Merges.BY_ROWS,
    ),
    Operator(
        "MatMul",
        "convolution",
        _matrix_product,
        PRODUCT,
        "input; weights, or a second map, as tiling allows",
        Merges.BY_ROWS,
    ),
    Operator("dataflow_sim::Attention", "attention", _attention, ATTENTION, _KEYS_AGAIN),
    Operator("Attention", "attention", _standard_attention, STANDARD_ATTENTION, _KEYS_AGAIN),
    Operator(
        "MatMulInteger",
        "product of integers",
        _product_of_maps,
        PRODUCT,
        "one factor once, the other as tiling allows",
        data=2,
    ),
    streamed("Einsum", "tensor product", EINSUM),
    *(
        Operator(name, "recurrent", _recurrent, RECURRENT, _WEIGHTS_AGAIN, vectors=(3, 7))
        for name in ("LSTM", "GRU", "RNN")
    ),
)
