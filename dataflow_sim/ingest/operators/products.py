"""Matrix products, attention and recurrent layers."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.arrangement import CHANNEL, Arrangement, Factor, arranged
from dataflow_sim.graph.layer import LayerKind, Window
from dataflow_sim.graph.region import Shape4
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Draft, JoinedValue, Value
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
    """By a constant matrix a convolution, of two maps streamed."""
    left, right = node.inputs[:2]
    weights = builder.network.shapes[right]
    if not (builder.is_constant(right) and len(weights) == 2 and left in builder.values):
        builder.stream(node, macs=PRODUCT.count(node, builder.network.shapes), data=2)
        return
    _linear(builder, node, transposed=False, bias="")


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


def _attention(builder: GraphBuilder, node: Node) -> None:
    """Queries, keys, values and masks once each; the scores stay where they are made."""
    views = [view for name in dict.fromkeys(node.inputs) for view in builder.streamed_views(name)]
    macs = ATTENTION.count(node, builder.network.shapes)
    builder.stream_views(node, views, macs, _attended(builder, node))


def _attended(builder: GraphBuilder, node: Node) -> tuple[Shape4, Arrangement] | None:
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
    if not (states and len(pasts) == len(presents) == 2 and len(node.outputs) == 3):
        builder.stream(node, macs=macs)
        return
    new = [builder.value(name) for name in node.inputs[1:3]]
    builder.stream(replace(node, outputs=node.outputs[:1]), macs=macs)
    for past, part, present in zip(pasts, new, presents, strict=True):
        builder.joined[present] = JoinedValue((builder.value(past), part))


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
        "input; weights as tiling allows; of two maps each once",
        Merges.BY_ROWS,
    ),
    Operator("dataflow_sim::Attention", "attention", _attention, ATTENTION),
    Operator("Attention", "attention", _standard_attention, STANDARD_ATTENTION),
    streamed("MatMulInteger", "product of integers", PRODUCT, data=2),
    streamed("Einsum", "tensor product", EINSUM),
    streamed("LSTM", "recurrent", RECURRENT, vectors=(3, 7)),
    streamed("GRU", "recurrent", RECURRENT, vectors=(3, 7)),
    streamed("RNN", "recurrent", RECURRENT, vectors=(3, 7)),
)
